"""``price-fixed``: one price for everybody, for all work or by what is counted."""

from __future__ import annotations

from attrs import field, frozen, validators

from podium_pricing.config import HELP_PRICES, CurrencyLine, doc, reachable
from podium_pricing.table import TablePlugin


@frozen
class FixedConfig:
    """``[plugins.price-fixed]``: one price, or one for each unit that is counted."""

    prices: tuple[CurrencyLine, ...] = field(
        validator=[validators.min_len(1), reachable], metadata=doc(HELP_PRICES)
    )


PLUGIN = TablePlugin(FixedConfig)
