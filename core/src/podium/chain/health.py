"""How well an endpoint does: failures, back-off, latency, and how far its head is behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

_BACK_OFF_S = 0.25
_MAX_BACK_OFF_S = 30.0
_MAX_RETRY_AFTER_S = 300.0
_MAX_DOUBLINGS = 16
_LATENCY_WEIGHT = 0.2
_FAST_S = 0.05
_SEEN_LASTS_S = 600.0
"""What an endpoint said about its head counts no longer than this: it may be gone for good."""


@frozen
class Seen:
    """The newest block that an endpoint spoke of.

    Attributes:
        number: Its number.
        timestamp: Its Unix seconds; 0: unknown.
        at: When it was heard; monotonic seconds.
    """

    number: int
    timestamp: int
    at: float


@frozen
class EndpointStatus:
    """An endpoint as the operator sees it.

    Attributes:
        name: Host and port: a URL may hold a key.
        ok: It is asked.
        head: Number of its newest block; None: not known yet.
        lag_blocks: How far that was behind the best endpoint's.
        latency_s: Smoothed time of an answer; None: none yet.
        failures: Failures in a row.
        retry_in_s: It is left alone this long.
        last_error: The last thing that went wrong, also when it is over; empty: nothing did.
    """

    name: str
    ok: bool
    head: int | None
    lag_blocks: int
    latency_s: float | None
    failures: int
    retry_in_s: float
    last_error: str


@define
class Health:
    """What is known of one endpoint. Times are monotonic seconds.

    Attributes:
        excluded: Why it is never asked; empty: it is.
        chain_checked: It serves the right chain.
        failures: Failures in a row.
        ready_at: It is left alone until then.
        latency_s: Smoothed; None: no answer yet.
        seen: The newest block it spoke of.
        lag_blocks: How far that was behind the best endpoint's.
        lag_s: The same in seconds of block time.
        last_error: The last thing that went wrong.
    """

    excluded: str = ""
    chain_checked: bool = False
    failures: int = 0
    ready_at: float = 0.0
    latency_s: float | None = None
    seen: Seen | None = None
    lag_blocks: int = 0
    lag_s: int = 0
    last_error: str = ""
    _failed_at: float = field(default=float("-inf"), alias="failed_at")

    def succeeded(self, started: float, now: float) -> None:
        """Count an answer."""
        took = now - started
        old = took if self.latency_s is None else self.latency_s
        self.latency_s = old + _LATENCY_WEIGHT * (took - old)
        if started >= self._failed_at:
            self.failures, self.ready_at = 0, 0.0

    def failed(
        self, reason: str, started: float, now: float, jitter: float, retry_after_s: float
    ) -> None:
        """Count a failure and leave the endpoint alone for a while.

        Args:
            reason: For the operator.
            started: When the request was sent: many that fail together are one failure.
            now: The time.
            jitter: Between 0 and 1.
            retry_after_s: How long the endpoint asked for.
        """
        self.last_error = reason
        if started >= self._failed_at:
            self.failures += 1
            self._failed_at = now
        doubled = _BACK_OFF_S * 2 ** min(self.failures - 1, _MAX_DOUBLINGS)
        wait_s = min(doubled, _MAX_BACK_OFF_S) * (0.5 + jitter / 2)
        wait_s = max(wait_s, min(retry_after_s, _MAX_RETRY_AFTER_S))
        self.ready_at = max(self.ready_at, now + wait_s)

    def lagged(self, reason: str) -> None:
        """Count an answer that shows a head behind: no failure, but worth knowing."""
        self.last_error = reason

    def latency_class(self) -> int:
        """Return 0 below 50 ms or unknown, and one more for each doubling."""
        return max(0, int((self.latency_s or 0.0) / _FAST_S).bit_length())

    def saw(self, seen: Seen, others: Iterable[Seen | None]) -> None:
        """Note the newest block of this endpoint, and compare it with what the others have."""
        self.seen = seen
        known = [
            other for other in others if other is not None and seen.at - other.at < _SEEN_LASTS_S
        ]
        self.lag_blocks = max([0, *(other.number - seen.number for other in known)])
        times = [other.timestamp for other in known if other.timestamp and seen.timestamp]
        self.lag_s = max([0, *(timestamp - seen.timestamp for timestamp in times)])
