"""Notices when the event loop stands still, and looks at what it stands on."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from types import FrameType

    Culprit = tuple[str, str]

INTERVAL_S = 0.25
LIMIT_S = 0.5
"""Silence of the loop after which it is looked at."""
SAMPLE_S = 0.1
HUNG_S = 5.0
"""Silence after which it is told at once: the loop may never come back to tell it."""


@define(eq=False)
class Watchdog:
    """A thread that asks the loop for a sign of life.

    Args:
        owner: Returns whose code a stack is in, and where; None: nobody's in particular.
        blocked: Told on the loop who held it up, where, and for how many seconds.
        hung: Told the same in the thread, while it lasts.
    """

    owner: Callable[[FrameType | None], Culprit | None]
    blocked: Callable[[str, str, float], None]
    hung: Callable[[str, str, float], None]
    _alive: threading.Event = field(factory=threading.Event, init=False)
    _ended: threading.Event = field(factory=threading.Event, init=False)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch the loop, whose thread calls this, until ``stop``."""
        watch = threading.Thread(
            target=self._watch,
            args=(loop, threading.get_ident()),
            name="podium-watchdog",
            daemon=True,
        )
        watch.start()

    def stop(self) -> None:
        """Watch no more."""
        self._ended.set()

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        while not self._ended.wait(INTERVAL_S):
            self._alive.clear()
            try:
                loop.call_soon_threadsafe(self._alive.set)
                if not self._alive.wait(LIMIT_S):
                    self._look(loop, thread)
            except RuntimeError:
                return  # the loop is closed

    def _look(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        """Sample the stack until the loop goes on; who is there twice in a row did it."""
        since_s, told = time.monotonic() - LIMIT_S, False
        last: Culprit | None = None
        culprit: Culprit | None = None
        while not self._ended.is_set():
            found = self.owner(sys._current_frames().get(thread))
            if found is not None and last is not None and found[0] == last[0]:
                culprit = found
            last = found
            seconds = time.monotonic() - since_s
            if culprit is not None and seconds > HUNG_S and not told:
                self.hung(*culprit, seconds)
                told = True
            if self._alive.wait(SAMPLE_S):
                break
        if culprit is not None:
            loop.call_soon_threadsafe(self.blocked, *culprit, time.monotonic() - since_s)
