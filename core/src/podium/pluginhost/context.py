"""What each plugin gets of the node, and the background work it may do."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from fractions import Fraction
    from pathlib import Path

    from podium_hookspecs import Log, Metrics, Price, PriceRequest

    from podium.pluginhost.market import Market

P = ParamSpec("P")
R = TypeVar("R")
THREADS = 4
"""Blocking calls that one plugin makes at a time; further ones wait."""
STOP_TIMEOUT_S = 5.0


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
        """Run a background task until shutdown; its failure degrades the plugin."""
        task = asyncio.get_running_loop().create_task(coroutine, name=f"{self.plugin}:{name}")
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, name))

    def currency(self, name: str) -> Callable[[Fraction], Fraction]:
        """Return a function from an amount of a currency to exact wei."""
        return self._market.currency(self.plugin, name)

    def next_price(self, request: PriceRequest) -> Price:
        """Return what would be charged without this plugin."""
        return self._market.next_price(self.plugin, request)

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
