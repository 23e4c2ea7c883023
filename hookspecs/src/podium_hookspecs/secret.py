"""A secret that does not show itself."""

from __future__ import annotations

import hmac

from attrs import field, frozen


@frozen
class Secret:
    """A text that never appears in logs, reprs or ``podium config show``.

    In TOML: ``key = {env = "NAME"}`` or ``key = {file = "PATH"}`` (the file's first line).
    """

    reveal: str = field(repr=lambda _: "'***'", eq=False)

    def matches(self, candidate: str) -> bool:
        """Compare in constant time; an empty secret matches nothing."""
        return bool(self.reveal) and hmac.compare_digest(
            self.reveal.encode(), candidate.encode(errors="replace")
        )

    def __str__(self) -> str:
        return "***"
