"""A plugin under test, loaded through its hooks as the node does it."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from podium_hookspecs import WorkerState

from podium.config.settings import PluginSettings
from podium.pluginhost.call import Hooks
from podium.pluginhost.load import check_config
from podium.testing.plugins import RecordingContext

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from podium_hookspecs import Mount, Pipeline, Price, PriceRequest, Worker

NAME = "under-test"
READY_S = 30.0


@frozen
class LoadedPlugin:
    """What a plugin gave.

    Attributes:
        config: Its checked section.
        context: What it got of the node; its log and metrics can be read.
        pipelines: By name.
        workers: By name, not yet started.
        mounts: Its routes.
    """

    config: Any
    context: RecordingContext
    pipelines: dict[str, Pipeline]
    workers: dict[str, Worker]
    mounts: list[Mount]
    _hooks: Hooks = field(repr=False)

    def price(self, request: PriceRequest) -> Price | None:
        """Ask the plugin alone for a price.

        Raises:
            PluginFailure: it raised; its ``cause`` is what.
        """
        answers = self._hooks.decide("podium_price", request=request)
        found: Price | None = next((answer for _, answer in answers), None)
        return found


def load_plugin(
    plugin: object, context: RecordingContext, options: Mapping[str, Any] | None = None
) -> LoadedPlugin:
    """Load a module, or an object with hooks.

    Args:
        plugin: What the entry point names.
        context: The plugin's view of the node.
        options: Its section, as in TOML.

    Raises:
        PluginFailure: a hook is wrong, or raised.
        ConfigInvalid: the section has problems.
    """
    hooks, name = Hooks(), context.plugin
    hooks.register(name, plugin)
    section = PluginSettings(enabled=True, options=dict(options or {}))
    config = check_config(name, hooks, section, Path.cwd(), os.environ)
    hooks.equip(name, config=config, context=context)

    def given(hook: str) -> list[Any]:
        return [item for items in hooks.ask(name, hook) for item in items]

    return LoadedPlugin(
        config,
        context,
        {pipeline.name: pipeline for pipeline in given("podium_pipelines")},
        {worker.name: worker for worker in given("podium_workers")},
        given("podium_asgi"),
        hooks,
    )


@asynccontextmanager
async def running_plugin(
    plugin: object, folder: Path, options: Mapping[str, Any] | None = None
) -> AsyncIterator[LoadedPlugin]:
    """Load a plugin, start its pipelines, and end all of it afterwards.

    Workers are left to whoever needs them: ``started`` starts one.
    """
    loaded = load_plugin(plugin, RecordingContext(state_dir=folder, plugin=NAME), options)
    try:
        for pipeline in loaded.pipelines.values():
            await pipeline.start()
        yield loaded
    finally:
        for pipeline in loaded.pipelines.values():
            await pipeline.close()
        await loaded.context.close()


@asynccontextmanager
async def started(worker: Worker) -> AsyncIterator[Worker]:
    """Recover and start a worker, and wait until it may get jobs; close it afterwards."""
    await worker.recover()
    try:
        await worker.start()
        async with asyncio.timeout(READY_S), aclosing(worker.health()) as states:  # type: ignore[type-var]
            async for health in states:
                if health.state in (WorkerState.OK, WorkerState.DEGRADED):
                    break
        yield worker
    finally:
        await worker.close()
