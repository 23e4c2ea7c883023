"""Leases worker slots to jobs.

A session stays on the worker that served it last (its device holds the
encoder, its machine the model); else the worker with most free slots, and
among equals the least loaded by cost, takes it (wire-video 7, 9.5).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from attrs import define, field
from podium_hookspecs import (
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

    from podium_hookspecs import Event, Requirements, Worker

START_TIMEOUT_S = 60.0
FIRST_REPORT_TIMEOUT_S = 5.0
END_SESSION_TIMEOUT_S = 5.0
REMEMBERED_SESSIONS = 10_000
"""Sessions whose worker is remembered; the least recent is forgotten first."""

NO_WORKERS = "no transcoders available"
NOT_CAPABLE = "no transcoders can provide requested capabilities"


@define(eq=False)
class Member:
    """A worker with what the pool knows of it."""

    worker: Worker
    health: Health = field(factory=lambda: Health(WorkerState.STARTING))
    slots_used: int = 0
    cost: int = 0
    watcher: asyncio.Task[None] | None = None

    @property
    def slots_free(self) -> int:
        """Slots that a job may take now."""
        return self.worker.resources.slots - self.slots_used

    @property
    def up(self) -> bool:
        """Whether it takes jobs."""
        return self.health.state in (WorkerState.OK, WorkerState.DEGRADED)

    def fits(self, pipeline: str, needs: Requirements) -> bool:
        """Whether it can do such a job at all."""
        resources = self.worker.resources
        return (
            pipeline in resources.pipelines
            and needs.capabilities <= resources.capabilities
            and needs.slots <= resources.slots
            and (needs.model is None or needs.model in resources.models)
            and version_at_least(resources.version, needs.min_version)
        )


@define(eq=False)
class WorkerPool:
    """All workers of the node.

    Args:
        on_event: Hears of changes.
    """

    on_event: Callable[[Event], None]
    _members: list[Member] = field(factory=list)
    _sticky: OrderedDict[str, Member] = field(factory=OrderedDict)
    _changed: asyncio.Condition = field(factory=asyncio.Condition)

    async def start(self, workers: Iterable[Worker]) -> None:
        """Recover and start the workers side by side; one that cannot start is down, with why."""
        members = [Member(worker) for worker in workers]
        self._members.extend(members)
        await asyncio.gather(*(self._start(member) for member in members))

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

    @asynccontextmanager
    async def lease(
        self, pipeline: str, needs: Requirements, session_id: str
    ) -> AsyncIterator[Worker]:
        """Hold a slot for a job; wait for one as long as the caller's own deadline lets it.

        Raises:
            WorkerLost: no worker for it is up.
            Unsupported: workers are up, but none can do it.
        """
        member = await self._take(pipeline, needs, session_id)
        try:
            yield member.worker
        finally:
            member.slots_used -= needs.slots
            member.cost -= needs.cost
            # Shielded: a cancelled job must still wake those who wait for its slot.
            await asyncio.shield(self._wake())

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _take(self, pipeline: str, needs: Requirements, session_id: str) -> Member:
        async with self._changed:
            while (member := self._choose(pipeline, needs, session_id)) is None:
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
        return min(free, key=_preference, default=None)

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
        watchers = [m.watcher for m in self._members if m.watcher is not None]
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        await asyncio.gather(*(m.worker.close() for m in self._members), return_exceptions=True)


def _preference(member: Member) -> tuple[bool, int, int]:
    """Healthy before degraded, then most free slots, then least cost."""
    return (member.health.state is WorkerState.DEGRADED, -member.slots_free, member.cost)
