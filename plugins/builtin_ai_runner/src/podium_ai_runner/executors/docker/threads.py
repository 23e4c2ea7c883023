"""What blocks runs in threads of its own, and how what they find comes to the event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

T = TypeVar("T")
AHEAD = 64
"""How much a thread reads ahead of the event loop."""


class Stopped(Exception):
    """Nobody wants what this thread reads any more."""


@define(eq=False)
class Threads:
    """Runs calls that block, a bounded number at a time.

    Not an executor of the standard library: the program's end waits for that one's threads, and
    an engine that hangs must not keep a node from ending.

    Args:
        most: How many at a time.
    """

    most: int
    _places: asyncio.Semaphore = field(init=False)
    _running: set[asyncio.Future[Any]] = field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self._places = asyncio.Semaphore(self.most)

    async def run(self, work: Callable[[], T], timeout_s: float) -> T:
        """Run one; a caller who is cancelled or out of time leaves the thread to its own end.

        Raises:
            TimeoutError: no free place, or no result, in time.
        """
        async with asyncio.timeout(timeout_s):
            await self._places.acquire()
            try:
                running = begin(work)
            except RuntimeError:
                self._places.release()
                raise
            self._running.add(running)
            running.add_done_callback(self._over)
            return await asyncio.shield(running)

    async def settle(self) -> None:
        """Wait until no thread runs that was started before this call."""
        if self._running:
            await asyncio.wait(self._running)

    def _over(self, running: asyncio.Future[Any]) -> None:
        self._running.discard(running)
        self._places.release()


def begin(work: Callable[[], T]) -> asyncio.Future[T]:
    """Run a call in a thread of its own; what it comes to arrives in the event loop.

    Raises:
        RuntimeError: the machine has no thread left.
    """
    result: concurrent.futures.Future[T] = concurrent.futures.Future()
    result.set_running_or_notify_cancel()  # so that no caller's cancellation settles it

    def run() -> None:
        try:
            found = work()
        except BaseException as error:  # noqa: BLE001  crosses to the event loop
            result.set_exception(error)
        else:
            result.set_result(found)

    threading.Thread(target=run, name="container engine", daemon=True).start()
    running = asyncio.wrap_future(result)
    running.add_done_callback(lambda done: done.cancelled() or done.exception())
    return running


@define(eq=False)
class Relay(Generic[T]):
    """Hands on what a thread reads, which waits when the event loop falls behind.

    The thread calls ``may_stop`` and ``put``; the event loop ``follow``.
    """

    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop, init=False)
    _items: asyncio.Queue[T | None] = field(factory=asyncio.Queue, init=False)
    _room: threading.Semaphore = field(factory=lambda: threading.Semaphore(AHEAD), init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _stopped: bool = field(default=False, init=False)
    _interrupt: Callable[[], None] | None = field(default=None, init=False)

    def may_stop(self, interrupt: Callable[[], None]) -> None:
        """Say how a read that blocks is ended from another thread.

        Raises:
            Stopped: it is not wanted any more.
        """
        with self._lock:
            if self._stopped:
                raise Stopped
            self._interrupt = interrupt

    def put(self, item: T) -> None:
        """Hand on an item.

        Raises:
            Stopped: it is not wanted any more.
        """
        self._room.acquire()
        if self._stopped:
            raise Stopped
        self._loop.call_soon_threadsafe(self._items.put_nowait, item)

    async def follow(self, work: Callable[[], None], silence_s: float) -> AsyncGenerator[T, None]:
        """Run a call in a thread of its own; yield what it puts; ended early, so is the call.

        Raises:
            TimeoutError: nothing new in that time.
            RuntimeError: the machine has no thread left.
        """
        running = begin(work)
        running.add_done_callback(lambda _: self._items.put_nowait(None))
        try:
            while True:
                async with asyncio.timeout(silence_s):
                    item = await self._items.get()
                if item is None:
                    break
                self._room.release()
                yield item
            running.result()
        finally:
            self._stop()

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            interrupt = self._interrupt
        self._room.release()
        if interrupt is not None:
            with contextlib.suppress(OSError, ValueError, RuntimeError):  # it has ended already
                interrupt()
