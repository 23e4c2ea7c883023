"""Amounts in a currency, and what they are in wei (payments 5.7)."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from attrs import field, frozen
from podium_hookspecs.errors import PluginError

from podium.units import WHOLE_WEI

Convert = Callable[[Fraction, str], Fraction]
"""Takes an amount and its currency, returns wei."""


def _lower(name: str) -> str:
    return name.lower()


@frozen
class Rate:
    """A price of one unit, exact, in a currency; upper or lower case are the same."""

    amount: Fraction = Fraction(0)
    currency: str = field(default="wei", converter=_lower)


def as_rate(value: Rate | Fraction) -> Rate:
    """Return a rate; a bare fraction is wei."""
    return value if isinstance(value, Rate) else Rate(value)


def wei_or_eth(amount: Fraction, currency: str) -> Fraction:
    """Convert where there is no price feed.

    Raises:
        PluginError: the currency needs one.
    """
    if currency not in WHOLE_WEI:
        msg = f"there is no price feed for {currency.upper()}"
        raise PluginError(msg)
    return amount * WHOLE_WEI[currency]
