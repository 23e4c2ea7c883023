"""What a second of a name costs, to whom, in which currency, at the moment of the quote."""

from fractions import Fraction

import pytest
from podium_byoc.config import GatewayPrice
from podium_byoc.prices import Prices
from podium_hookspecs import BadInput, PluginError

GATEWAY = "0x" + "ab" * 20
ANYONE = bytes(20)


class Feed:
    """The node's price feed: what a dollar is, or nothing."""

    def __init__(self):
        self.wei_per_usd = None

    def currency(self, name):
        assert name == "usd"

        def wei(amount):
            if self.wei_per_usd is None:
                raise PluginError("no price yet")
            return amount * self.wei_per_usd

        return wei


@pytest.fixture
def feed():
    return Feed()


@pytest.fixture
def prices(feed):
    prices = Prices(feed)
    prices.know("USD")
    return prices


def test_a_name_s_price_is_that_of_its_last_registration(prices):
    assert prices.price(ANYONE, "cap") is None
    assert prices.put("cap", Fraction(1, 3), "wei") is False
    assert prices.put("cap", Fraction(1, 3), "wei") is False
    assert prices.put("cap", Fraction(1), "eth") is True
    assert prices.price(ANYONE, "cap").wei_per_unit == 10**18
    assert prices.price(ANYONE, "cap").unit == "second"
    prices.drop("cap")
    assert prices.price(ANYONE, "cap") is None


def test_a_currency_is_converted_at_each_quote(prices, feed):
    prices.put("cap", Fraction(1, 1000), "usd")
    with pytest.raises(PluginError):
        prices.price(ANYONE, "cap")
    for wei_per_usd in (Fraction(10**18, 3000), Fraction(10**18, 2000)):
        feed.wei_per_usd = wei_per_usd
        assert prices.price(ANYONE, "cap").wei_per_unit == wei_per_usd / 1000


def test_a_gateway_may_have_a_price_of_its_own(prices, feed):
    feed.wei_per_usd = Fraction(7)
    prices.for_gateways(
        [GatewayPrice(gateway=GATEWAY, name="cap", price=Fraction(2), currency="USD")]
    )
    assert prices.price(bytes.fromhex("ab" * 20), "cap") is None, "nobody offers it yet"
    prices.put("cap", Fraction(5), "wei")
    assert prices.price(bytes.fromhex("ab" * 20), "cap").wei_per_unit == 14
    assert prices.price(ANYONE, "cap").wei_per_unit == 5


def test_a_currency_without_a_price_is_refused(prices, feed):
    with pytest.raises(BadInput, match="usd"):
        prices.check("usd")
    feed.wei_per_usd = Fraction(7)
    prices.check("usd")
    prices.check("wei")
    with pytest.raises(BadInput, match="eur"):
        prices.check("eur")
