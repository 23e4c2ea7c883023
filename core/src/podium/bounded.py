"""Waiting for code that is not ours: for a bounded time, whatever it does.

Code behind these functions may ignore cancellation, end the process or never return. It runs in
a task or thread of its own, so that all of that stays there.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

T = TypeVar("T")
STOP_TIMEOUT_S = 5.0
"""What cancelled work may take to end before it is left alone."""


class Escaped(Exception):
    """The code tried to end the process, or cancelled itself."""


class Overdue(TimeoutError):
    """The code was not done in time. It was cancelled, and perhaps it goes on all the same.

    Attributes:
        stuck: It did not end when it was cancelled.
    """

    def __init__(self, timeout_s: float, *, stuck: bool) -> None:
        ignored = ", and it ignores cancellation" if stuck else ""
        super().__init__(f"no answer within {timeout_s:g} s{ignored}")
        self.stuck = stuck


async def contained(work: Awaitable[T]) -> T:
    """Await code that may call ``sys.exit``: in a task, that would end the node's loop.

    Raises:
        Escaped: it did.
    """
    try:
        return await work
    except (SystemExit, KeyboardInterrupt) as error:
        raise Escaped(f"{type(error).__name__}: {error}") from error


async def bounded(
    work: Coroutine[Any, Any, T], timeout_s: float, *, stop_s: float = STOP_TIMEOUT_S
) -> T:
    """Await code for a bounded time, even if it ignores cancellation.

    Raises:
        Overdue: it was not done in time.
        Escaped: it tried to end the process, or cancelled itself.
    """
    task, stuck = spawned(work), False
    try:
        await asyncio.wait({task}, timeout=timeout_s)
    finally:
        late = not task.done()
        if late:
            stuck = not await stopped(task, stop_s)
    if late:
        raise Overdue(timeout_s, stuck=stuck)
    return result(task)


def spawned(work: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
    """Run code in a task of its own."""
    task = asyncio.create_task(contained(work), name=name)
    # Cancelled before its first step, the task never begins the code: nobody else would end it.
    task.add_done_callback(lambda _: work.close())
    return task


async def stopped(task: asyncio.Task[Any], stop_s: float = STOP_TIMEOUT_S) -> bool:
    """Cancel a task and wait for its end; False when it ignores that, and goes on."""
    task.cancel()
    await asyncio.wait({task}, timeout=stop_s)
    task.add_done_callback(_seen)
    return task.done()


def result(task: asyncio.Task[T]) -> T:
    """Return what a finished task returned.

    Raises:
        Escaped: it cancelled itself.
    """
    if task.cancelled():
        raise Escaped("it cancelled itself")
    return task.result()


def _seen(task: asyncio.Task[Any]) -> None:
    """Have nobody told that nobody looked."""
    if not task.cancelled():
        task.exception()


async def in_thread(func: Callable[[], T], timeout_s: float) -> T:
    """Run blocking code in a thread that cannot keep the process from ending.

    Raises:
        Overdue: it was not done in time; the thread goes on.
        Escaped: it tried to end the process.
    """
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    answers: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            answers.append(func())
        except BaseException as error:  # noqa: BLE001  raised again where it is waited for
            errors.append(error)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=work, name="podium-plugin-import", daemon=True).start()
    try:
        async with asyncio.timeout(timeout_s):
            await done.wait()
    except TimeoutError:
        raise Overdue(timeout_s, stuck=True) from None
    if errors and isinstance(errors[0], Exception):
        raise errors[0]
    if errors:
        raise Escaped(f"{type(errors[0]).__name__}: {errors[0]}") from errors[0]
    return answers[0]
