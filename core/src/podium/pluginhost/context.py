"""What each plugin gets of the node, and the background work it may do."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from attrs import define, field, frozen
from podium_hookspecs import PluginError

from podium.bounded import spawned

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from fractions import Fraction
    from pathlib import Path

    from podium_hookspecs import Log, Metrics, Price, PriceRequest, Worker

    from podium.pluginhost.market import Market

P = ParamSpec("P")
R = TypeVar("R")
THREADS = 4
"""Blocking calls that one plugin makes at a time; further ones wait."""
STOP_TIMEOUT_S = 5.0
MAX_TASKS = 1000
"""Background tasks of one plugin at a time."""
MAX_WORKERS = 1000
"""Workers that one plugin adds while the node runs."""


@frozen
class NodeFacts:
    """What plugins may know of the node.

    Attributes:
        version: What the node advertises.
        orchestrator_id: Checksummed address of the ticket recipient, or ``"offchain"``.
        service_uri: Where peers reach the node, without a trailing slash.
    """

    version: str
    orchestrator_id: str = "offchain"
    service_uri: str = ""


class Pool(Protocol):
    """What plugins reach of the node's workers."""

    async def add(self, worker: Worker) -> None:
        """Take one more worker in and start it."""

    async def remove(self, name: str, drain_s: float = 0.0) -> bool:
        """Let a worker go; False when there is none of that name."""

    def usage(self) -> tuple[int, int]:
        """Return the slots of the workers that are up: those in use, and all."""


@define(eq=False)
class WorkerDoor:
    """The way from plugins to the workers, which are there only after the plugins.

    Attributes:
        pool: The node's workers.
        changed: Called when something else is to be advertised.
    """

    pool: Pool | None = None
    changed: Callable[[], None] = lambda: None

    def open(self) -> Pool:
        """Return the workers.

        Raises:
            PluginError: the node has none yet.
        """
        if self.pool is None:
            raise PluginError("workers are added when the node runs, not while plugins load")
        return self.pool


@define(eq=False)
class HostContext:
    """A plugin's view of the node (``podium_hookspecs.PluginContext``)."""

    plugin: str
    node_version: str
    orchestrator_id: str
    service_uri: str
    state_dir: Path
    log: Log
    metrics: Metrics
    _on_task_failure: Callable[[str, str], None]
    _market: Market
    _workers: WorkerDoor = field(factory=WorkerDoor)
    _added: dict[str, Worker] = field(factory=dict, init=False)
    state: Any = field(default=None, init=False)
    _threads: ThreadPoolExecutor | None = field(default=None, init=False)
    _tasks: set[asyncio.Task[None]] = field(factory=set, init=False)

    async def run_blocking(
        self, func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:  # fmt: skip
        """Run a blocking function in the plugin's own bounded thread pool."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"plugin-{self.plugin}")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(func, *args, **kwargs))

    def spawn(self, coroutine: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run a background task until shutdown; its failure degrades the plugin.

        Raises:
            PluginError: it has too many already.
        """
        if len(self._tasks) >= MAX_TASKS:
            coroutine.close()
            raise PluginError(f"{MAX_TASKS} background tasks run already: {name} is one too many")
        task = spawned(coroutine, f"{self.plugin}:{name}")
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, name))

    def slots(self) -> tuple[int, int]:
        """Return the slots of the workers that are up: those in use, and all."""
        pool = self._workers.pool
        return (0, 0) if pool is None else pool.usage()

    def currency(self, name: str) -> Callable[[Fraction], Fraction]:
        """Return a function from an amount of a currency to exact wei."""
        return self._market.currency(self.plugin, name)

    def next_price(self, request: PriceRequest) -> Price:
        """Return what would be charged without this plugin."""
        return self._market.next_price(self.plugin, request)

    async def add_worker(self, worker: Worker) -> None:
        """Give the node one more worker while it runs.

        Raises:
            PluginError: its name is taken, there are too many, or the node is not that far yet.
        """
        if len(self._added) >= MAX_WORKERS:
            raise PluginError(f"{MAX_WORKERS} workers were added already")
        await self._workers.open().add(worker)
        self._added[worker.name] = worker

    async def remove_worker(self, name: str, *, drain_s: float = 0.0) -> bool:
        """Close a worker that this plugin added; False when there is none of that name."""
        if self._added.pop(name, None) is None:
            return False
        return await self._workers.open().remove(name, drain_s)

    @property
    def added_workers(self) -> list[Worker]:
        """The workers that this plugin added."""
        return list(self._added.values())

    def hand_in_workers(self) -> list[Worker]:
        """Return the workers that this plugin added; it can remove them no more."""
        workers, self._added = self.added_workers, {}
        return workers

    def move_in(self, workers: WorkerDoor) -> None:
        """Add workers to the node's own from now on."""
        self._workers = workers

    def changed(self) -> None:
        """Have the node advertise anew."""
        self._workers.changed()

    def _done(self, name: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.log.error("background task failed", task=name, error=repr(error))
            self._on_task_failure(self.plugin, f"background task {name} failed: {error!r}")

    async def close(self) -> None:
        """Cancel the plugin's tasks and let its threads go; safe to call twice."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=STOP_TIMEOUT_S)
            for task in stuck:
                self.log.warning("background task does not stop", task=task.get_name())
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None
