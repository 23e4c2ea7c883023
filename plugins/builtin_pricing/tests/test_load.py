"""The price rises with the load, within its bounds."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from podium.bench.null import NullWorker
from podium.workers.pool import WorkerPool
from podium_hookspecs import (
    NodeStarted,
    Price,
    PriceRequest,
    Requirements,
    SessionClosed,
    SessionOpened,
)
from podium_hookspecs.errors import PluginError
from podium_pricing import load as plugin
from podium_pricing.config import CurrencyLine
from podium_pricing.load import LoadConfig

SENDER = bytes([0x11]) * 20
ASK = PriceRequest(SENDER, 0)
shares = st.fractions(min_value=0, max_value=3)


def refuse(amount, currency):
    raise PluginError(f"no feed for {currency} {amount}")


def sessions(count):
    return SessionOpened("s", SENDER, count)


@given(one=shares, other=shares, low=shares, width=shares, least=shares, more=shares)
def test_the_factor_is_exact_bounded_and_never_falls(one, other, low, width, least, more):
    least, width, more = least + Fraction(1, 7), width + Fraction(1, 9), more + Fraction(1, 5)
    config = LoadConfig(
        rises_from=low, rises_to=low + width, min_factor=least, max_factor=least + more
    )
    factor, later = config.factor(min(one, other)), config.factor(max(one, other))
    assert type(factor) is Fraction
    assert least <= factor <= later <= least + more
    assert config.factor(low) == least
    assert config.factor(low + width / 2) == least + more / 2
    assert config.factor(low + width) == least + more


@pytest.fixture
async def busy(load):
    """A node of ten sessions whose price doubles from half its load on."""
    host = await load(
        """
        [plugins.price-load]
        enabled = true
        [plugins.price-fixed]
        enabled = true
        prices = [{unit = "pixel", price = "1/3"}]
        """
    )
    host.open_market(refuse, lambda request: Price(7, request.unit))
    host.emit(NodeStarted("0.9.1", "https://127.0.0.1:1", max_sessions=10))
    return host


async def test_the_next_plugins_price_rises_and_falls_with_the_sessions(busy):
    assert busy.price(ASK).wei_per_unit == Fraction(1, 3)
    busy.emit(sessions(5))
    assert busy.price(ASK).wei_per_unit == Fraction(1, 3)
    busy.emit(sessions(6))
    assert busy.price(ASK).wei_per_unit == Fraction(1, 3) * Fraction(6, 5)
    busy.emit(sessions(10))
    assert busy.price(ASK).wei_per_unit == Fraction(2, 3)
    busy.emit(SessionClosed("s", SENDER, "idle", 1, 4))
    assert busy.price(ASK).wei_per_unit == Fraction(1, 3)


async def test_where_no_other_plugin_answers_the_configured_price_rises(busy):
    busy.emit(sessions(10))
    seconds = busy.price(PriceRequest(SENDER, 37, "echo", "second"))
    assert seconds == Price(14, "second")


async def test_a_price_of_its_own_goes_before_the_next_plugins(load):
    host = await load(
        """
        [plugins.price-load]
        enabled = true
        max_factor = 3
        prices = [{unit = "pixel", price = "0.5"}]
        [plugins.price-fixed]
        enabled = true
        prices = [{price = 9}]
        """
    )
    host.emit(NodeStarted("0.9.1", "", max_sessions=1))
    host.emit(sessions(1))
    assert host.price(ASK).wei_per_unit == Fraction(3, 2)


async def test_a_refusal_after_it_is_let_through(load):
    host = await load(
        """
        [plugins.price-load]
        enabled = true
        [plugins.price-fiat]
        enabled = true
        prices = [{price = 1}]
        """
    )
    host.open_market(refuse, lambda request: Price(7, request.unit), check=False)
    with pytest.raises(PluginError, match="no feed for usd"):
        host.price(ASK)


async def test_it_may_follow_the_slots_of_workers(load):
    host = await load(
        """
        [plugins.price-load]
        enabled = true
        measure = "slots"
        prices = [{price = 4}]
        """
    )
    assert host.price(ASK).wei_per_unit == 4
    pool = host._services.workers.pool = WorkerPool(host.emit)
    await pool.start([NullWorker()])
    assert pool.usage() == (0, 1000)
    for slots, factor in ((400, 1), (750, Fraction(3, 2)), (1000, 2)):
        async with pool.lease("transcode", Requirements(slots=slots), ""):
            assert host.price(ASK).wei_per_unit == 4 * factor
    assert host.price(ASK).wei_per_unit == 4
    await pool.close()


def test_nothing_is_known_before_the_node_has_started(plugin_context):
    config = LoadConfig(prices=(CurrencyLine(price=Fraction(3)),))
    plugin.podium_pipelines(config, plugin_context)
    assert plugin.podium_price(ASK, config, plugin_context).wei_per_unit == 3
