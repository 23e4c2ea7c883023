"""Which price is whose: the first that fits, in the file's order, exactly."""

from fractions import Fraction

import pytest
from podium.errors import StartupError
from podium_hookspecs import CAPABILITY_NUMBERS, Price, PriceRequest
from podium_hookspecs.errors import PluginError

ONE, TWO, OTHER = (bytes([number]) * 20 for number in (0x11, 0x22, 0x33))
IMAGE = CAPABILITY_NUMBERS["text-to-image"]
BYOC = CAPABILITY_NUMBERS["byoc"]
CONFIGURED = Fraction(77)


def open_market(host, rates=None):
    """Let ETH be worth what ``rates`` say, as whole units of a currency."""
    known = rates if rates is not None else {}

    def wei(amount, currency):
        if currency not in known:
            raise PluginError(f"there is no price feed for {currency.upper()}")
        return amount * 10**18 / known[currency]

    host.open_market(wei, lambda request: Price(CONFIGURED, request.unit))


def price(host, sender=OTHER, capability=0, model=None, unit="pixel"):
    answer = host.price(PriceRequest(sender, capability, model, unit))
    return None if answer is None else answer.wei_per_unit


async def test_a_fixed_price_for_everything_or_by_unit(load):
    host = await load(
        """
        [plugins.price-fixed]
        enabled = true
        prices = [
          {unit = "second", price = "0.005", currency = "eth", per = 3},
          {unit = "token", free = true},
          {price = "1/3"},
        ]
        """
    )
    assert price(host) == Fraction(1, 3)
    assert price(host, unit="second") == Fraction(5 * 10**15, 3)
    assert price(host, unit="token") == 0
    assert price(host, capability=IMAGE, unit="character") == Fraction(1, 3)


async def test_a_price_for_one_gateway_and_no_other(load):
    host = await load(
        f"""
        [plugins.price-per-gateway]
        enabled = true
        [[plugins.price-per-gateway.prices]]
        gateway = "0x{ONE.hex()}"
        unit = "second"
        price = 9
        [[plugins.price-per-gateway.prices]]
        gateway = "0x{ONE.hex()}"
        price = "0.5"
        per = 1000
        [[plugins.price-per-gateway.prices]]
        gateway = "0x{TWO.hex()}"
        free = true
        """
    )
    assert price(host, ONE) == Fraction(1, 2000)
    assert price(host, ONE, unit="second") == 9
    assert price(host, TWO) == 0
    assert price(host, OTHER) is None


async def test_a_price_by_kind_of_work_and_model(load):
    host = await load(
        f"""
        [plugins.price-per-capability]
        enabled = true
        prices = [
          {{capability = "text-to-image", model = "big", price = 5}},
          {{capability = {IMAGE}, price = 4}},
          {{capability = "byoc", model = "echo", unit = "second", price = 3}},
        ]
        """
    )
    assert price(host, capability=IMAGE, model="big") == 5
    assert price(host, capability=IMAGE, model="small") == 4
    assert price(host, capability=IMAGE) == 4
    assert price(host, capability=BYOC, model="echo", unit="second") == 3
    assert price(host, capability=BYOC, model="echo", unit="pixel") is None
    assert price(host, capability=BYOC, model="other", unit="second") is None
    assert price(host) is None


FIAT = f"""
    [plugins.price-fiat]
    enabled = true
    currency = "usd"
    [[plugins.price-fiat.prices]]
    gateway = "0x{ONE.hex()}"
    capability = "text-to-image"
    price = 1
    [[plugins.price-fiat.prices]]
    capability = "text-to-image"
    price = "0.02"
    [[plugins.price-fiat.prices]]
    gateway = "0x{ONE.hex()}"
    price = 3
    per = 1_000_000_000
"""


async def test_prices_in_a_currency_follow_its_price_exactly(load):
    host = await load(FIAT)
    assert host.currencies == {"usd"}
    rates = {"usd": Fraction(3700)}
    open_market(host, rates)
    dollar = Fraction(10**18, 3700)
    assert price(host, ONE, IMAGE) == dollar
    assert price(host, TWO, IMAGE) == dollar / 50
    assert price(host, ONE) == 3 * dollar / 10**9
    assert price(host, TWO) is None
    rates["usd"] = Fraction(1850)
    assert price(host, ONE, IMAGE) == 2 * dollar


async def test_without_a_price_for_the_currency_the_session_is_refused(load):
    host = await load(FIAT)
    with pytest.raises(PluginError, match="prices are known once the node has started"):
        price(host, ONE)
    rates = {"usd": Fraction(3700)}
    open_market(host, rates)
    del rates["usd"]
    with pytest.raises(PluginError, match="no price feed for USD"):
        price(host, ONE)
    assert price(host, TWO) is None


async def test_a_currency_that_nobody_knows_stops_the_start(load):
    host = await load(FIAT.replace('"usd"', '"XAU"'))
    with pytest.raises(StartupError, match=r"price-fiat failed: prices in XAU: .*no price feed"):
        open_market(host, {"usd": Fraction(1)})


async def test_an_optional_plugin_without_its_currency_is_withdrawn(load):
    host = await load(FIAT.replace("enabled = true", "enabled = true\nrequired = false"))
    open_market(host)
    (status,) = [s for s in host.statuses() if s.name == "price-fiat"]
    assert (status.state.value, status.reason) == (
        "failed",
        "prices in USD: there is no price feed for USD",
    )
    assert price(host, ONE) is None


async def test_thousands_of_gateways_are_found_at_once(load):
    entries = "".join(
        f'[[plugins.price-per-gateway.prices]]\ngateway = "0x{number:040x}"\nprice = {number}\n'
        for number in range(1, 3000)
    )
    host = await load(f"[plugins.price-per-gateway]\nenabled = true\n{entries}")
    assert price(host, (2999).to_bytes(20, "big")) == 2999
    assert price(host, bytes(20)) is None
