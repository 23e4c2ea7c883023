"""What a plugin gets of the node, and what becomes of its background work."""

import asyncio
import threading

import pytest
from attrs import field, frozen
from podium.errors import StartupError
from podium.pluginhost import PluginState
from podium.pluginhost.context import THREADS
from podium_hookspecs import ConfigError, PluginChanged, hookimpl


@frozen
class Options:
    slots: int = field(default=1)


@hookimpl
def podium_config_class():
    return Options


@pytest.fixture
def load_one(host, plugin):
    """Load one plugin and return its host, config and context."""

    async def load(*, start=lambda context: None, **section):
        given = []

        @hookimpl
        def podium_pipelines(config, context):
            given.append((config, context))
            start(context)
            return []

        one = plugin(podium_pipelines=podium_pipelines, podium_config_class=podium_config_class)
        loaded = await host({"mine": one}, {"mine": {"enabled": True, **section}})
        return loaded, *given[0]

    return load


async def test_a_plugin_sees_its_own_section_folder_and_name(load_one, tmp_path):
    _, config, context = await load_one(slots=4)
    assert config == Options(slots=4)
    assert context.plugin == "mine"
    assert context.node_version == "0.9.1"
    assert context.orchestrator_id == "offchain"
    assert context.service_uri == "https://127.0.0.1:1"
    assert context.state_dir == tmp_path / "data" / "plugins" / "mine"
    assert context.state_dir.stat().st_mode & 0o777 == 0o700


async def test_a_plugins_metrics_carry_its_name(load_one, host):
    _, _, context = await load_one()
    count = context.metrics.counter("frames", "Frames seen.", ["codec"])
    count(codec="h264")
    count(2, codec="h264")
    assert b'podium_mine_frames{codec="h264"} 3\n' in host.told.registry.render()
    with pytest.raises(ConfigError, match="cannot be the name"):
        context.metrics.gauge("no-dashes", "x")
    with pytest.raises(ConfigError, match="is another one"):
        context.metrics.gauge("frames", "Frames seen.")


async def test_blocking_calls_run_in_a_bounded_pool_of_the_plugins_own(load_one):
    _, _, context = await load_one()
    running, most, lock = 0, 0, threading.Lock()
    gate = threading.Barrier(THREADS)

    def work(number):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        gate.wait(timeout=10)
        with lock:
            running -= 1
        return number, threading.current_thread().name

    results = await asyncio.gather(*(context.run_blocking(work, n) for n in range(3 * THREADS)))
    assert [number for number, _ in results] == list(range(3 * THREADS))
    assert all(name.startswith("plugin-mine") for _, name in results)
    assert most == THREADS


async def test_a_background_task_that_fails_degrades_the_plugin(load_one, host):
    async def feed():
        raise OSError("feed is gone")

    loaded, _, _ = await load_one(start=lambda context: context.spawn(feed(), name="feed"))
    for _ in range(3):
        await asyncio.sleep(0)
    reason = "background task feed failed: OSError('feed is gone')"
    status = next(status for status in loaded.statuses() if status.name == "mine")
    assert (status.state, status.reason) == (PluginState.DEGRADED, reason)
    assert host.told.events == [PluginChanged("mine", "degraded", reason)]
    loaded.recover("mine")
    assert host.told.events[-1] == PluginChanged("mine", "ok", "")


async def test_closing_stops_background_tasks_and_can_be_repeated(load_one, host):
    stopped = asyncio.Event()

    async def forever():
        try:
            await asyncio.sleep(3600)
        finally:
            stopped.set()

    loaded, _, _ = await load_one(start=lambda context: context.spawn(forever(), name="loop"))
    await asyncio.sleep(0)
    await loaded.close()
    await loaded.close()
    assert stopped.is_set()
    assert host.told.events == []


async def test_a_start_that_fails_stops_the_tasks_that_plugins_began(host, plugin):
    @hookimpl
    def begins(config, context):
        context.spawn(asyncio.sleep(3600), name="loop")
        return []

    @hookimpl
    def breaks(config, context):
        assert [task for task in asyncio.all_tasks() if task.get_name() == "a:loop"]
        raise RuntimeError("no")

    with pytest.raises(StartupError, match="plugin b failed: podium_asgi: RuntimeError: no"):
        await host({"a": plugin(podium_workers=begins), "b": plugin(podium_asgi=breaks)})
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "a:loop"]


async def test_who_brought_what(host, plugin, fake_pipeline, fake_worker):
    loaded = await host(
        {
            "p": plugin(podium_pipelines=hookimpl(lambda config, context: [fake_pipeline])),
            "w": plugin(podium_workers=hookimpl(lambda config, context: [fake_worker])),
        }
    )
    assert loaded.owner(fake_pipeline) == "p"
    assert loaded.owner(loaded.workers[0]) == "w"
    assert loaded.is_required("w")
    loaded.degrade("w", "worker down")
    loaded.fail("p", "broken")
    assert loaded.pipelines == {}
    loaded.degrade("p", "later")
    states = {status.name: status.reason for status in loaded.statuses()}
    assert states["p"] == "broken"
