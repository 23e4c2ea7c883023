"""The executors that are known, and how they come and go."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from attrs import define, field
from podium_hookspecs import BadInput

from podium_byoc import kept
from podium_byoc.executor import declared
from podium_byoc.private import check_public
from podium_byoc.proxy import Proxy
from podium_byoc.worker import ExecutorWorker

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium_hookspecs import PluginContext

    from podium_byoc.config import ByocConfig
    from podium_byoc.executor import Executor
    from podium_byoc.prices import Prices

MAX_EXECUTORS = 1000


@define(eq=False)
class Registry:
    """One node's executors; each is a worker of the node.

    Args:
        config: The plugin's section.
        context: The node.
        prices: By name.
        monotonic: Returns monotonic seconds.
    """

    _config: ByocConfig
    _context: PluginContext
    prices: Prices
    monotonic: Callable[[], float] = time.monotonic
    _proxy: Proxy = field(init=False)
    _workers: dict[tuple[str, str], ExecutorWorker] = field(factory=dict, init=False)
    _heard_s: dict[tuple[str, str], float] = field(factory=dict, init=False)
    _lock: asyncio.Lock = field(factory=asyncio.Lock, init=False)

    def __attrs_post_init__(self) -> None:
        self._proxy = Proxy(self._config)

    async def start(self) -> None:
        """Take in the executors of the node's earlier life, and those of the configuration."""
        self._proxy.start()
        for executor in [*await self._kept(), *map(declared, self._config.executors)]:
            try:
                self.prices.check(executor.currency)
            except BadInput as error:
                if executor.declared:
                    raise
                self._context.log.warning(
                    "executor left out", executor=executor.worker_name, reason=str(error)
                )
            else:
                await self._put(executor)
        if self._config.heartbeat_s:
            self._context.spawn(self._sweep(), name="heartbeats")

    async def _kept(self) -> list[Executor]:
        try:
            return await self._context.run_blocking(kept.load, self._context.state_dir)
        except (BadInput, OSError) as error:
            self._context.log.error("executors that had registered are lost", reason=str(error))
            return []

    async def close(self) -> None:
        """Let connections go; what is known is kept already."""
        await self._proxy.close()

    async def register(self, executor: Executor) -> None:
        """Take an executor in, or take note of what has changed of it.

        Raises:
            BadInput: with the text for who registers.
        """
        self.prices.check(executor.currency)
        if not self._config.allow_private:
            await check_public(executor.host)
        async with self._lock:
            known = self._workers.get(executor.key)
            if known is not None and known.executor.declared:
                raise BadInput("the node's configuration has this executor")
            if known is None and len(self._workers) >= MAX_EXECUTORS:
                raise BadInput("the node has too many executors")
            await self._put(executor)
            await self._keep()
        self._context.log.info(
            "executor registered", executor=executor.worker_name, capacity=executor.capacity
        )

    async def _put(self, executor: Executor) -> None:
        if self.prices.put(executor.name, executor.price, executor.currency):
            self._context.log.info("price of a name changed", capability=executor.name)
        self._heard_s[executor.key] = self.monotonic()
        worker = self._workers.get(executor.key)
        if worker is not None:
            worker.update(executor)
        else:
            worker = ExecutorWorker(
                executor, self._proxy, self._config.health_interval_s, self._on_lost
            )
            await self._context.add_worker(worker)
            self._workers[executor.key] = worker
        self._context.changed()

    async def unregister(self, text: str) -> None:
        """Remove the executors of a name that registered; on a second line may be an address."""
        name, _, url = text.strip("\r\n").partition("\n")
        url = url.strip().rstrip("/")
        async with self._lock:
            for worker in list(self._workers.values()):
                executor = worker.executor
                if executor.name == name and url in ("", executor.url) and not executor.declared:
                    self._retire(worker, "unregistered")
            await self._keep()

    def _on_lost(self, worker: ExecutorWorker, reason: str) -> None:
        """Forget an executor that cannot be reached, as the network's nodes do."""
        self._retire(worker, reason)
        self._context.spawn(self._keep_locked(), name="keep")

    def _retire(self, worker: ExecutorWorker, reason: str) -> None:
        self._context.log.warning("executor removed", executor=worker.name, reason=reason)
        worker.retire(reason)
        self._context.changed()
        self._context.spawn(self._remove(worker), name="remove")

    async def _remove(self, worker: ExecutorWorker) -> None:
        """Let a worker go after its last job, unless it has come back."""
        await worker.idle()
        async with self._lock:
            key = worker.executor.key
            if not worker.retired or self._workers.get(key) is not worker:
                return
            await self._context.remove_worker(worker.name)
            del self._workers[key], self._heard_s[key]
            if not any(name == key[0] for name, _ in self._workers):
                self.prices.drop(key[0])
            self._context.changed()

    async def _keep_locked(self) -> None:
        async with self._lock:
            await self._keep()

    async def _keep(self) -> None:
        """Write down who is registered."""
        executors = [
            worker.executor
            for worker in self._workers.values()
            if not worker.retired and not worker.executor.declared
        ]
        try:
            await self._context.run_blocking(kept.save, self._context.state_dir, executors)
        except OSError as error:
            self._context.log.error("executors could not be written down", reason=str(error))

    async def _sweep(self) -> None:
        """Remove those that are not heard of any more."""
        patience_s = self._config.heartbeat_s
        while True:
            await asyncio.sleep(patience_s / 4)
            now = self.monotonic()
            for key, worker in list(self._workers.items()):
                silent = now - self._heard_s.get(key, now) > patience_s
                if silent and not worker.retired and not worker.executor.declared:
                    self._retire(worker, f"not heard of for {patience_s:g} s")
                    await self._keep_locked()
