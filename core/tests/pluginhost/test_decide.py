"""Decisions fail closed, in the operator's order."""

import asyncio

import pytest
from podium_hookspecs import (
    Admission,
    AdmitRequest,
    NodeStopping,
    PendingAdmission,
    PluginError,
    Price,
    PriceRequest,
    hookimpl,
)

ASK = PriceRequest(sender=bytes(20), capability=0)
SENDER = AdmitRequest(sender=b"\x01" * 20, stage="job")


def pricing(answer):
    @hookimpl
    def podium_price(request):
        if isinstance(answer, Exception):
            raise answer
        return answer

    return podium_price


def admitting(answer, seen=None):
    @hookimpl
    def podium_admit(request):
        if seen is not None:
            seen.append(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return podium_admit


def pending(outcome, timeout_s=5.0):
    async def decide():
        if isinstance(outcome, Exception):
            raise outcome
        if outcome == "hang":
            await asyncio.sleep(60)
        return outcome

    return PendingAdmission(decide, timeout_s)


@pytest.mark.parametrize("order", [["cheap", "dear"], ["dear", "cheap"]])
async def test_the_first_in_the_file_prices(host, plugin, order):
    prices = {"cheap": Price(1, "pixel"), "dear": Price(9, "pixel")}
    plugins = {name: plugin(podium_price=pricing(price)) for name, price in prices.items()}
    loaded = await host(plugins, {name: {"enabled": True} for name in order})
    assert loaded.price(ASK) == prices[order[0]]


async def test_a_plugin_that_passes_lets_the_next_price(host, plugin):
    plugins = {
        "passes": plugin(podium_price=pricing(None)),
        "prices": plugin(podium_price=pricing(Price(2, "pixel"))),
    }
    assert (await host(plugins)).price(ASK) == Price(2, "pixel")
    assert (await host({})).price(ASK) is None


async def test_an_error_is_never_a_price_and_is_counted(host, plugin):
    plugins = {
        "broken": plugin(podium_price=pricing(KeyError("feed"))),
        "prices": plugin(podium_price=pricing(Price(2, "pixel"))),
    }
    loaded = await host(plugins)
    with pytest.raises(PluginError) as caught:
        loaded.price(ASK)
    assert caught.value.public == "no price"
    assert "feed" in str(caught.value)
    assert host.told.errors == [("broken", "podium_price")]


async def test_what_a_plugin_raises_on_purpose_reaches_the_peer(host, plugin):
    error = PluginError("the feed is old", public="no price today")
    loaded = await host({"p": plugin(podium_price=pricing(error))})
    with pytest.raises(PluginError) as caught:
        loaded.price(ASK)
    assert caught.value.public == "no price today"


@pytest.mark.parametrize("answer", [5, Price(1, "second")])
async def test_an_answer_that_is_no_such_price_is_an_error(host, plugin, answer):
    loaded = await host({"p": plugin(podium_price=pricing(answer))})
    with pytest.raises(PluginError, match="is no such price"):
        loaded.price(ASK)


async def test_without_plugins_everyone_is_let_in(host):
    assert await (await host({})).admit(SENDER) == Admission(True)


@pytest.mark.parametrize("order", [["yes", "no"], ["no", "yes"]])
async def test_the_first_in_the_file_admits(host, plugin, order):
    answers = {"yes": Admission(True), "no": Admission(False, "not you")}
    plugins = {name: plugin(podium_admit=admitting(a)) for name, a in answers.items()}
    loaded = await host(plugins, {name: {"enabled": True} for name in order})
    assert await loaded.admit(SENDER) == answers[order[0]]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (RuntimeError("database down"), "admission check failed"),
        (PluginError("blocked", public="go away"), "go away"),
        ("yes", "admission check failed"),
        (True, "admission check failed"),
        (pending(OSError("webhook down")), "admission check failed"),
        (pending("hang", timeout_s=0.01), "admission check failed"),
        (pending("yes"), "admission check failed"),
    ],
)
async def test_everything_but_a_good_answer_refuses(host, plugin, answer, reason):
    plugins = {
        "broken": plugin(podium_admit=admitting(answer)),
        "yes": plugin(podium_admit=admitting(Admission(True))),
    }
    loaded = await host(plugins)
    assert await loaded.admit(SENDER) == Admission(False, reason)
    assert host.told.errors == [("broken", "podium_admit")]


async def test_a_pending_answer_is_awaited_and_may_pass(host, plugin):
    price = Price(3, "pixel")
    plugins = {
        "passes": plugin(podium_admit=admitting(pending(None))),
        "answers": plugin(podium_admit=admitting(pending(Admission(True, price=price)))),
    }
    assert (await (await host(plugins)).admit(SENDER)).price == price


async def test_an_answer_is_used_again_for_as_long_as_it_allows(host, plugin):
    seen = []
    loaded = await host({"p": plugin(podium_admit=admitting(Admission(True, ttl_s=30), seen))})
    for _ in range(3):
        await loaded.admit(SENDER)
    assert len(seen) == 1
    await loaded.admit(AdmitRequest(sender=b"\x02" * 20, stage="job"))
    assert len(seen) == 2
    host.told.now_s = 30.0
    await loaded.admit(SENDER)
    assert len(seen) == 3


async def test_an_answer_without_a_lifetime_is_asked_for_each_time(host, plugin):
    seen = []
    loaded = await host({"p": plugin(podium_admit=admitting(Admission(True), seen))})
    await loaded.admit(SENDER)
    await loaded.admit(SENDER)
    assert len(seen) == 2


async def test_everyone_hears_of_an_event_even_behind_one_that_fails(host, plugin):
    heard = []

    @hookimpl
    def deaf(event):
        raise RuntimeError("deaf")

    @hookimpl
    def hears(event):
        heard.append(event)

    loaded = await host({"a": plugin(podium_on_event=deaf), "b": plugin(podium_on_event=hears)})
    loaded.emit(NodeStopping("test"))
    assert heard == [NodeStopping("test")]
    assert host.told.errors == [("a", "podium_on_event")]


async def test_a_failed_plugin_is_asked_no_more(host, plugin):
    loaded = await host({"p": plugin(podium_price=pricing(Price(1, "pixel")))})
    loaded.fail("p", "its worker died")
    assert loaded.price(ASK) is None
