"""A plugin's log, bounded: neither the number of its lines nor their length can fill a disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium_hookspecs import Log

LINES_AT_ONCE = 500
LINES_PER_SECOND = 50.0
MAX_CHARS = 2000
MAX_FACTS = 30


@define(eq=False)
class QuietLog:
    """Passes lines on, as many as are good for the node (``podium_hookspecs.Log``).

    Args:
        log: Where lines go.
        monotonic: Returns monotonic seconds.
    """

    _log: Log
    _monotonic: Callable[[], float]
    _left: float = LINES_AT_ONCE
    _at_s: float = 0.0
    _dropped: int = 0

    def debug(self, event: str, **facts: Any) -> None:
        """For the developer."""
        self._write("debug", event, facts)

    def info(self, event: str, **facts: Any) -> None:
        """For the operator, in normal times."""
        self._write("info", event, facts)

    def warning(self, event: str, **facts: Any) -> None:
        """The operator may have to act."""
        self._write("warning", event, facts)

    def error(self, event: str, **facts: Any) -> None:
        """The operator has to act."""
        self._write("error", event, facts)

    def _write(self, level: str, event: str, facts: dict[str, Any]) -> None:
        now_s = self._monotonic()
        earned = (now_s - self._at_s) * LINES_PER_SECOND
        self._left, self._at_s = min(self._left + earned, LINES_AT_ONCE), now_s
        if self._left < 1:
            self._dropped += 1
            return
        self._left -= 1
        kept = {key: _short(value) for key, value in list(facts.items())[:MAX_FACTS]}
        if self._dropped:
            kept["lines_dropped"], self._dropped = self._dropped, 0
        getattr(self._log, level)(_short(event), **kept)


def _short(value: Any) -> Any:
    """Return a value as it is, or where that would be long, the beginning of its text."""
    text = value if isinstance(value, str) else repr(value)
    return value if len(text) <= MAX_CHARS else text[:MAX_CHARS] + "..."
