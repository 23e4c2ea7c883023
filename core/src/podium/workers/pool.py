"""Leases worker slots to jobs.

A session stays on the worker that served it last (its device holds the
encoder, its machine the model); else the readiest worker, then the one with
most free slots, and among equals the least loaded by cost, takes it
(wire-video 7, 9.5). Workers come and go while the node runs.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from attrs import define, field
from podium_hookspecs import (
    Busy,
    Health,
    PluginError,
    Unsupported,
    WorkerChanged,
    WorkerLost,
    WorkerState,
)

from podium.wire.capabilities import version_at_least

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from podium_hookspecs import Event, Requirements, Resources, Worker

START_TIMEOUT_S = 60.0
FIRST_REPORT_TIMEOUT_S = 5.0
END_SESSION_TIMEOUT_S = 5.0
REMEMBERED_SESSIONS = 10_000
"""Sessions whose worker is remembered; the least recent is forgotten first."""

NO_WORKERS = "no transcoders available"
NOT_CAPABLE = "no transcoders can provide requested capabilities"
NO_CAPACITY = "insufficient capacity"


@define(eq=False)
class Member:
    """A worker with what the pool knows of it."""

    worker: Worker
    health: Health = field(factory=lambda: Health(WorkerState.STARTING))
    slots_used: int = 0
    cost: int = 0
    leaving: bool = False
    watcher: asyncio.Task[None] | None = None

    @property
    def slots_free(self) -> int:
        """Slots that a job may take now."""
        return self.worker.resources.slots - self.slots_used

    @property
    def up(self) -> bool:
        """Whether it takes jobs."""
        up = self.health.state in (WorkerState.OK, WorkerState.DEGRADED)
        return up and not self.leaving

    def fits(self, pipeline: str, needs: Requirements) -> bool:
        """Whether it can do such a job at all."""
        resources = self.worker.resources
        return (
            pipeline in resources.pipelines
            and needs.slots <= resources.slots
            and _can(resources, needs)
            and version_at_least(resources.version, needs.min_version)
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


@define(eq=False)
class WorkerPool:
    """All workers of the node.

    Args:
        on_event: Hears of changes.
        on_usage: Called when a model got busier or idler: what is advertised of it has changed.
    """

    on_event: Callable[[Event], None]
    on_usage: Callable[[], None] = lambda: None
    _in_use: Counter[tuple[int, str]] = field(factory=Counter)
    _members: list[Member] = field(factory=list)
    _sticky: OrderedDict[str, Member] = field(factory=OrderedDict)
    _changed: asyncio.Condition = field(factory=asyncio.Condition)

    async def start(self, workers: Iterable[Worker]) -> None:
        """Recover and start the workers side by side; one that cannot start is down, with why."""
        members = [Member(worker) for worker in workers]
        self._members.extend(members)
        await asyncio.gather(*(self._start(member) for member in members))

    async def add(self, worker: Worker) -> None:
        """Take one more worker in; it is started when this returns, or down with why.

        Raises:
            PluginError: its name is taken.
        """
        if any(member.worker.name == worker.name for member in self._members):
            raise PluginError(f"a worker named {worker.name} is there already")
        member = Member(worker)
        self._members.append(member)
        await self._start(member)

    async def remove(self, name: str, drain_s: float = 0.0) -> bool:
        """Let a worker go: no new jobs, time for the running ones, then it is closed.

        Returns:
            False when there is none of that name.
        """
        member = next((m for m in self._members if m.worker.name == name and not m.leaving), None)
        if member is None:
            return False
        member.leaving = True
        self.on_event(
            WorkerChanged(name, WorkerState.DOWN.value, "removed", member.worker.resources.slots)
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_s), self._changed:
                # Jobs that wait for this worker alone learn now that it is gone.
                self._changed.notify_all()
                await self._changed.wait_for(lambda: not member.slots_used)
        await self._close(member)
        self._members.remove(member)
        return True

    async def _close(self, member: Member) -> None:
        if member.watcher is not None:
            member.watcher.cancel()
            await asyncio.gather(member.watcher, return_exceptions=True)
        await asyncio.gather(member.worker.close(), return_exceptions=True)

    async def _start(self, member: Member) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await member.worker.recover()
                await member.worker.start()
        except PluginError as error:
            await self._set_health(member, Health(WorkerState.DOWN, str(error)))
            return
        except TimeoutError:
            await self._set_health(member, Health(WorkerState.DOWN, "did not start within 60 s"))
            return
        except Exception as error:  # noqa: BLE001  a plugin's bug ends its worker, not the node
            reason = f"did not start: {type(error).__name__}: {error}"
            await self._set_health(member, Health(WorkerState.DOWN, reason))
            return
        first = asyncio.Event()
        member.watcher = asyncio.create_task(self._watch(member, first))
        # What it says of itself first is known before the node counts on it.
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_REPORT_TIMEOUT_S):
                await first.wait()

    async def _watch(self, member: Member, first: asyncio.Event) -> None:
        try:
            async for health in member.worker.health():
                await self._set_health(member, health)
                first.set()
        except Exception as error:  # noqa: BLE001  a plugin's watch ends its worker, not the node
            await self._set_health(
                member, Health(WorkerState.DOWN, f"health watch failed: {error}")
            )

    async def _set_health(self, member: Member, health: Health) -> None:
        if health == member.health:
            return
        member.health = health
        worker = member.worker
        self.on_event(
            WorkerChanged(worker.name, health.state.value, health.reason, worker.resources.slots)
        )
        async with self._changed:
            self._changed.notify_all()

    @property
    def up(self) -> Sequence[Worker]:
        """The workers that take jobs now: what may be advertised."""
        return [member.worker for member in self._members if member.up]

    def states(self) -> Sequence[tuple[Worker, Health, int]]:
        """Every worker, its health and the slots in use."""
        return [(m.worker, m.health, m.slots_used) for m in self._members]

    def in_use(self, capability: int, model: str) -> int:
        """Slots that a model's jobs hold now."""
        return self._in_use[capability, model]

    def free(self, pipeline: str, needs: Requirements) -> int:
        """Slots that such jobs could take now."""
        return sum(max(0, m.slots_free) for m in self._members if m.up and m.fits(pipeline, needs))

    def usage(self) -> tuple[int, int]:
        """Return the slots of the workers that are up: those in use, and all."""
        up = [member for member in self._members if member.up]
        used = sum(member.slots_used for member in up)
        return used, sum(member.worker.resources.slots for member in up)

    @asynccontextmanager
    async def lease(
        self, pipeline: str, needs: Requirements, session_id: str
    ) -> AsyncIterator[Worker]:
        """Hold a slot for a job; wait for one as long as it says, and the caller's deadline lets.

        Raises:
            WorkerLost: no worker for it is up.
            Unsupported: workers are up, but none can do it.
            Busy: none had a free slot within ``needs.wait_s``.
        """
        try:
            async with asyncio.timeout(needs.wait_s):
                member = await self._take(pipeline, needs, session_id)
        except TimeoutError as error:
            msg = f"no slot for {pipeline} within {needs.wait_s:g} s"
            raise Busy(msg, public=NO_CAPACITY) from error
        self._count(needs, needs.slots)
        try:
            yield member.worker
        finally:
            member.slots_used -= needs.slots
            member.cost -= needs.cost
            self._count(needs, -needs.slots)
            # Shielded: a cancelled job must still wake those who wait for its slot.
            await asyncio.shield(self._wake())

    def _count(self, needs: Requirements, slots: int) -> None:
        """Keep count of models in use; ``remove`` and offers go by it."""
        if needs.model is None:
            return
        for capability in needs.capabilities:
            self._in_use[capability, needs.model] += slots
        self.on_usage()

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _take(self, pipeline: str, needs: Requirements, session_id: str) -> Member:
        async with self._changed:
            while (member := self._choose(pipeline, needs, session_id)) is None:
                if needs.wait_s == 0:
                    raise Busy(f"no slot for {pipeline} is free", public=NO_CAPACITY)
                await self._changed.wait()
            member.slots_used += needs.slots
            member.cost += needs.cost
            if needs.sticky and session_id:
                self._remember(session_id, member)
            return member

    def _choose(self, pipeline: str, needs: Requirements, session_id: str) -> Member | None:
        up = [m for m in self._members if m.up and pipeline in m.worker.resources.pipelines]
        if not up:
            raise WorkerLost(f"no worker for {pipeline} is up", public=NO_WORKERS)
        able = [m for m in up if m.fits(pipeline, needs)]
        if not able:
            raise Unsupported(
                f"no worker for {pipeline} has what the job needs", public=NOT_CAPABLE
            )
        home = self._sticky.get(session_id) if needs.sticky else None
        if home in able:
            return home if home.slots_free >= needs.slots else None
        free = [m for m in able if m.slots_free >= needs.slots]
        return min(free, key=lambda m: _preference(m, needs), default=None)

    def _remember(self, session_id: str, member: Member) -> None:
        self._sticky[session_id] = member
        self._sticky.move_to_end(session_id)
        while len(self._sticky) > REMEMBERED_SESSIONS:
            self._sticky.popitem(last=False)

    def forget(self, session_id: str) -> None:
        """Let a session's next job go to any worker."""
        self._sticky.pop(session_id, None)

    async def end_session(self, session_id: str) -> None:
        """Tell the session's worker that it is over."""
        member = self._sticky.pop(session_id, None)
        if member is None:
            return
        try:
            async with asyncio.timeout(END_SESSION_TIMEOUT_S):
                await member.worker.end_session(session_id)
        except Exception as error:  # noqa: BLE001  a plugin's bug must not keep sessions open
            reason = f"end_session failed: {type(error).__name__}: {error}"
            await self._set_health(member, Health(WorkerState.DEGRADED, reason))

    async def close(self) -> None:
        """Stop all workers."""
        await asyncio.gather(*(self._close(member) for member in self._members))


def _preference(member: Member, needs: Requirements) -> tuple[bool, int, int, int]:
    """Healthy before degraded, then the readiest, then most free slots, then least cost."""
    return (
        member.health.state is WorkerState.DEGRADED,
        member.worker.readiness(needs),
        -member.slots_free,
        member.cost,
    )
