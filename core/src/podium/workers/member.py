"""One worker of the pool: its life, and what is asked of it. All of it is a plugin's code."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from attrs import define, evolve, field
from podium_hookspecs import (
    Hardware,
    Health,
    Offer,
    PluginError,
    Resources,
    WorkerState,
)

from podium.bounded import Escaped, Overdue, bounded, contained, stopped
from podium.wire.capabilities import version_at_least

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from podium_hookspecs import Requirements, Worker

T = TypeVar("T")
START_TIMEOUT_S = 60.0
FIRST_REPORT_TIMEOUT_S = 5.0
END_SESSION_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 20.0
REPORTS_AT_ONCE = 20
"""Reports of health that are taken as they come; a worker that reports on without end is paced."""
REPORT_PAUSE_S = 0.1
MAX_HARDWARE = 1000


@define(eq=False)
class Member:
    """A worker with what the pool knows of it. What it does wrong puts it down, with why.

    Attributes:
        name: As it said when it came.
        resources: As it said when it came; with its latest report the number of slots may change.
        changed: Told when its health changed.
        fault: What it did wrong; it gets no more jobs.
        leaving: It gets no more jobs, and is closed when those it has are done.
    """

    worker: Worker
    name: str
    resources: Resources
    changed: Callable[[Member], None]
    health: Health = field(factory=lambda: Health(WorkerState.STARTING))
    slots_used: int = 0
    cost: int = 0
    fault: str = ""
    leaving: bool = False
    _watcher: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, worker: Worker, changed: Callable[[Member], None]) -> Member:
        """Read what a worker says of itself.

        Raises:
            PluginError: that is nothing a worker can be.
        """
        try:
            name, resources = worker.name, worker.resources
        except Exception as error:
            raise PluginError(f"a worker does not say what it is: {_told(error)}") from error
        if not isinstance(name, str) or not _well_formed(resources):
            raise PluginError(f"{name!r} with {resources!r} is no worker")
        return cls(worker, name, resources, changed)

    @property
    def slots_free(self) -> int:
        """Slots that a job may take now."""
        return self.resources.slots - self.slots_used

    @property
    def up(self) -> bool:
        """Whether it takes jobs."""
        up = self.health.state in (WorkerState.OK, WorkerState.DEGRADED)
        return up and not self.leaving and not self.fault

    def fits(self, pipeline: str, needs: Requirements) -> bool:
        """Whether it can do such a job at all."""
        return (
            pipeline in self.resources.pipelines
            and needs.slots <= self.resources.slots
            and _can(self.resources, needs)
            and version_at_least(self.resources.version, needs.min_version)
        )

    async def start(self, *, recover: bool = True) -> None:
        """Recover and start it; one that cannot start is down, with why."""
        reason = ""
        try:
            await bounded(self._started(recover), START_TIMEOUT_S)
        except PluginError as error:
            reason = str(error)
        except Overdue:
            reason = f"did not start within {START_TIMEOUT_S:g} s"
        except Exception as error:  # noqa: BLE001  a plugin's bug ends its worker, not the node
            reason = f"did not start: {_told(error)}"
        if reason:
            self.report(Health(WorkerState.DOWN, reason))
            return
        first = asyncio.Event()
        self._watcher = asyncio.create_task(self._watch(first))
        # What it says of itself first is known before the node counts on it.
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_REPORT_TIMEOUT_S):
                await first.wait()

    async def _started(self, recover: bool) -> None:
        if recover:
            await self.worker.recover()
        await self.worker.start()

    async def _watch(self, first: asyncio.Event) -> None:
        try:
            await contained(self._follow(first))
        except Exception as error:  # noqa: BLE001  a plugin's watch ends its worker, not the node
            self.report(Health(WorkerState.DOWN, f"health watch failed: {_told(error)}"))
        finally:
            first.set()

    async def _follow(self, first: asyncio.Event) -> None:
        reports, since = 0, asyncio.get_running_loop().time()
        async for health in self.worker.health():
            if not isinstance(health, Health) or not isinstance(health.state, WorkerState):
                raise PluginError(f"{health!r} is no health")
            self._count_slots()
            self.report(health)
            first.set()
            now = asyncio.get_running_loop().time()
            reports, since = (reports + 1, since) if now - since < 1 else (1, now)
            # A watch that never waits would never let anything else run.
            await asyncio.sleep(REPORT_PAUSE_S if reports > REPORTS_AT_ONCE else 0)

    def _count_slots(self) -> None:
        """Take over a changed number of slots; nothing else that a worker has may change."""
        resources = self.worker.resources
        if not _well_formed(resources) or evolve(resources, slots=0) != evolve(
            self.resources, slots=0
        ):
            raise PluginError(f"{resources!r} is not what it had when it came")
        if resources.slots != self.resources.slots:
            self.resources = resources
            self.changed(self)

    def report(self, health: Health) -> None:
        """Note how it is; one that is at fault stays down, whatever it says."""
        if self.fault and health.state is not WorkerState.DOWN:
            return
        if health != self.health:
            self.health = health
            self.changed(self)

    def blame(self, what: str, error: BaseException) -> None:
        """Give it no more jobs: it did something that no worker may."""
        self.fault = f"{what}: {_told(error)}"
        self.report(Health(WorkerState.DOWN, self.fault))

    def readiness(self, needs: Requirements) -> int:
        """Ask how soon a job could begin; one that fails to say so comes last, and goes down."""
        answer = self._ask("readiness", lambda: self.worker.readiness(needs), int)
        return 2**31 if answer is None else answer

    def hardware(self) -> Sequence[Hardware]:
        """Ask what runs which model now."""

        def ask() -> tuple[Hardware, ...]:
            found = tuple(islice(self.worker.hardware(), MAX_HARDWARE))
            wrong = next((entry for entry in found if not isinstance(entry, Hardware)), None)
            if wrong is not None:
                raise TypeError(f"{wrong!r} is no Hardware")
            return found

        return self._ask("hardware", ask, tuple) or ()

    def _ask(self, what: str, func: Callable[[], T], kind: type[T]) -> T | None:
        try:
            answer = func()
            if not isinstance(answer, kind):
                raise TypeError(f"{answer!r} is no {kind.__name__}")
        except (Exception, SystemExit) as error:  # noqa: BLE001  it is the worker's fault
            self.blame(what, error)
            return None
        return answer

    async def end_session(self, session_id: str) -> None:
        """Tell it that a session is over."""
        await self._tell(
            "end_session", lambda: self.worker.end_session(session_id), END_SESSION_TIMEOUT_S
        )

    async def close(self) -> None:
        """Stop its watch, then it; one that does not stop is left alone."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            await stopped(watcher)
        await self._tell("close", lambda: self.worker.close(), CLOSE_TIMEOUT_S)

    async def _tell(self, what: str, func: Callable[[], Awaitable[None]], timeout_s: float) -> None:
        async def work() -> None:
            await func()

        try:
            await bounded(work(), timeout_s)
        except Exception as error:  # noqa: BLE001  a plugin's bug must not hold the node up
            if self.up:
                self.report(Health(WorkerState.DEGRADED, f"{what} failed: {_told(error)}"))


def _told(error: BaseException) -> str:
    if isinstance(error, PluginError | Overdue | Escaped):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _well_formed(resources: object) -> bool:
    """Whether the pool can count with a worker: a wrong type would fail the jobs of others."""
    return (
        isinstance(resources, Resources)
        and type(resources.slots) is int
        and isinstance(resources.version, str)
        and all(isinstance(offer, Offer) for offer in resources.offers)
    )


def _can(resources: Resources, needs: Requirements) -> bool:
    """Whether a worker has capabilities and model: together, where it says which of which."""
    if needs.model is None or not resources.offers:
        has_model = needs.model is None or needs.model in resources.models
        return has_model and needs.capabilities <= resources.capabilities
    return any(
        offer.model == needs.model and needs.capabilities <= {offer.capability}
        for offer in resources.offers
    )
