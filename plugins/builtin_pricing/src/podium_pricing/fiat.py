"""``price-fiat``: prices in the operator's own currency, converted at each quote."""

from __future__ import annotations

from typing import Any

from attrs import Attribute, field, frozen, validators

from podium_pricing import config as shared
from podium_pricing.config import (
    HELP_CAPABILITY,
    HELP_GATEWAY,
    HELP_MODEL,
    HELP_PRICES,
    Line,
    doc,
    reachable,
)
from podium_pricing.table import TablePlugin

CHAIN_MONEY = ("wei", "eth")


def _fiat(instance: object, attribute: Attribute[Any], value: str) -> None:
    shared.currency(instance, attribute, value)
    if value.lower() in CHAIN_MONEY:
        raise ValueError(f"{value} needs no feed: use one of the other price plugins")


@frozen(kw_only=True)
class FiatLine(Line):
    """``[[plugins.price-fiat.prices]]``: a price; what is not said fits everything."""

    gateway: str = field(
        default="", validator=shared.any_address, metadata=doc(f"{HELP_GATEWAY} Empty: any.")
    )
    capability: str | int | None = field(
        default=None,
        converter=shared.capability,
        metadata=doc(f"{HELP_CAPABILITY} Without it: any."),
    )
    model: str = field(default="", metadata=doc(HELP_MODEL))

    @property
    def selector(self) -> tuple[object, ...]:
        """What it is for."""
        return (self.gateway.lower(), self.capability, self.model, self.unit)


@frozen
class FiatConfig:
    """``[plugins.price-fiat]``: prices in one currency, converted by the chain's price feed."""

    prices: tuple[FiatLine, ...] = field(
        validator=[validators.min_len(1), reachable], metadata=doc(HELP_PRICES)
    )
    currency: str = field(
        default="USD",
        validator=_fiat,
        metadata=doc("Of all these prices; the chain's price feed must know it."),
    )


PLUGIN = TablePlugin(FiatConfig)
