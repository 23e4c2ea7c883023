"""What third-party plugins can do to a running node, and what they cannot."""

from fractions import Fraction

import httpx
import pytest
from podium.assembly import Overrides
from podium.bench import null
from podium.config.settings import PluginSettings
from podium.testing.gateway.errors import OrchestratorFailed
from podium_hookspecs import (
    Admission,
    JobFinished,
    Mount,
    PendingAdmission,
    PluginError,
    Price,
    hookimpl,
)


class Plugin:
    """Implements every decide and observe hook, and a route; tests set the answers."""

    def __init__(self):
        self.price = None
        self.admission = None
        self.events = []

    @hookimpl
    def podium_price(self, request, context):
        context.state = (context.state or 0) + 1
        if isinstance(self.price, Exception):
            raise self.price
        return self.price

    @hookimpl
    def podium_admit(self, request):
        return self.admission

    @hookimpl
    def podium_on_event(self, event):
        self.events.append(event)
        if isinstance(event, JobFinished):
            raise RuntimeError("an observer's bug is its own")

    @hookimpl
    def podium_asgi(self, config, context):
        async def hello(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": scope["path"].encode()})

        return [Mount("/hello", hello), Mount("/private", hello, "admin")]


@pytest.fixture
async def plugged(world):
    plugin = Plugin()
    node = await world.node(
        Overrides(plugins={"commanded": null, "extra": plugin}),
        plugins={"extra": PluginSettings(enabled=True)},
    )
    return world, node, plugin


async def test_routes_on_both_surfaces(plugged):
    world, node, _ = plugged
    client = await world.client()
    reply = await client.get(node.service_uri + "/hello/there")
    assert (reply.status_code, reply.text) == (200, "/hello/there")
    assert (await client.get(node.service_uri + "/private")).status_code == 404
    async with httpx.AsyncClient() as plain:
        admin = f"http://127.0.0.1:{node.admin.port}"
        assert (await plain.get(admin + "/private")).status_code == 200
        assert (await plain.get(admin + "/hello")).status_code == 404


async def test_a_price_plugin_prices(plugged):
    world, node, plugin = plugged
    plugin.price = Price(Fraction(7, 2), "pixel")
    sender = await world.sender(node)
    price = sender.info.price_info
    assert Fraction(price.pricePerUnit, price.pixelsPerUnit) == Fraction(7, 2)
    await sender.result()
    entry = next(e for e in plugin.events if isinstance(e, JobFinished))
    assert entry.fee_wei == 3500


async def test_a_failing_price_plugin_refuses_the_session(plugged):
    world, node, plugin = plugged
    plugin.price = PluginError("feed is stale", public="no price now")
    with pytest.raises(OrchestratorFailed, match=r"^no price now$"):
        await world.sender(node)


async def test_admission_at_discovery_and_for_each_job(plugged):
    world, node, plugin = plugged
    sender = await world.sender(node)
    plugin.admission = Admission(False, "not you")
    with pytest.raises(OrchestratorFailed, match=r"^authentication failed: not you$"):
        await sender.discover()
    reply = await sender.send()
    assert (reply.status_code, reply.text) == (403, "not you\n")


async def test_an_admission_that_takes_time_is_awaited_and_may_set_the_price(plugged):
    world, node, plugin = plugged

    async def decide():
        return Admission(True, price=Price(3, "pixel"))

    plugin.admission = PendingAdmission(decide)
    sender = await world.sender(node)
    price = sender.info.price_info
    assert Fraction(price.pricePerUnit, price.pixelsPerUnit) == 3
    assert (await sender.result()).WhichOneof("result") == "data"
