"""Every way in which a plugin can fail to load, and what it costs the others."""

import sys

import pytest
from attrs import field, frozen
from podium.errors import ConfigInvalid, StartupError
from podium.pluginhost import PluginState
from podium_hookspecs import ConfigError, Mount, PluginChanged, hookimpl


@frozen
class Options:
    slots: int = field(default=1)


@hookimpl
def podium_config_class():
    return Options


@hookimpl
async def async_pipelines(config, context):
    return []


@hookimpl
def default_pipelines(config, context=None):
    return []


@hookimpl
def strange_pipelines(config, contexts):
    return []


@hookimpl(tryfirst=True)
def eager_price(request):
    return None


@hookimpl(wrapper=True)
def wrapping_admit(request):
    return (yield)


@hookimpl
def podium_no_such_hook():
    return None


def podium_on_event(event):
    """Forgotten mark."""


@hookimpl
def raising(config, context):
    raise ConfigError("slots: the machine has only 2")


@hookimpl
def crashing(config, context):
    return 1 // 0


@hookimpl
def not_a_list(config, context):
    return 3


@hookimpl
def wrong_items(config, context):
    return ["transcode"]


@hookimpl
def no_class():
    return int


@frozen
class Taken:
    job_timeout_s: float = 1.0


@hookimpl
def taken_key():
    return Taken


BROKEN = [
    ({"podium_pipelines": async_pipelines}, "podium_pipelines: is async; hooks are synchronous"),
    (
        {"podium_pipelines": default_pipelines},
        "podium_pipelines: argument context has a default, so it would never be passed",
    ),
    (
        {"podium_pipelines": strange_pipelines},
        "podium_pipelines: takes contexts, but the hook has config, context",
    ),
    ({"podium_price": eager_price}, "podium_price: tryfirst is not allowed"),
    ({"podium_admit": wrapping_admit}, "podium_admit: wrapper is not allowed"),
    ({"podium_no_such_hook": podium_no_such_hook}, "podium_no_such_hook: there is no such hook"),
    ({"podium_on_event": podium_on_event}, "podium_on_event: is not marked with @hookimpl"),
    ({"podium_pipelines": raising}, "podium_pipelines: slots: the machine has only 2"),
    ({"podium_workers": crashing}, "podium_workers: ZeroDivisionError: integer division"),
    ({"podium_asgi": not_a_list}, "podium_asgi: returned int, not a list of Mount"),
    ({"podium_pipelines": wrong_items}, "podium_pipelines: gave 'transcode', which is no Pipeline"),
    ({"podium_config_class": no_class}, "podium_config_class: <class 'int'> is no attrs class"),
    ({"podium_config_class": taken_key}, "podium_config_class: job_timeout_s: the node has these"),
]


@pytest.mark.parametrize(("functions", "reason"), BROKEN)
async def test_a_broken_required_plugin_stops_the_start(host, plugin, functions, reason):
    with pytest.raises(StartupError) as caught:
        await host({"bad": plugin(**functions)})
    assert str(caught.value).startswith(f"plugin bad failed: {reason}")


@pytest.mark.parametrize(("functions", "reason"), BROKEN)
async def test_a_broken_optional_plugin_stays_its_own_problem(
    host, plugin, fake_pipeline, functions, reason
):
    toml = {"bad": {"enabled": True, "required": False}, "good": {"enabled": True}}
    mark = hookimpl(lambda config, context: [fake_pipeline])
    loaded = await host({"bad": plugin(**functions), "good": plugin(podium_pipelines=mark)}, toml)
    assert list(loaded.pipelines) == [fake_pipeline.name]
    bad, good = (status for status in loaded.statuses() if status.name in toml)
    assert bad.state is PluginState.FAILED
    assert bad.reason.startswith(reason)
    assert good.state is PluginState.OK
    assert host.told.events == [PluginChanged("bad", "failed", bad.reason)]


async def test_what_a_plugin_gave_before_it_failed_is_withdrawn(host, plugin, fake_pipeline):
    toml = {"bad": {"enabled": True, "required": False}}
    mark = hookimpl(lambda config, context: [fake_pipeline])
    loaded = await host({"bad": plugin(podium_pipelines=mark, podium_workers=crashing)}, toml)
    assert loaded.pipelines == {}


async def test_a_plugin_that_raises_at_import_fails_with_the_reason(host, install):
    install("mine", "import no_such_package")
    with pytest.raises(StartupError, match="import: ModuleNotFoundError: No module named 'no_such"):
        await host({}, {"mine": {"enabled": True}})


async def test_a_plugin_that_exits_at_import_does_not_take_the_node_along(host, install):
    install("mine", "raise SystemExit(3)")
    loaded = await host({}, {"mine": {"enabled": True, "required": False}})
    assert "import: SystemExit: 3" in {status.reason for status in loaded.statuses()}


