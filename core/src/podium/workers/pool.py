"""Leases worker slots to jobs.

A session stays on the worker that served it last (its device holds the
encoder, its machine the model); else the readiest worker, then the one with
most free slots, and among equals the least loaded by cost, takes it
(wire-video 7, 9.5). Workers come and go while the node runs.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

from attrs import define, field
from podium_hookspecs import (
    Busy,
    PluginError,
    Unsupported,
    WorkerChanged,
    WorkerLost,
    WorkerState,
)

from podium.workers.member import Member
from podium.workers.quota import NO_CAPACITY, Quota

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from podium_hookspecs import Event, Hardware, Health, Requirements, Worker

REMEMBERED_SESSIONS = 10_000
"""Sessions whose worker is remembered; the least recent is forgotten first."""

NO_WORKERS = "no transcoders available"
NOT_CAPABLE = "no transcoders can provide requested capabilities"


@define(eq=False)
class _Signal:
    """Wakes all who wait, in the order in which they came."""

    _waiting: list[asyncio.Future[None]] = field(factory=list)

    def fire(self) -> None:
        """Wake them."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self) -> None:
        """Wait for the next time."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future


@define(eq=False)
class WorkerPool:
    """All workers of the node.

    Args:
        on_event: Hears of changes.
        on_usage: Called when a model got busier or idler: what is advertised of it has changed.
        quotas: What the jobs of a pipeline may take, by its name; none: no limit.
    """

    on_event: Callable[[Event], None]
    on_usage: Callable[[], None] = lambda: None
    quotas: Mapping[str, Quota] = field(factory=dict)
    _in_use: Counter[tuple[int, str]] = field(factory=Counter)
    _members: list[Member] = field(factory=list)
    _sticky: OrderedDict[str, Member] = field(factory=OrderedDict)
    _changed: _Signal = field(factory=_Signal)

    async def start(self, workers: Iterable[Worker]) -> None:
        """Recover and start the workers side by side; one that cannot start is down, with why."""
        members = [found for worker in workers if (found := self._member(worker)) is not None]
        self._members.extend(members)
        await asyncio.gather(*(member.start() for member in members))

    def _member(self, worker: Worker) -> Member | None:
        """Take a worker for what it says it is, or tell why it cannot be."""
        try:
            return Member.of(worker, self._tell)
        except PluginError as error:
            self.on_event(WorkerChanged(worker.name, WorkerState.DOWN.value, str(error), 0))
            return None

    async def add(self, worker: Worker) -> None:
        """Take one more worker in; it is started when this returns, or down with why.

        Raises:
            PluginError: its name is taken.
        """
        member = Member.of(worker, self._tell)
        self.check_names([member.name])
        self._members.append(member)
        await member.start()

    def check_names(self, names: Iterable[str], leaving: Iterable[Worker] = ()) -> None:
        """Refuse names that workers have who stay.

        Raises:
            PluginError: one is taken.
        """
        going = {id(worker) for worker in leaving}
        taken = {m.name for m in self._members if not m.leaving and id(m.worker) not in going}
        for name in names:
            if name in taken:
                raise PluginError(f"a worker named {name} is there already")

    async def prepare(self, workers: Iterable[Worker], *, recover: bool = True) -> list[Member]:
        """Start workers beside those that work now; ``replace`` takes them in.

        Args:
            workers: What to start.
            recover: Whether an earlier life of the node may have left something behind: not when
                what they replace still runs.

        Raises:
            PluginError: one did not start, with why; all of them were closed.
        """
        members: list[Member] = []
        try:
            members += [Member.of(worker, self._tell) for worker in workers]
            await asyncio.gather(*(member.start(recover=recover) for member in members))
            for member in members:
                if member.health.state is WorkerState.DOWN:
                    raise PluginError(f"worker {member.name}: {member.health.reason}")
        except BaseException:
            await self.discard(members)
            raise
        return members

    async def discard(self, members: Iterable[Member]) -> None:
        """Close workers that were prepared, and are not wanted after all."""
        await asyncio.gather(*(member.close() for member in members))

    def replace(self, leaving: Iterable[Worker], members: Iterable[Member]) -> list[Member]:
        """Give no more jobs to some workers, and take in others, at once.

        Returns:
            Those that leave: ``drain`` them.
        """
        going, coming = {id(worker) for worker in leaving}, list(members)
        left = [m for m in self._members if id(m.worker) in going and not m.leaving]
        names = {member.name for member in coming}
        for member in left:
            self._leave(member, tell=member.name not in names)
        for member in coming:
            self._members.append(member)
            self._tell(member)
        self._changed.fire()
        return left

    async def remove(self, name: str, drain_s: float = 0.0) -> bool:
        """Let a worker go: no new jobs, time for the running ones, then it is closed.

        Returns:
            False when there is none of that name.
        """
        member = next((m for m in self._members if m.name == name and not m.leaving), None)
        if member is None:
            return False
        self._leave(member)
        # Jobs that wait for this worker alone learn now that it is gone.
        self._changed.fire()
        await self.drain([member], drain_s)
        return True

    def _leave(self, member: Member, *, tell: bool = True) -> None:
        member.leaving = True
        for session_id in [key for key, home in self._sticky.items() if home is member]:
            del self._sticky[session_id]
        if tell:
            slots = member.resources.slots
            self.on_event(WorkerChanged(member.name, WorkerState.DOWN.value, "removed", slots))

    async def drain(self, members: Sequence[Member], drain_s: float) -> None:
        """Close workers that leave: when their jobs are done, or when the time is up."""
        try:
            async with asyncio.timeout(drain_s):
                while any(member.slots_used for member in members):
                    await self._changed.wait()
        except TimeoutError:
            pass
        finally:
            await asyncio.gather(*(member.close() for member in members))
            self._members = [m for m in self._members if m not in members]

    def _tell(self, member: Member) -> None:
        """Pass a worker's health on; one that is not yet taken in has none to speak of."""
        if member not in self._members or member.leaving:
            return
        state, reason = member.health.state.value, member.health.reason
        self.on_event(WorkerChanged(member.name, state, reason, member.resources.slots))
        self._changed.fire()

    @property
    def up(self) -> Sequence[Worker]:
        """The workers that take jobs now: what may be advertised."""
        return [member.worker for member in self._members if member.up]

    def states(self) -> Sequence[tuple[Worker, Health, int]]:
        """Every worker, its health and the slots in use."""
        return [(m.worker, m.health, m.slots_used) for m in self._members]

    def hardware(self) -> Sequence[Hardware]:
        """What runs which model now."""
        return [entry for member in self._members if member.up for entry in member.hardware()]

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
        return used, sum(member.resources.slots for member in up)

    @asynccontextmanager
    async def lease(
        self, pipeline: str, needs: Requirements, session_id: str
    ) -> AsyncIterator[Worker]:
        """Hold a slot for a job; wait for one as long as it says, and the caller's deadline lets.

        Raises:
            WorkerLost: no worker for it is up.
            Unsupported: workers are up, but none can do it.
            Busy: none had a free slot within ``needs.wait_s``, or too many jobs wait already.
        """
        quota = self.quotas.get(pipeline) or Quota()
        try:
            async with asyncio.timeout(needs.wait_s):
                member = await self._take(pipeline, needs, session_id, quota)
        except TimeoutError as error:
            msg = f"no slot for {pipeline} within {needs.wait_s:g} s"
            raise Busy(msg, public=NO_CAPACITY) from error
        self._count(needs, needs.slots)
        try:
            yield member.worker
        finally:
            quota.running -= 1
            member.slots_used -= needs.slots
            member.cost -= needs.cost
            self._count(needs, -needs.slots)
            self._changed.fire()

    def _count(self, needs: Requirements, slots: int) -> None:
        """Keep count of models in use; ``remove`` and offers go by it."""
        if needs.model is None:
            return
        for capability in needs.capabilities:
            self._in_use[capability, needs.model] += slots
        self.on_usage()

    async def _take(
        self, pipeline: str, needs: Requirements, session_id: str, quota: Quota
    ) -> Member:
        member = self._choose(pipeline, needs, session_id, quota)
        with nullcontext() if member else quota.queued():
            while member is None:
                if needs.wait_s == 0:
                    raise Busy(f"no slot for {pipeline} is free", public=NO_CAPACITY)
                await self._changed.wait()
                member = self._choose(pipeline, needs, session_id, quota)
        quota.running += 1
        member.slots_used += needs.slots
        member.cost += needs.cost
        if needs.sticky and session_id:
            self._remember(session_id, member)
        return member

    def _choose(
        self, pipeline: str, needs: Requirements, session_id: str, quota: Quota
    ) -> Member | None:
        up = [m for m in self._members if m.up and pipeline in m.resources.pipelines]
        if not up:
            raise WorkerLost(f"no worker for {pipeline} is up", public=NO_WORKERS)
        able = [m for m in up if m.fits(pipeline, needs)]
        if not able:
            raise Unsupported(
                f"no worker for {pipeline} has what the job needs", public=NOT_CAPABLE
            )
        if quota.full:
            return None
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
        if member is not None:
            await member.end_session(session_id)

    async def close(self) -> None:
        """Stop all workers."""
        await asyncio.gather(*(member.close() for member in self._members))


def _preference(member: Member, needs: Requirements) -> tuple[bool, int, int, int]:
    """Healthy before degraded, then the readiest, then most free slots, then least cost."""
    return (
        member.health.state is WorkerState.DEGRADED,
        member.readiness(needs),
        -member.slots_free,
        member.cost,
    )
