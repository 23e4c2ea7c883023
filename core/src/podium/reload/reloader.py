"""Brings the running plugins to what the configuration says: all of it, or nothing.

What is new is imported, checked and started beside what runs. Only then, in one step between two
events of the loop, the new takes the place of the old. The old finishes its jobs and ends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from attrs import define, evolve, field
from podium_hookspecs import PluginError

from podium.bounded import stopped
from podium.config.load import load_settings
from podium.errors import ConfigInvalid
from podium.pluginhost import PluginState, WorkerDoor
from podium.reload.outcome import Outcome
from podium.reload.plan import Plan, make_plan
from podium.workers.quota import Quota

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from podium_hookspecs import Worker
    from structlog.typing import FilteringBoundLogger

    from podium.config.settings import Settings
    from podium.pluginhost import Leaving, PluginHost
    from podium.workers.member import Member
    from podium.workers.pool import WorkerPool


@define(eq=False)
class _Stage:
    """Where workers are started before the node takes them in."""

    pool: WorkerPool
    recover: bool
    members: list[Member] = field(factory=list)

    async def add(self, worker: Worker) -> None:
        """Start one more worker.

        Raises:
            PluginError: it does not start.
        """
        self.members += await self.pool.prepare([worker], recover=self.recover)

    def usage(self) -> tuple[int, int]:
        """Return the slots in use, and all, of the node as it is."""
        return self.pool.usage()

    async def remove(self, name: str, drain_s: float = 0.0) -> bool:
        """Close one that was started here."""
        del drain_s
        found = [member for member in self.members if member.name == name]
        self.members = [member for member in self.members if member.name != name]
        await self.pool.discard(found)
        return bool(found)


@define(eq=False)
class Reloader:
    """Reads the configuration again while the node runs.

    Args:
        settings: What holds now.
        host: The plugins.
        pool: The workers.
        extra: Plugins given as objects, by name.
        reserved_paths: Paths of the core that no plugin may take.
        changed: Told when something else is to be advertised.
        log: The node's.
    """

    settings: Settings
    host: PluginHost
    pool: WorkerPool
    extra: Mapping[str, object]
    reserved_paths: Collection[str]
    changed: Callable[[], None]
    log: FilteringBoundLogger
    _quotas: dict[str, Quota] = field(factory=dict, init=False)
    _ending: set[asyncio.Task[None]] = field(factory=set, init=False)
    _turn: asyncio.Lock = field(factory=asyncio.Lock, init=False)

    def limit_jobs(self) -> None:
        """Hold the jobs of each plugin to what its section says."""
        sections = self.settings.plugins
        for name, quota in self._quotas.items():
            quota.max_jobs = quota.max_queue = None
            if name in sections:
                quota.max_jobs = sections[name].max_jobs
                quota.max_queue = sections[name].max_queue
        self.pool.quotas = {
            pipeline: self._quotas[plugin] for pipeline, plugin in self.host.pipeline_owners.items()
        }

    def begin(self) -> None:
        """Set the limits that the node starts with."""
        for plugin in self.host.pipeline_owners.values():
            self._quotas.setdefault(plugin, Quota())
        self.limit_jobs()

    async def reload(self, *, dry_run: bool = False) -> Outcome:
        """Read the file again and do what it says, or say why not.

        Args:
            dry_run: Only say what would be done.
        """
        async with self._turn:
            outcome = await self._reload(dry_run)
        facts = {"path": outcome.path, "changes": [str(change) for change in outcome.changes]}
        if outcome.refused:
            self.log.warning("reload refused", reasons=list(outcome.reasons), **facts)
        elif not dry_run:
            self.log.info("reloaded", **facts)
        return outcome

    async def _reload(self, dry_run: bool) -> Outcome:
        path = self.settings.path
        if path is None:
            return Outcome(path="", problems=("this node has no configuration file",))
        try:
            settings = await asyncio.to_thread(load_settings, path, self.host.services.environ)
        except ConfigInvalid as invalid:
            return Outcome(path=str(path), problems=invalid.problems, dry_run=dry_run)
        plan = await make_plan(self.settings, settings, self.host, self.extra)
        if not dry_run and not plan.problems and not plan.restart:
            await self._carry_out(plan)
        return Outcome(
            path=str(path),
            changes=tuple(plan.changes),
            restart=tuple(plan.restart),
            problems=tuple(plan.problems),
            dry_run=dry_run,
        )

    async def _carry_out(self, plan: Plan) -> None:
        """Start what is new, then put it in the place of the old; on a problem do nothing."""
        stages = {name: _Stage(self.pool, recover=name not in plan.leaving) for name in plan.fresh}
        draft = await self._draft(plan)
        try:
            await self._start(plan, draft, stages)
        except BaseException:
            plan.problems.append("it was broken off")
            raise
        finally:
            if plan.problems:
                await self._drop(draft, stages)
        if not plan.problems:
            members = [member for stage in stages.values() for member in stage.members]
            self._switch(plan, draft, members)

    async def _draft(self, plan: Plan) -> PluginHost:
        """Load the new plugins; nobody hears of them yet."""
        only = {
            name: plan.settings.plugins[name]
            for name in plan.fresh
            if name in plan.settings.plugins
        }
        return await self.host.draft(evolve(plan.settings, plugins=only), plan.fresh)

    async def _start(self, plan: Plan, draft: PluginHost, stages: Mapping[str, _Stage]) -> None:
        plan.problems += self.host.conflicts_with(draft, plan.leaving, self.reserved_paths)
        if plan.problems:
            return
        for name, loaded in draft.loaded.items():
            loaded.context.move_in(WorkerDoor(stages[name]))
        await draft.start_pipelines()
        for name in list(draft.loaded):
            workers = [worker for worker in draft.workers if draft.owner(worker) == name]
            try:
                self._check_names(plan, workers)
                stages[name].members += await self.pool.prepare(
                    workers, recover=stages[name].recover
                )
            except PluginError as error:
                await draft.drop(name, str(error))
        for status in draft.statuses():
            if status.name in plan.fresh and status.state is PluginState.FAILED:
                plan.note(status.name, status.reason)

    def _check_names(self, plan: Plan, workers: list[Worker]) -> None:
        going = [worker for name in plan.leaving for worker in self.host.workers_of(name)]
        self.pool.check_names([worker.name for worker in workers], going)

    async def _drop(self, draft: PluginHost, stages: Mapping[str, _Stage]) -> None:
        for stage in stages.values():
            await self.pool.discard(stage.members)
        await draft.stop()
        await draft.close()

    def _switch(self, plan: Plan, draft: PluginHost, members: list[Member]) -> None:
        """Put the new in the place of the old, at once."""
        gone = self.host.adopt(draft, plan.settings, plan.leaving, plan.order)
        self.settings = plan.settings
        leaving = [worker for one in gone for worker in one.workers]
        left = self.pool.replace(leaving, members)
        self.begin()
        self.changed()
        for one in gone:
            mine = {id(worker) for worker in one.workers}
            ending = self._end(one, [member for member in left if id(member.worker) in mine])
            task = asyncio.create_task(ending, name=f"ending {one.loaded.name}")
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _end(self, gone: Leaving, members: list[Member]) -> None:
        """Let a plugin finish what it has, then close it."""
        drain_s = self.settings.node.drain_timeout_s
        try:
            _, idle = await asyncio.gather(
                self.pool.drain(members, drain_s), gone.ward.idle(drain_s)
            )
            if not idle:
                name = gone.loaded.name
                self.log.warning("plugin ends with jobs under way", plugin=name, waited_s=drain_s)
        finally:
            await self.host.end(gone)
        self.log.info("plugin ended", plugin=gone.loaded.name)

    async def close(self) -> None:
        """End what is still ending, at once."""
        for task in list(self._ending):
            await stopped(task, self.settings.node.drain_timeout_s)
