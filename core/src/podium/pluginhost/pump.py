"""Pulls a plugin's outputs in a task of its own, one at a time.

A run that ignores cancellation then holds up a task, and not the request that wanted it ended.
The plugin goes on only when its last output was taken: work that nobody takes is not done.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from attrs import define, field

from podium.bounded import Overdue, contained, result, stopped

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

END = object()


@define(eq=False)
class Pump:
    """One run.

    Args:
        start: Returns the outputs.
        timeout_s: How long all of it may take, the time between outputs included; None: no limit.
    """

    start: Callable[[], AsyncIterator[Any]]
    timeout_s: float | None = None
    _next: asyncio.Future[Any] | None = field(default=None, init=False)
    _go_on: asyncio.Event = field(factory=asyncio.Event, init=False)
    _task: asyncio.Task[None] | None = field(default=None, init=False)

    async def outputs(self) -> AsyncGenerator[Any, None]:
        """Yield what the run yields.

        Raises:
            Overdue: it took too long.
            Escaped: it tried to end the process.
            Exception: what the run raised.
        """
        loop = asyncio.get_running_loop()
        ends_s = None if self.timeout_s is None else loop.time() + self.timeout_s
        task = self._task = loop.create_task(contained(self._pull()))
        task.add_done_callback(lambda _: self._hand_over(END))
        while True:
            self._next = loop.create_future()
            if task.done():
                result(task)
                return
            self._go_on.set()
            try:
                async with asyncio.timeout_at(ends_s):
                    output = await self._next
            except TimeoutError:
                raise Overdue(self.timeout_s or 0.0, stuck=False) from None
            if output is END:
                result(task)
                return
            yield output

    async def stop(self, when_stuck: Callable[[bool], None]) -> None:
        """End the run, if it has not ended.

        Args:
            when_stuck: Told True when it ignores that, and False when it has ended after all.
        """
        task = self._task
        if task is not None and not task.done() and not await stopped(task):
            when_stuck(True)
            task.add_done_callback(lambda _: when_stuck(False))

    async def _pull(self) -> None:
        outputs = self.start()
        try:
            await self._go_on.wait()
            async for output in outputs:
                self._go_on.clear()
                self._hand_over(output)
                await self._go_on.wait()
        finally:
            close = getattr(outputs, "aclose", None) or getattr(outputs, "close", None)
            if close is not None:
                closing = close()
                if closing is not None:
                    await closing

    def _hand_over(self, output: Any) -> None:
        if self._next is not None and not self._next.done():
            self._next.set_result(output)
