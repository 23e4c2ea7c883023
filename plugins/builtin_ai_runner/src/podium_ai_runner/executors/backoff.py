"""Waits between tries that fail: longer each time, none after a success."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from attrs import define

if TYPE_CHECKING:
    from collections.abc import Callable


@define
class Backoff:
    """Counts failures in a row.

    Attributes:
        first_s: Wait after the first failure; it doubles with each further one.
        most_s: Longest wait.
        failures: In a row, so far.
        reason: Of the last one.

    A success ends the waiting; only a lasting one makes the next wait short again, so that what
    starts well and dies at once is not started without end.
    """

    first_s: float
    most_s: float
    monotonic: Callable[[], float] = time.monotonic
    failures: int = 0
    reason: str = ""
    _strikes: int = 0
    _not_before_s: float = 0.0

    @property
    def left_s(self) -> float:
        """Seconds until the next try; 0 when it may be made now."""
        return max(0.0, self._not_before_s - self.monotonic())

    def failed(self, reason: str) -> None:
        """Count a failure."""
        wait_s = min(self.most_s, self.first_s * 2 ** min(self._strikes, 30))
        self._not_before_s = self.monotonic() + wait_s
        self._strikes += 1
        self.failures += 1
        self.reason = reason

    def lost(self, reason: str) -> None:
        """Count the early end of what had begun well: once is nothing, again is a failure."""
        if self._strikes:
            self.failed(reason)
        else:
            self._strikes = 1

    def succeeded(self) -> None:
        """End the wait."""
        self.failures, self.reason, self._not_before_s = 0, "", 0.0

    def lasted(self) -> None:
        """Forget what failed."""
        self._strikes = 0
