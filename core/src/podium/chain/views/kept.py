"""A value of the chain that is held, and read again when it may have changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import define, field

from podium.errors import RpcUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Value = TypeVar("Value")

MAX_READS = 3
"""Reads in a row when changes come in meanwhile; the next block goes on from there."""


@define(eq=False)
class Kept(Generic[Value]):
    """A held value.

    Changes are counted rather than flagged: one that is noticed during a read asks for another
    read, whatever that read will bring.

    Args:
        fetch: Reads the value at the newest block.
        now: Seconds of a clock that only goes forward.
        timeout_s: For one read.
        what: Names it in errors.
    """

    fetch: Callable[[], Awaitable[Value]]
    now: Callable[[], float]
    timeout_s: float
    what: str
    value: Value | None = None
    _changes: int = field(default=1, init=False)
    _seen: int = field(default=0, init=False)
    _stale_since: float | None = field(default=None, init=False)
    _reading: asyncio.Task[None] | None = field(default=None, init=False)

    @property
    def fresh(self) -> bool:
        """Whether nothing has changed since it was read."""
        return self._seen == self._changes

    @property
    def stale_for_s(self) -> float:
        """Seconds since it may have changed without having been read again."""
        return 0.0 if self._stale_since is None else self.now() - self._stale_since

    @property
    def reading(self) -> bool:
        """Whether it is being read now."""
        return self._reading is not None

    def mark(self) -> None:
        """Note that it may have changed."""
        self._changes += 1
        if self._stale_since is None:
            self._stale_since = self.now()

    def usable(self, grace_s: float) -> bool:
        """Return whether the held value may still be answered with."""
        return self.value is not None and self.stale_for_s <= grace_s

    async def refresh(self) -> Value:
        """Read it; callers at the same time share one read, which survives each of them.

        Raises:
            ChainError: it could not be read; what is held stays.
        """
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(self._ended)
        await asyncio.shield(self._reading)
        assert self.value is not None
        return self.value

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._reading = None
        if not task.cancelled():
            task.exception()  # those who waited have it; there may be none

    async def _read(self) -> None:
        for left in reversed(range(MAX_READS)):
            changes, begun = self._changes, self.now()
            value = await self._fetch_in_time()
            if changes == self._changes or self.value is None or not left:
                # not sooner: an event may have told more than this read could see
                self.value, self._seen = value, changes
                self._stale_since = None if self.fresh else begun
            if self.fresh:
                return

    async def _fetch_in_time(self) -> Value:
        try:
            async with asyncio.timeout(self.timeout_s):
                return await self.fetch()
        except TimeoutError as error:
            msg = f"{self.what} could not be read within {self.timeout_s:g} s"
            raise RpcUnavailable(msg) from error
