"""Plugins of every temper, as objects and as installed distributions."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import structlog
from podium.config.load import parse_settings
from podium.pluginhost import NodeFacts, PluginHost, Services
from podium.telemetry.plugin_metrics import PluginMetrics
from podium.telemetry.registry import Registry


@pytest.fixture
def plugin():
    """Make a plugin module of named functions."""

    def make(**functions):
        module = ModuleType("plugin")
        vars(module).update(functions)
        return module

    return make


@pytest.fixture
def fake_pipeline(fakes):
    return fakes.pipeline()


@pytest.fixture
def fake_worker(fakes):
    return fakes.worker()


@pytest.fixture
async def host(tmp_path):
    """Load plugins given as objects; everything the node was told is kept."""
    hosts = []
    told = SimpleNamespace(events=[], errors=[], now_s=0.0, registry=Registry())

    async def load(plugins, toml=None, *, strict=True, reserved_paths=()):
        sections = {name: {"enabled": True} for name in plugins} if toml is None else toml
        document = {"node": {"data_dir": str(tmp_path / "data")}, "plugins": sections}
        services = Services(
            facts=NodeFacts("0.9.1", "offchain", "https://127.0.0.1:1"),
            log=lambda name: structlog.get_logger().bind(plugin=name),
            metrics=lambda name: PluginMetrics(told.registry, name),
            on_event=told.events.append,
            on_error=lambda name, hook: told.errors.append((name, hook)),
            environ={},
            monotonic=lambda: told.now_s,
        )
        make = PluginHost.load if strict else PluginHost.inspect
        loaded = await make(
            parse_settings(document),
            services,
            extra_plugins=plugins,
            reserved_paths=reserved_paths,
        )
        hosts.append(loaded)
        return loaded

    load.told = told
    yield load
    for one in hosts:
        await one.close()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution with one plugin module into a folder on ``sys.path``."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    modules = []

    def add(name, source, *, requires=("podium-hookspecs>=1.0,<2",), dist=None, version="1.2.3"):
        dist = dist or f"podium-{name}"
        module = f"{dist.replace('-', '_')}_module"
        modules.append(module)
        (site / f"{module}.py").write_text(source, "utf-8")
        info = site / f"{dist.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {dist}", f"Version: {version}"]
        lines += [f"Requires-Dist: {line}" for line in requires]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        (info / "entry_points.txt").write_text(f"[podium]\n{name} = {module}\n")
        return module

    yield add
    for module in modules:
        sys.modules.pop(module, None)
