"""What every plugin that prices must hold, held by each of these."""

from typing import ClassVar

from podium.testing.conformance import PricingConformance
from podium_hookspecs import CAPABILITY_NUMBERS, PriceRequest
from podium_pricing.fixed import PLUGIN as FIXED
from podium_pricing.per_capability import PLUGIN as PER_CAPABILITY
from podium_pricing.per_gateway import PLUGIN as PER_GATEWAY

KNOWN, OTHER = b"\x11" * 20, b"\x33" * 20
IMAGE = CAPABILITY_NUMBERS["text-to-image"]


class TestFixed(PricingConformance):
    plugin = FIXED
    options: ClassVar = {"prices": [{"price": "1/3", "unit": "pixel"}]}

    def priced(self):
        return [PriceRequest(OTHER, 0), PriceRequest(KNOWN, IMAGE, "m", "pixel")]

    def passed(self):
        return [PriceRequest(OTHER, 37, "name", "second")]


class TestPerCapability(PricingConformance):
    plugin = PER_CAPABILITY
    options: ClassVar = {
        "prices": [{"capability": "text-to-image", "model": "m", "price": 5, "unit": "pixel"}]
    }

    def priced(self):
        return [PriceRequest(OTHER, IMAGE, "m", "pixel")]

    def passed(self):
        return [PriceRequest(OTHER, IMAGE, "other", "pixel"), PriceRequest(OTHER, 0)]


class TestPerGateway(PricingConformance):
    plugin = PER_GATEWAY
    options: ClassVar = {"prices": [{"gateway": f"0x{KNOWN.hex()}", "price": 9}]}

    def priced(self):
        return [PriceRequest(KNOWN, 0), PriceRequest(KNOWN, 37, "name", "second")]

    def passed(self):
        return [PriceRequest(OTHER, 0)]
