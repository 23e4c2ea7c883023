"""When a runner that is up has to be replaced (ai 4.4)."""

from __future__ import annotations

import time
from enum import Enum
from typing import TYPE_CHECKING

from attrs import define

from podium_ai_runner.executors.probe import Answer

if TYPE_CHECKING:
    from collections.abc import Callable


class Verdict(Enum):
    """What becomes of a runner after a look at it."""

    GOOD = "good"
    LOADING = "loading"
    SUSPECT = "suspect"
    BAD = "bad"


@define
class Tally:
    """Counts the bad looks at one runner.

    Attributes:
        limit: Bad looks in a row that make it bad.
        loading_s: How long it may say LOADING until each further look counts as bad.
    """

    limit: int
    loading_s: float
    monotonic: Callable[[], float] = time.monotonic
    _count: int = 0
    _loading_since_s: float | None = None

    def see(self, answer: Answer | None) -> Verdict:
        """Take in one answer; None is none, or one that means nothing."""
        if answer is Answer.ERROR:
            return Verdict.BAD
        if answer in (Answer.OK, Answer.IDLE):
            self._count, self._loading_since_s = 0, None
            return Verdict.GOOD
        if answer is Answer.LOADING and not self._too_long():
            return Verdict.LOADING
        self._count += 1
        if self._count >= self.limit:
            return Verdict.BAD
        return Verdict.LOADING if answer is Answer.LOADING else Verdict.SUSPECT

    def _too_long(self) -> bool:
        now_s = self.monotonic()
        if self._loading_since_s is None:
            self._loading_since_s = now_s
        return now_s - self._loading_since_s > self.loading_s
