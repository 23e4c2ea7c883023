"""Plugins that do their worst beside a real, paid stream: it loses no segment and no wei."""

import asyncio
import sys
import time
from pathlib import Path

import httpx
import pytest
from attrs import field, frozen
from podium.bench import null
from podium.testing.gateway.errors import NoOrchestrator
from podium_hookspecs import JobReceived, Mount, Resources, SessionOpened, hookimpl


def hook(name, function):
    """Make a plugin of one hook."""

    class Plugin:
        pass

    setattr(Plugin, name, hookimpl(staticmethod(function)))
    return Plugin()


def fail(error):
    raise error


def raising(error):
    def register(config, context):
        raise error

    return register


# Plugins that fail while they are loaded


@frozen
class Options:
    must: int = field(metadata={"help": "Required."})


class Nameless(null.NullPipeline):
    name = None


class Unitless(null.NullPipeline):
    unit = 7


BROKEN = {
    "config": hook("podium_config_class", lambda: 1 // 0),
    "section": hook("podium_config_class", lambda: Options),
    "exits": hook("podium_pipelines", raising(SystemExit(3))),
    "breaks": hook("podium_workers", raising(KeyboardInterrupt())),
    "raises": hook("podium_asgi", raising(RuntimeError("no"))),
    "number": hook("podium_pipelines", lambda config, context: 5),
    "texts": hook("podium_workers", lambda config, context: ["worker"]),
    "nameless": hook("podium_pipelines", lambda config, context: [Nameless()]),
    "unitless": hook("podium_pipelines", lambda config, context: [Unitless()]),
}


class Lying(null.NullWorker):
    name = "lying"
    resources = Resources({"transcode"}, null.CAPABILITIES, version=5)


async def test_a_worker_that_cannot_be_counted_with_is_left_out(beside):
    node = beside({"lies": hook("podium_workers", lambda config, context: [Lying()])})
    await node.flow()
    assert "worker lying is down: 'lying' with Resources(" in (await node.states())["lies"].reason


async def test_plugins_that_cannot_be_loaded(beside, tmp_path, monkeypatch):
    for name, code in {
        "imports": "raise OSError('no disk')",
        "leaves": "import sys; sys.exit(4)",
    }.items():
        install(tmp_path, monkeypatch, name, code)
    node = beside(
        BROKEN, **{n: {"enabled": True, "required": False} for n in ("imports", "leaves")}
    )
    await node.flow()
    states = await node.states()
    for name in (*BROKEN, "imports", "leaves"):
        assert states[name].state == "failed", name
        assert states[name].reason, name
    assert states["transcode"].state == "ok"


def install(tmp_path, monkeypatch, name, code):
    """Install a distribution with one plugin module."""
    site = tmp_path / "site"
    info = site / f"hostile_{name}-1.dist-info"
    info.mkdir(parents=True)
    (site / f"hostile_{name}.py").write_text(code)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: hostile-{name}\nVersion: 1\n"
        "Requires-Dist: podium-hookspecs>=1,<2\n"
    )
    (info / "entry_points.txt").write_text(f"[podium]\n{name} = hostile_{name}\n")
    if str(site) not in sys.path:
        monkeypatch.syspath_prepend(str(site))


# Plugins that fail while they observe


async def test_observers_that_raise_exit_and_take_their_time(beside):
    heard = []

    def slow(event):
        heard.append(event)
        time.sleep(0.06)

    node = beside(
        {
            "raises": hook("podium_on_event", lambda event: 1 // 0),
            "exits": hook("podium_on_event", lambda event: sys.exit(5)),
            "slow": hook("podium_on_event", slow),
        }
    )
    await node.flow()
    await node.flow()
    states = await node.until(lambda states: states["slow"].state == "failed")
    assert "withdrawn for 10 s: podium_on_event takes more than 50 ms" in states["slow"].reason
    count = len(heard)
    await node.flow()
    assert len(heard) == count, "it hears nothing while it is withdrawn"
    assert 'podium_plugin_errors_total{hook="podium_on_event",plugin="exits"}' in await node.page()


async def test_an_observer_that_blocks_the_loop_is_named(beside):
    def block(event):
        if isinstance(event, SessionOpened):
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                pass

    node = beside({"blocks": hook("podium_on_event", block)})
    await node.flow()
    states = await node.until(lambda states: states["blocks"].state == "degraded")
    assert "it blocked the node, last in " in states["blocks"].reason
    assert Path(__file__).name in states["blocks"].reason


async def test_floods_and_leaks(beside):
    leaked = []

    def flood(event, context):
        if not isinstance(event, JobReceived):
            return
        count = context.metrics.counter("peers", "Peers.", ["peer"])
        for number in range(2000):
            context.log.error("flood " * 1000, number=number, junk="x" * 5000)
            count(peer=f"peer {number} " * 100)
        loop = asyncio.get_running_loop()
        leaked.extend(loop.create_task(asyncio.sleep(3600)) for _ in range(50))
        for number in range(2000):
            context.spawn(asyncio.sleep(3600), name=f"leak {number}")

    node = beside({"floods": hook("podium_on_event", flood)})
    await node.flow()
    assert (await node.page()).count("podium_floods_peers{") <= 501
    node.app.call(lambda: [task.cancel() for task in leaked])


# Plugins that fail while they decide: the work is refused, never given away


@pytest.mark.parametrize("decide", ["podium_price", "podium_admit"])
async def test_a_decision_that_fails_refuses_before_anything_is_paid(beside, decide):
    broken = [True]
    node = beside({"decides": hook(decide, lambda request: fail(OSError("x")) if broken else None)})
    with pytest.raises(NoOrchestrator):
        await node.flow()
    async with httpx.AsyncClient() as http:
        assert (await http.get(node.app.admin_uri + "/podium/ledger")).json()["entries"] == []
    broken.clear()
    await node.flow()


# Plugins with routes


async def test_routes_that_raise_and_exit(beside):
    def routes(config, context):
        async def raises(scope, receive, send):
            raise RuntimeError("no")

        async def exits(scope, receive, send):
            sys.exit(9)

        async def hangs(scope, receive, send):
            await asyncio.Event().wait()

        return [Mount("/raises", raises), Mount("/exits", exits), Mount("/hangs", hangs)]

    node = beside({"routes": hook("podium_asgi", routes)})
    async with httpx.AsyncClient(verify=False, timeout=20) as http:
        hanging = asyncio.create_task(http.get(node.app.uri + "/hangs"))
        for path in ("/raises", "/exits"):
            assert (await http.get(node.app.uri + path)).status_code == 500
        await node.flow()
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
    assert "SystemExit: 9" in (await node.states())["routes"].reason
