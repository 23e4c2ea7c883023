"""What plugins may ask of money, and what the operator is shown of their prices."""

from fractions import Fraction

import pytest
from podium.errors import StartupError
from podium.pluginhost import PluginState
from podium_hookspecs import PluginError, Price, PriceRequest, hookimpl

ASK = PriceRequest(sender=bytes(20), capability=0)
ETH = 10**18


def wei(amount, currency):
    if currency != "usd":
        raise PluginError(f"there is no price feed for {currency.upper()}")
    return amount * ETH / 2000


def configured(request):
    return Price(7, request.unit)


def pricing(answer):
    """Make a hook that gives, raises or works out a price."""

    @hookimpl
    def podium_price(request, context):
        if isinstance(answer, Exception):
            raise answer
        return answer(request, context) if callable(answer) else answer

    return podium_price


def doubling(request, context):
    return Price(2 * context.next_price(request).wei_per_unit, request.unit)


def needing(currency):
    """Make a hook that asks for a currency at start."""

    @hookimpl
    def podium_pipelines(config, context):
        context.state = context.currency(currency)
        return []

    return podium_pipelines


def in_currency(request, context):
    return Price(context.state(Fraction(3)), request.unit)


@pytest.mark.parametrize(
    ("name", "expected"), [("wei", 3), ("ETH", 3 * ETH), ("Usd", 3 * Fraction(ETH, 2000))]
)
async def test_amounts_become_exact_wei(host, plugin, name, expected):
    one = plugin(podium_pipelines=needing(name), podium_price=pricing(in_currency))
    loaded = await host({"one": one})
    loaded.open_market(wei, configured)
    assert loaded.price(ASK).wei_per_unit == expected
    assert loaded.currencies == ({"usd"} if name == "Usd" else frozenset())


async def test_before_the_start_is_over_no_price_is_known(host, plugin):
    one = plugin(podium_pipelines=needing("usd"), podium_price=pricing(in_currency))
    loaded = await host({"one": one, "two": plugin(podium_price=pricing(doubling))})
    with pytest.raises(PluginError, match="once the node has started"):
        loaded.price(ASK)
    loaded.fail("one", "out of the way")
    with pytest.raises(PluginError, match="once the node has started"):
        loaded.price(ASK)


async def test_a_currency_without_a_price_stops_the_start_or_withdraws(host, plugin):
    def one():
        return plugin(podium_pipelines=needing("xau"), podium_price=pricing(in_currency))

    loaded = await host({"one": one()})
    with pytest.raises(StartupError, match="plugin one failed: prices in XAU: there is no price"):
        loaded.open_market(wei, configured)
    sections = {"one": {"enabled": True, "required": False}}
    loaded = await host({"one": one()}, sections)
    loaded.open_market(wei, configured)
    (status,) = [status for status in loaded.statuses() if status.name == "one"]
    assert status.state is PluginState.FAILED
    assert loaded.price(ASK) is None


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (["double", "again", "two"], 8),
        (["double", "two", "again"], 4),
        (["two", "double", "again"], 2),
        (["double", "passes", "again"], 28),
    ],
)
async def test_a_plugin_may_build_on_the_price_after_it(host, plugin, order, expected):
    answers = {"double": doubling, "again": doubling, "two": Price(2, "pixel"), "passes": None}
    plugins = {name: plugin(podium_price=pricing(answers[name])) for name in order}
    loaded = await host(plugins, {name: {"enabled": True} for name in order})
    loaded.open_market(wei, configured)
    assert loaded.price(ASK).wei_per_unit == expected


@pytest.mark.parametrize("fault", [PluginError("stale", public="no price now"), KeyError("x")])
async def test_a_refusal_below_is_a_refusal_above(host, plugin, fault):
    plugins = {
        "double": plugin(podium_price=pricing(doubling)),
        "broken": plugin(podium_price=pricing(fault)),
    }
    loaded = await host(plugins)
    loaded.open_market(wei, configured)
    with pytest.raises(PluginError) as caught:
        loaded.price(ASK)
    assert caught.value.public == getattr(fault, "public", "no price")
    assert host.told.errors == [("broken", "podium_price"), ("double", "podium_price")]


async def test_every_plugin_can_be_asked_though_one_decides(host, plugin):
    answers = {
        "passes": None,
        "double": doubling,
        "broken": KeyError("feed"),
        "wrong": Price(1, "second"),
        "last": Price(9, "pixel"),
    }
    plugins = {name: plugin(podium_price=pricing(answer)) for name, answer in answers.items()}
    loaded = await host(plugins, {name: {"enabled": True} for name in answers})
    loaded.open_market(wei, configured)
    polled = dict(loaded.poll_prices(ASK))
    assert list(polled) == list(answers)
    assert polled["passes"] is None
    assert polled["last"] == Price(9, "pixel")
    assert [isinstance(polled[n], PluginError) for n in ("double", "broken", "wrong")] == [True] * 3
    assert "KeyError" in str(polled["broken"])
    assert "is no such price" in str(polled["wrong"])
