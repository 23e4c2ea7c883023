"""Prices: per sender, by plugins, adjusted, quoted (payments 5.5, 5.6)."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from podium.model import PriceInfo
from podium.pricing import PriceBook, Rate, Rates, price_info
from podium.pricing.book import INT64_MAX, adjusted
from podium_hookspecs import Price, PriceRequest
from podium_hookspecs.errors import PluginError
from podium_hookspecs.events import PriceQuoted

SENDER = bytes.fromhex("b5a19836a14ef38d9625fd917f7bd2de9b0b4130")
REQUEST = PriceRequest(SENDER, capability=0)


def book(rates, decide=lambda _request: None, multiplier=Fraction(100)):
    async def of_sender(sender):
        assert sender == SENDER
        return multiplier

    events = []
    return PriceBook(rates, decide, of_sender, events.append), events


@pytest.mark.parametrize(
    ("base", "multiplier", "expected"),
    [
        (Fraction(1), Fraction(100), Fraction(101, 100)),
        (Fraction(10), Fraction(100), Fraction(101, 10)),
        (Fraction(1, 10), Fraction(100), Fraction(101, 1000)),
        (Fraction(25, 10), Fraction(100), Fraction(101, 40)),
        (Fraction(10), Fraction(10), Fraction(11)),
        (Fraction(10), Fraction(1, 10), Fraction(110)),
        (Fraction(10), Fraction(1), Fraction(20)),
        (Fraction(10), Fraction(0), Fraction(10)),
        (Fraction(1000000003, 2), Fraction(100), Fraction(101000000303, 200)),
    ],
)
async def test_adjustment(base, multiplier, expected):
    assert adjusted(base, multiplier) == expected
    prices, events = book(Rates(base), multiplier=multiplier)
    info = await prices.quote(REQUEST)
    assert info == PriceInfo(expected.numerator, expected.denominator)
    assert events == [PriceQuoted(SENDER, expected, "pixel")]


async def test_nothing_is_adjusted_when_free_fixed_or_switched_off():
    prices, _ = book(Rates(Fraction(0)))
    assert await prices.quote(REQUEST) == PriceInfo(0, 1)
    prices, _ = book(Rates(Fraction(5)))
    assert await prices.quote(REQUEST, fixed=Fraction(7, 3)) == PriceInfo(7, 3)
    prices, _ = book(Rates(Fraction(5, 12345), auto_adjust=False))
    assert await prices.quote(REQUEST) == PriceInfo(1, 2469)


async def test_a_sender_with_its_own_price():
    rates = Rates(Fraction(5), {"0xB5A19836a14EF38d9625Fd917f7bD2De9B0B4130": Fraction(2)})
    assert rates.base(SENDER) == 2
    assert rates.base(bytes(20)) == 5
    prices, _ = book(rates)
    assert await prices.quote(REQUEST) == PriceInfo(101, 50)


async def test_plugins_decide_before_the_book_and_admission_before_both():
    prices, _ = book(Rates(Fraction(5)), lambda _request: Price(Fraction(10), "pixel"))
    assert await prices.quote(REQUEST) == PriceInfo(101, 10)
    admitted = Price(Fraction(1), "pixel")
    assert await prices.quote(REQUEST, admitted=admitted) == PriceInfo(101, 100)
    prices, _ = book(Rates(Fraction(5)), lambda _request: Price(Fraction(0), "pixel"))
    assert await prices.quote(REQUEST) == PriceInfo(0, 1)


async def test_a_refusing_plugin_and_a_wrong_unit_are_never_a_price_of_zero():
    def refuse(_request):
        raise PluginError("no")

    prices, events = book(Rates(Fraction(5)), refuse)
    with pytest.raises(PluginError, match="no"):
        await prices.quote(REQUEST)
    prices, _ = book(Rates(Fraction(5)), lambda _request: Price(Fraction(10), "second"))
    with pytest.raises(PluginError, match="per second"):
        await prices.quote(REQUEST)
    assert events == []


def test_a_price_below_a_thousandth_stays_a_price():
    assert adjusted(Fraction(1, 10_000), Fraction(100)) == Fraction(101, 1_000_000)


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        (Fraction(0), PriceInfo(0, 1)),
        (Fraction(INT64_MAX), PriceInfo(INT64_MAX, 1)),
        (Fraction(INT64_MAX, 3), PriceInfo(INT64_MAX // 3 if INT64_MAX % 3 == 0 else INT64_MAX, 1 if INT64_MAX % 3 == 0 else 3)),
        (Fraction(2**64 + 1, 2), PriceInfo(2**63 - 1, 1)),
        (Fraction(2**70 + 1, 2**65), PriceInfo(32, 1)),
        (Fraction(1, 2**63), PriceInfo(1, INT64_MAX)),
        (Fraction(1, 2**80), PriceInfo(1, INT64_MAX)),
    ],
)  # fmt: skip
def test_prices_fit_64_bits(price, expected):
    if price > INT64_MAX:
        with pytest.raises(ValueError, match="does not fit 64 bits"):
            price_info(price)
        return
    assert price_info(price) == expected


@given(st.fractions(min_value=0, max_value=INT64_MAX))
def test_a_price_never_becomes_free(price):
    info = price_info(price)
    assert (info.price_per_unit == 0) == (price == 0)
    assert max(info.price_per_unit, info.pixels_per_unit) <= INT64_MAX
    assert abs(info.wei_per_unit - price) < 1


async def test_prices_in_a_currency_are_converted_when_they_are_quoted():
    rate = {"usd": Fraction(10**18, 2000)}
    rates = Rates(Rate(Fraction(1, 10**9), "USD"), wei=lambda amount, name: amount * rate[name])
    prices, _ = book(rates, multiplier=Fraction(0))
    assert await prices.quote(REQUEST) == PriceInfo(500_000, 1)
    rate["usd"] *= 2
    assert await prices.quote(REQUEST) == PriceInfo(1_000_000, 1)
    prices, _ = book(Rates(Rate(Fraction(1, 10**12), "ETH")), multiplier=Fraction(0))
    assert await prices.quote(REQUEST) == PriceInfo(1_000_000, 1)


async def test_without_a_price_feed_nothing_is_quoted():
    prices, _ = book(Rates(Rate(Fraction(1), "USD")))
    with pytest.raises(PluginError, match="no price feed for USD"):
        await prices.quote(REQUEST)