async def test_a_plugin_for_other_hooks_is_never_imported(host, install):
    module = install("mine", "", requires=["podium-hookspecs>=9"])
    with pytest.raises(StartupError, match="version: it needs podium-hookspecs>=9"):
        await host({}, {"mine": {"enabled": True}})
    assert module not in sys.modules


async def test_only_enabled_plugins_are_imported(host, install):
    off = install("off", "")
    on = install("on", "")
    loaded = await host({}, {"off": {"enabled": False}, "on": {"enabled": True}})
    states = {status.name: status.state for status in loaded.statuses()}
    assert states["off"] is PluginState.NOT_ENABLED
    assert states["on"] is PluginState.OK
    assert on in sys.modules
    assert off not in sys.modules


async def test_an_enabled_plugin_that_is_not_installed_names_those_that_are(host, install):
    install("mine", "")
    with pytest.raises(StartupError, match=r"no installed distribution offers it \(found: .*mine"):
        await host({}, {"mien": {"enabled": True}})


async def test_all_required_failures_are_told_at_once(host, plugin):
    with pytest.raises(StartupError) as caught:
        await host(
            {
                "a": plugin(podium_pipelines=raising),
                "b": plugin(podium_workers=crashing),
            }
        )
    assert "plugin a failed: " in str(caught.value)
    assert "plugin b failed: " in str(caught.value)


async def test_all_problems_of_all_sections_are_told_at_once(host, plugin):
    options = plugin(podium_config_class=podium_config_class)
    other = plugin(podium_config_class=podium_config_class)
    toml = {
        "a": {"enabled": True, "slot": 3, "slots": "3"},
        "b": {"enabled": True, "slots": True},
    }
    with pytest.raises(ConfigInvalid) as caught:
        await host({"a": options, "b": other}, toml)
    assert caught.value.problems == (
        "plugins.a.slot: unknown key; did you mean slots?",
        "plugins.a.slots: must be a whole number, not a text",
        "plugins.b.slots: must be a whole number, not true or false",
    )


async def test_bad_options_of_an_optional_plugin_only_fail_that_plugin(host, plugin):
    options = plugin(podium_config_class=podium_config_class)
    toml = {"a": {"enabled": True, "required": False, "slots": "3"}}
    loaded = await host({"a": options}, toml)
    (status,) = [status for status in loaded.statuses() if status.name == "a"]
    assert status.reason == "plugins.a.slots: must be a whole number, not a text"


@pytest.mark.parametrize("required", [True, False])
async def test_two_plugins_with_one_pipeline_stop_the_start(host, plugin, fake_pipeline, required):
    one = plugin(podium_pipelines=hookimpl(lambda config, context: [fake_pipeline]))
    two = plugin(podium_pipelines=hookimpl(lambda config, context: [fake_pipeline]))
    toml = {name: {"enabled": True, "required": required} for name in ("one", "two")}
    with pytest.raises(StartupError, match="the pipeline fake is claimed by one and two"):
        await host({"one": one, "two": two}, toml)


async def test_two_workers_of_one_name_stop_the_start(host, plugin, fake_worker):
    one = plugin(podium_workers=hookimpl(lambda config, context: [fake_worker, fake_worker]))
    with pytest.raises(StartupError, match="the worker w is claimed by one and one"):
        await host({"one": one})


async def app(scope, receive, send):
    """Answer nothing."""


def mounting(*mounts):
    @hookimpl
    def podium_asgi(config, context):
        return list(mounts)

    return podium_asgi


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ("/hook", "/hook", True),
        ("/hook", "/hook/inner", True),
        ("/hook/inner", "/hook", True),
        ("/hook", "/hooked", False),
    ],
)
async def test_two_mounts_that_overlap_stop_the_start(host, plugin, first, second, clash):
    one = plugin(podium_asgi=mounting(Mount(first, app)))
    two = plugin(podium_asgi=mounting(Mount(second, app)))
    if clash:
        with pytest.raises(StartupError, match=f"the path {second} is claimed by one and two"):
            await host({"one": one, "two": two})
    else:
        assert len((await host({"one": one, "two": two})).mounts) == 2


async def test_a_path_of_the_core_cannot_be_mounted(host, plugin):
    one = plugin(podium_asgi=mounting(Mount("/segment", app)))
    with pytest.raises(StartupError, match="the path /segment is claimed by the core and one"):
        await host({"one": one}, reserved_paths={"/segment"})


async def test_one_path_on_two_surfaces_is_no_clash(host, plugin):
    mounts = [Mount("/x", app), Mount("/x", app, surface="admin")]
    one = plugin(podium_asgi=mounting(*mounts))
    loaded = (await host({"one": one})).mounts
    assert [(mount.path, mount.surface) for mount in loaded] == [("/x", "public"), ("/x", "admin")]
