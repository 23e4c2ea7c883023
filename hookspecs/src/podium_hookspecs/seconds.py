"""Work that is billed by the second, while it runs."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from attrs import define, evolve, field

from podium_hookspecs.errors import BudgetExhausted, Busy, WorkerLost
from podium_hookspecs.job import Result
from podium_hookspecs.money import Units

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from podium_hookspecs.job import Meter, Output

SECOND = "second"
STEP_S = 5


async def by_the_second(
    outputs: AsyncIterator[Output], meter: Meter, *, step_s: int = STEP_S
) -> AsyncIterator[Output]:
    """Pass a worker's outputs on, and meter the seconds they take.

    A pipeline whose unit is ``"second"`` runs its worker through this. Every ``step_s`` seconds
    that many are metered; when the work is over, however it ends, what is left of the time,
    rounded up. All is metered before the result is passed on. A stream of events is over when the
    balance is used up; other work is finished, and may overdraw. A worker that is lost or has no
    room costs nothing beyond the steps.

    Args:
        outputs: What ``Worker.run`` returned; it is closed when this is.
        meter: The job's.
        step_s: Seconds that are metered at a time, while the work runs.

    Raises:
        BudgetExhausted: in a stream of events.
        PluginError: from the worker.

    .. versionadded:: 1.2
    """
    clock = _Clock(meter, step_s)
    clock.start()
    done = True
    try:
        while (output := await clock.guarded(outputs)) is not None:
            if isinstance(output, Result):
                clock.stop()
                output = evolve(output, units=meter.total.amount)
            elif output.kind == "event":
                clock.strict = True
            yield output
    except (Busy, WorkerLost):
        done = False
        raise
    finally:
        clock.stop(settle=done)
        close = getattr(outputs, "aclose", None)
        if close is not None:
            await close()


@define(eq=False)
class _Clock:
    """Meters as time passes, by a timer: a chunk costs no task."""

    meter: Meter
    step_s: int
    strict: bool = False
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop, init=False)
    _started_s: float = field(default=0.0, init=False)
    _metered: int = field(default=0, init=False)
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)
    _waiting: asyncio.Timeout | None = field(default=None, init=False)
    _exhausted: BudgetExhausted | None = field(default=None, init=False)

    def start(self) -> None:
        self._started_s = self._loop.time()
        self._set_timer()

    def _set_timer(self) -> None:
        next_s = self._started_s + self._metered + self.step_s
        self._timer = self._loop.call_at(next_s, self._step)

    def _step(self) -> None:
        try:
            self._add(self.step_s)
        except BudgetExhausted as error:
            if self.strict:
                self._end(error)
                return
        self._set_timer()

    def _end(self, error: BudgetExhausted) -> None:
        """Let the work end where it waits, or else at its next output."""
        self._timer = None
        self._exhausted = error
        if self._waiting is not None:
            self._waiting.reschedule(self._loop.time())

    def _add(self, seconds: int) -> None:
        self._metered += seconds
        self.meter.add(Units(seconds, SECOND))

    async def guarded(self, outputs: AsyncIterator[Output]) -> Output | None:
        """Return the next output, None after the last."""
        if not self.strict:
            return await anext(outputs, None)
        if self._exhausted is None:
            try:
                async with asyncio.timeout(None) as self._waiting:
                    return await anext(outputs, None)
            except TimeoutError:
                if self._exhausted is None:
                    raise
            finally:
                self._waiting = None
        raise self._exhausted

    def stop(self, *, settle: bool = True) -> None:
        """Meter what is left; once, and never beyond the moment the balance was used up."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        if not settle:
            return
        rest = -int(-(self._loop.time() - self._started_s) // 1) - self._metered
        rest = max(rest, 0 if self._metered else 1)
        if rest:
            with suppress(BudgetExhausted):  # that much was done
                self._add(rest)
