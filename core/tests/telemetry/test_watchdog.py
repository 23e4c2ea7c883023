"""The loop's standstill is noticed, and whose code it stands in."""

import asyncio
import time
from types import ModuleType

import pytest
from podium.pluginhost.whose import home, owner_of, tasks_in
from podium.telemetry import watchdog as module
from podium.telemetry.watchdog import Watchdog


@pytest.fixture
def quick(monkeypatch):
    for name, seconds in {
        "INTERVAL_S": 0.02,
        "LIMIT_S": 0.1,
        "SAMPLE_S": 0.05,
        "HUNG_S": 0.4,
    }.items():
        monkeypatch.setattr(module, name, seconds)


@pytest.fixture
async def watched(quick):
    told, hung, done = [], [], asyncio.Event()

    def blocked(*facts):
        told.append(facts)
        done.set()

    homes = {"mine": __name__}
    watchdog = Watchdog(lambda f: owner_of(f, homes), blocked, lambda *facts: hung.append(facts))
    watchdog.start(asyncio.get_running_loop())
    yield told, hung, done
    watchdog.stop()


def block(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


async def test_who_blocks_is_named_with_the_place(watched):
    told, hung, done = watched
    await asyncio.sleep(0.1)
    block(0.9)
    async with asyncio.timeout(10):
        await done.wait()
    ((plugin, where, seconds),) = told
    assert plugin == "mine"
    assert "test_watchdog.py" in where
    assert seconds > 0.3
    assert len(hung) == 1, "told while it lasted, once"


async def test_waiting_is_not_blocking(watched):
    told, _, _ = watched
    for _ in range(5):
        await asyncio.sleep(0.1)
    assert told == []


async def test_whose_code_it_is():
    plugin = ModuleType("acme.plugin")
    plugin.__package__ = "acme"
    assert home(plugin) == "acme"
    assert home(object()) == "builtins"
    assert owner_of(None, {"a": "acme"}) is None

    async def mine():
        await asyncio.Event().wait()

    task = asyncio.create_task(mine())
    await asyncio.sleep(0)
    assert tasks_in(__name__, [task]) == [task]
    assert tasks_in("acme", [task]) == []
    task.cancel()
    await asyncio.wait({task})
    assert tasks_in(__name__, [task]) == []
