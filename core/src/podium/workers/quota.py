"""How many jobs of one plugin may run, and wait, at a time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from attrs import define
from podium_hookspecs import Busy

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_CAPACITY = "insufficient capacity"


@define(eq=False)
class Quota:
    """What one plugin's jobs may take of the node, and what they take now.

    Attributes:
        max_jobs: Jobs that run at a time; None: as many as there are slots.
        max_queue: Jobs that wait for a slot; None: no limit.
        running: Jobs that hold a slot now.
        waiting: Jobs that wait for one.
    """

    max_jobs: int | None = None
    max_queue: int | None = None
    running: int = 0
    waiting: int = 0

    @property
    def full(self) -> bool:
        """Whether no further job may run now."""
        return self.max_jobs is not None and self.running >= self.max_jobs

    @contextmanager
    def queued(self) -> Iterator[None]:
        """Take a place in the queue.

        Raises:
            Busy: there is none left.
        """
        if self.max_queue is not None and self.waiting >= self.max_queue:
            msg = f"{self.waiting} jobs wait already, the limit of this plugin"
            raise Busy(msg, public=NO_CAPACITY)
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1
