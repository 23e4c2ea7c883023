"""Prices are exact, and friends pay less."""

from fractions import Fraction
from typing import ClassVar

from podium.testing.conformance import PricingConformance
from podium_hookspecs import PriceRequest

from podium_pricing_example import plugin as pricing

NAME = "pricing-example"
FRIEND, STRANGER = b"\x01" * 20, b"\x02" * 20


class TestPricing(PricingConformance):
    plugin = pricing
    options: ClassVar = {"wei_per_unit": "1.5", "friends": ["0x" + "01" * 20]}

    def priced(self):
        return [PriceRequest(FRIEND, 0), PriceRequest(STRANGER, 0)]

    def passed(self):
        return [PriceRequest(FRIEND, 37, "name", "second")]


def test_friends_pay_half():
    config = pricing.Config(Fraction(3, 2), friends=("0x" + "01" * 20,))
    assert config.price_for(FRIEND) == Fraction(3, 4)
    assert config.price_for(STRANGER) == Fraction(3, 2)


def test_a_node_asks_for_it(podium_app):
    app = podium_app(
        {"plugins": {NAME: {"enabled": True, "wei_per_unit": 7}}},
        plugins={NAME: pricing},
    )
    price = app.call(app.node.host.price, PriceRequest(STRANGER, 0))
    assert price.wei_per_unit == 7
