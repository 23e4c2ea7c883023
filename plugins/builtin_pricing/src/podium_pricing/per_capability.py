"""``price-per-capability``: prices by the kind of work, and the model."""

from __future__ import annotations

from attrs import field, frozen, validators

from podium_pricing.config import (
    HELP_CAPABILITY,
    HELP_MODEL,
    HELP_PRICES,
    CurrencyLine,
    capability,
    doc,
    reachable,
)
from podium_pricing.table import TablePlugin


@frozen(kw_only=True)
class CapabilityLine(CurrencyLine):
    """``[[plugins.price-per-capability.prices]]``: the price of one kind of work."""

    capability: str | int = field(converter=capability, metadata=doc(HELP_CAPABILITY))
    model: str = field(default="", metadata=doc(HELP_MODEL))

    @property
    def selector(self) -> tuple[object, ...]:
        """What it is for."""
        return (self.capability, self.model, self.unit)


@frozen
class PerCapabilityConfig:
    """``[plugins.price-per-capability]``: prices by what is asked for; the rest is passed on."""

    prices: tuple[CapabilityLine, ...] = field(
        validator=[validators.min_len(1), reachable], metadata=doc(HELP_PRICES)
    )


PLUGIN = TablePlugin(PerCapabilityConfig)
