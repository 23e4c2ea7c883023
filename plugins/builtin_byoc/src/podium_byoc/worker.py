"""An executor as a place to run."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from attrs import define, field
from podium_hookspecs import (
    Health,
    JobFailed,
    PluginError,
    Resources,
    Worker,
    WorkerLost,
    WorkerState,
)

from podium_byoc.pipeline import CAPABILITY, NAME
from podium_byoc.proxy import Reins, TokenRefused, Unreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from podium_hookspecs import Job, Output

    from podium_byoc.executor import Executor
    from podium_byoc.proxy import Proxy

BACK_OFF_S = 1.0
MAX_BACK_OFF_S = 60.0
TOKEN_REFUSED = "worker auth token failed"


@define(eq=False)
class ExecutorWorker(Worker):
    """One executor. It outlives its registration until its last job is done.

    Args:
        executor: As it registered last.
        proxy: Connections.
        interval_s: Between two health checks.
        on_lost: Called when it is gone and nothing will tell that it came back.
    """

    executor: Executor
    _proxy: Proxy
    _interval_s: float
    _on_lost: Callable[[ExecutorWorker, str], None]
    retired: bool = field(default=False, init=False)
    _jobs: dict[str, Reins] = field(factory=dict, init=False)
    _idle: asyncio.Event = field(factory=asyncio.Event, init=False)
    _resources: Resources | None = field(default=None, init=False)
    _health: Health = field(init=False)
    _back_off_s: float = field(default=BACK_OFF_S, init=False)
    _changed: asyncio.Event = field(factory=asyncio.Event, init=False)
    _closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._idle.set()
        first = WorkerState.STARTING if self.executor.health_path else WorkerState.OK
        self._health = Health(first)

    @property
    def name(self) -> str:
        """Its name and address."""
        return self.executor.worker_name

    @property
    def resources(self) -> Resources:
        """Its name is its model; without slots once it has left."""
        slots = 0 if self.retired else self.executor.capacity
        if self._resources is None or self._resources.slots != slots:
            models = {self.executor.name}
            self._resources = Resources({NAME}, {CAPABILITY}, models, slots=slots)
        return self._resources

    async def start(self) -> None:
        """Nothing to take: it runs elsewhere."""

    # ------------------------------------------------------------ coming and going

    def update(self, executor: Executor) -> None:
        """Take note of a new registration; jobs that run keep their slots."""
        back = self.retired or self._health.state is WorkerState.DOWN
        self.executor, self.retired, self._back_off_s = executor, False, BACK_OFF_S
        state = self._health.state
        if back:
            state = WorkerState.STARTING if executor.health_path else WorkerState.OK
        self._report(Health(state, f"registered with {executor.capacity} slots"))

    def retire(self, reason: str) -> None:
        """Take no more jobs."""
        self.retired = True
        self._report(Health(WorkerState.DOWN, reason))

    async def idle(self) -> None:
        """Return when no job runs."""
        await self._idle.wait()

    def _report(self, health: Health) -> None:
        self._health = health
        self._changed.set()

    def _lost(self, reason: str) -> None:
        """Note that it cannot be reached; it is looked for again where that can be told."""
        if self.retired:
            return
        if self.executor.declared or self.executor.health_path:
            self._report(Health(WorkerState.DOWN, reason))
        else:
            self.retire(reason)
            self._on_lost(self, reason)

    async def health(self) -> AsyncIterator[Health]:
        """Yield how it is, and ask it: now and then, or with more and more patience when down."""
        while True:
            self._changed.clear()
            yield self._health
            if self._closed:
                return
            try:
                async with asyncio.timeout(self._until_probe_s()):
                    await self._changed.wait()
            except TimeoutError:
                await self._probe()

    def _until_probe_s(self) -> float | None:
        if self.retired:
            return None
        if self._health.state is WorkerState.STARTING:
            return 0.0 if self._back_off_s == BACK_OFF_S else self._back_off_s
        if self._health.state is WorkerState.DOWN:
            return self._back_off_s
        return self._interval_s if self.executor.health_path else None

    async def _probe(self) -> None:
        wrong = await self._proxy.probe(self.executor)
        if self.retired:
            return
        if wrong:
            self._back_off_s = min(2 * self._back_off_s, MAX_BACK_OFF_S)
            self._health = Health(WorkerState.DOWN, wrong)
        else:
            self._back_off_s = BACK_OFF_S
            self._health = Health(WorkerState.OK)

    # ------------------------------------------------------------ jobs

    async def run(self, job: Job) -> AsyncIterator[Output]:
        """Send the request, pass the reply on."""
        if self._closed:
            raise WorkerLost(f"{self.name} is closed")
        reins = self._jobs[job.id] = Reins()
        self._idle.clear()
        try:
            async with aclosing(self._proxy.run(self.executor, job, reins)) as outputs:  # type: ignore[type-var]
                async for output in outputs:
                    yield output
        except (Unreachable, TokenRefused) as error:
            raise self._as_plugin_error(error) from error
        finally:
            del self._jobs[job.id]
            if not self._jobs:
                self._idle.set()

    def _as_plugin_error(self, error: Unreachable | TokenRefused) -> PluginError:
        """Say that it is lost; what it may have begun is not begun again elsewhere."""
        reason = TOKEN_REFUSED if isinstance(error, TokenRefused) else error.reason
        self._lost(reason)
        if isinstance(error, Unreachable) and error.began:
            return JobFailed(f"{self.name}: {reason}", public=reason)
        return WorkerLost(f"{self.name}: {reason}", public=reason)

    async def cancel(self, job_id: str) -> None:
        """Stop a job."""
        if (reins := self._jobs.get(job_id)) is not None:
            reins.pull()

    async def close(self) -> None:
        """Stop all jobs, and take no more."""
        self._closed = True
        self._report(Health(WorkerState.DOWN, "closed"))
        for reins in list(self._jobs.values()):
            reins.pull()
