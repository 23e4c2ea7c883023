"""The worker: a slot with a runner, whichever way the runner comes to be."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from attrs import define, field
from podium_hookspecs import (
    BadInput,
    Busy,
    Hardware,
    Health,
    JobFailed,
    JobTimeout,
    Unsupported,
    Worker,
    WorkerLost,
    WorkerState,
)

from podium_ai_runner.executors.launcher import ExecutorDown
from podium_ai_runner.executors.values import NO_CAPACITY, Ended, Key, SlotState

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Awaitable,
        Callable,
        Mapping,
        Sequence,
    )

    from podium_hookspecs import Job, Output, Requirements, Resources

    from podium_ai_runner.executors.slot import Held, RunnerSlot
    from podium_ai_runner.executors.values import Endpoint, RunnerInfo, RunnerSpec

    Call = Callable[[Endpoint, Job], AsyncGenerator[Output, None]]
    """Hands a job to a runner's API and yields what comes back; closing it ends the request."""

OK = Health(WorkerState.OK)
CANCELLED = "the job was cancelled"
HOLDS, STARTS, EMPTY, SWAPS, FAILS = range(5)
STOPPABLE = (SlotState.STARTING, SlotState.LOADING, SlotState.PULLING)


@define(eq=False)
class Run:
    """A job that runs.

    Attributes:
        ends_s: Loop time of its end.
        waits: Bounds what it waits for now; a cancellation ends that at once.
        cancelled: It was.
    """

    ends_s: float
    waits: asyncio.Timeout | None = None
    cancelled: bool = False

    @contextlib.asynccontextmanager
    async def bounded(self) -> AsyncIterator[None]:
        """Bound a wait by the job's end, and by its cancellation.

        Raises:
            JobTimeout: the job took too long.
            JobFailed: it was cancelled.
        """
        try:
            async with asyncio.timeout_at(-1.0 if self.cancelled else self.ends_s) as self.waits:
                yield
        except TimeoutError:
            if self.cancelled:
                raise JobFailed(CANCELLED) from None
            raise JobTimeout("the job took longer than it may") from None
        finally:
            self.waits = None

    def cancel(self) -> None:
        """End what it waits for."""
        self.cancelled = True
        if self.waits is not None:
            self.waits.reschedule(-1.0)


