"""``price-per-gateway``: prices for single gateways, by their address."""

from __future__ import annotations

from attrs import field, frozen, validators

from podium_pricing.config import (
    HELP_GATEWAY,
    HELP_PRICES,
    CurrencyLine,
    address,
    doc,
    reachable,
)
from podium_pricing.table import TablePlugin


@frozen(kw_only=True)
class GatewayLine(CurrencyLine):
    """``[[plugins.price-per-gateway.prices]]``: one gateway's price."""

    gateway: str = field(validator=address, metadata=doc(HELP_GATEWAY))

    @property
    def selector(self) -> tuple[object, ...]:
        """What it is for."""
        return (self.gateway.lower(), self.unit)


@frozen
class PerGatewayConfig:
    """``[plugins.price-per-gateway]``: prices by who asks; all others are passed on."""

    prices: tuple[GatewayLine, ...] = field(
        validator=[validators.min_len(1), reachable], metadata=doc(HELP_PRICES)
    )


PLUGIN = TablePlugin(PerGatewayConfig)
