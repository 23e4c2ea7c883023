"""Plugins as the node has them: their sections checked, loaded together, in a file's order."""

import contextlib
import itertools
import tomllib

import pytest
import structlog
from podium.config.load import parse_settings
from podium.errors import ConfigInvalid
from podium.pluginhost import NodeFacts, PluginHost, Services
from podium.telemetry.plugin_metrics import PluginMetrics
from podium.telemetry.registry import Registry


@pytest.fixture
async def load(tmp_path):
    """Load the plugins of a TOML text from their installed distributions."""
    numbers = itertools.count()
    async with contextlib.AsyncExitStack() as stack:

        async def make(toml):
            folder = str(tmp_path / str(next(numbers)))
            document = {"node": {"data_dir": folder}, **tomllib.loads(toml)}
            registry = Registry()
            services = Services(
                facts=NodeFacts("0.9.1"),
                log=lambda name: structlog.get_logger().bind(plugin=name),
                metrics=lambda name: PluginMetrics(registry, name),
                environ={},
            )
            host = await PluginHost.load(parse_settings(document), services)
            stack.push_async_callback(host.close)
            return host

        yield make


@pytest.fixture
def problems(load):
    """Return the problems of the plugins of a TOML text, by their keys."""

    async def find(toml):
        with pytest.raises(ConfigInvalid) as caught:
            await load(toml)
        return [line.removeprefix("plugins.") for line in caught.value.problems]

    return find