@define(eq=False)
class RunnerWorker(Worker):
    """Runs jobs on the runner of one slot, which it starts, swaps and watches.

    Args:
        resources: What it offers. More than one slot only where all jobs share one pinned
            runner: an external service of that capacity.
        slot: Its place.
        call: Hands a job to a runner; ``WorkerLost`` when the runner fails to answer it.
        on_close: Called once, after it has closed.
    """

    _resources: Resources
    slot: RunnerSlot
    _call: Call
    _on_close: Callable[[], Awaitable[None]]
    _closed: bool = False
    _runs: dict[str, Run] = field(factory=dict)

    @property
    def name(self) -> str:
        """See ``Worker``."""
        return self.slot.name

    @property
    def resources(self) -> Resources:
        """See ``Worker``."""
        return self._resources

    @property
    def loaded(self) -> Mapping[Key, RunnerInfo]:
        """What is ready here now, with what it says of itself."""
        held, info = self.slot.held, self.slot.info
        return {} if held is None or info is None else {held.spec.key: info}

    @property
    def failing(self) -> Mapping[Key, str]:
        """What could not be started of late, with the reason."""
        return {key: b.reason for key, b in self.slot.backoffs.items() if b.failures}

    async def recover(self) -> Sequence[str]:
        """End what an earlier life of this node left behind; no job outlives its node."""
        with contextlib.suppress(ExecutorDown):  # then it is done once the executor is back
            for launcher in self.slot.launchers.values():
                await launcher.sweep()
        return ()

    async def start(self) -> None:
        """Begin; a pinned runner is started in the background."""
        self.slot.open()

    async def health(self) -> AsyncIterator[Health]:
        """See ``Worker``."""
        last: Health | None = None
        while last is None or not self.slot.closed:
            changed, now = self.slot.changed, health_of(self.slot)
            if now != last:
                last = now
                yield now
            await changed.wait()
        yield Health(WorkerState.DOWN, "closed")

    async def run(self, job: Job) -> AsyncIterator[Output]:
        """Run a job on the runner of its model; see ``Worker``.

        A runner that is not here is started first, in the job's own time.
        """
        if self.slot.closed or len(self._runs) >= self._resources.slots:
            raise Busy(f"{self.name} has no free slot", public=NO_CAPACITY)
        run = Run(asyncio.get_running_loop().time() + job.timeout_s)
        self._runs[job.id] = run
        self.slot.jobs += 1
        try:
            held = await self._acquire(run, job)
            async with contextlib.aclosing(self._converse(held, run, job)) as outputs:
                async for output in outputs:
                    yield output
        finally:
            del self._runs[job.id]
            self.slot.jobs -= 1

    async def _acquire(self, run: Run, job: Job) -> Held:
        """Wait for the job's runner; one that comes too late is as good as none."""
        key = _key(job, self.slot)
        try:
            async with run.bounded():
                return await self.slot.acquire(key)
        except JobTimeout as error:
            msg = f"the runner of {key} was not ready in the job's time"
            raise JobTimeout(msg, public=NO_CAPACITY) from error

    async def _converse(self, held: Held, run: Run, job: Job) -> AsyncGenerator[Output, None]:
        """Call the runner; afterwards, see to a runner that did not answer as it should."""
        clean = False
        try:
            async with contextlib.aclosing(self._call(held.endpoint, job)) as outputs:
                while True:
                    async with run.bounded():
                        output = await anext(outputs, None)
                    if output is None:
                        break
                    yield output
            clean = True
        except JobTimeout:
            # It is still at it, and would keep the next job waiting.
            self.slot.replace(held, Ended("a job took longer than it may"))
            raise
        except WorkerLost as error:
            async with run.bounded():
                ended = await self.slot.examine(held)
            clean = True
            raise _explained(error, held, ended) from error
        except BadInput:
            clean = True
            raise
        finally:
            held.suspect = held.suspect or not clean

    async def cancel(self, job_id: str) -> None:
        """Stop a job at once; its ``run`` raises ``JobFailed``."""
        run = self._runs.get(job_id)
        if run is not None:
            run.cancel()

    async def close(self) -> None:
        """End the jobs and the runner; see ``Worker``."""
        for run in self._runs.values():
            run.cancel()
        await self.slot.close()
        if not self._closed:
            self._closed = True
            await self._on_close()

    def readiness(self, needs: Requirements) -> int:
        """See ``Worker``: the runner is here, starts, would take an empty or another's place."""
        slot = self.slot
        wanted = [
            key
            for key, spec in slot.specs.items()
            if needs.model in (None, key.model)
            and (not needs.capabilities or spec.capability in needs.capabilities)
        ]
        if not wanted:
            return FAILS
        if slot.held is not None and slot.held.spec.key in wanted:
            return HOLDS
        if slot.target in wanted and slot.state in STOPPABLE:
            return STARTS
        if not any(map(slot.may_start, wanted)):
            return FAILS
        return EMPTY if slot.held is None else SWAPS

    def hardware(self) -> Sequence[Hardware]:
        """See ``Worker``."""
        return [Hardware(*key, info.hardware) for key, info in self.loaded.items()]


def health_of(slot: RunnerSlot) -> Health:
    """Say how a slot's worker is."""
    if slot.closed:
        return Health(WorkerState.DOWN, "closed")
    reasons = [
        f"{key} failed to start {b.failures} times: {b.reason}"
        for key, b in slot.backoffs.items()
        if b.failures
    ]
    failing = "; ".join((*slot.down.values(), *reasons))
    if slot.pinned is not None:
        return _health_of_pinned(slot, slot.specs[slot.pinned], failing)
    if slot.held is None and not any(map(slot.may_start, slot.specs)):
        return Health(WorkerState.DOWN, failing)
    return Health(WorkerState.DEGRADED if failing else WorkerState.OK, failing)


def _health_of_pinned(slot: RunnerSlot, spec: RunnerSpec, failing: str) -> Health:
    if slot.held is not None:
        return Health(WorkerState.STARTING, "LOADING") if slot.held.loading else OK
    if failing:
        return Health(WorkerState.DOWN, failing)
    if not slot.was_ready:
        return Health(WorkerState.STARTING, f"{spec.key} starts")
    if slot.launchers[spec.executor].restarts:
        return Health(WorkerState.DEGRADED, f"{spec.key} is being started again")
    return Health(WorkerState.DOWN, f"{spec.key} does not answer")


def _explained(error: WorkerLost, held: Held, ended: Ended | None) -> JobFailed:
    """Add the cause of death; a job that ran out of memory would do so again elsewhere."""
    if ended is None:
        return error
    kind = JobFailed if ended.out_of_memory else WorkerLost
    message = f"{error} ({held.spec.key} on {held.spec.slot}: {ended.reason})"
    return kind(message, public=error.public)


def _key(job: Job, slot: RunnerSlot) -> Key:
    """Return what a job needs; without a model, the first of its pipeline."""
    for key in slot.specs:
        if key.pipeline == job.pipeline and job.model in (None, key.model):
            return key
    msg = f"{slot.name} does not serve {job.pipeline}/{job.model}"
    raise Unsupported(msg, public=NO_CAPACITY)
