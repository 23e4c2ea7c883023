"""A price per unit, and a lower one for gateways that are friends."""

from __future__ import annotations

from fractions import Fraction

import podium_hookspecs as hooks
from attrs import field, frozen, validators


@frozen
class Config:
    """``[plugins.pricing-example]``: prices."""

    wei_per_unit: Fraction = field(
        validator=validators.ge(Fraction(0)), metadata={"help": "Price of a unit, in wei."}
    )
    unit: str = field(
        default="pixel", metadata={"help": "The unit that is priced: pixel, second, token, ..."}
    )
    friends: tuple[str, ...] = field(
        default=(), metadata={"help": "Addresses of gateways that pay less."}
    )
    friends_percent: int = field(
        default=50,
        validator=[validators.ge(0), validators.le(100)],
        metadata={"help": "What friends pay of the price, in percent."},
    )

    def price_for(self, sender: bytes) -> Fraction:
        """Return exact wei for a unit."""
        friends = {address.lower() for address in self.friends}
        part = self.friends_percent if f"0x{sender.hex()}" in friends else 100
        return self.wei_per_unit * part / 100


@hooks.hookimpl
def podium_config_class() -> type:
    """Name the class of this plugin's section."""
    return Config


@hooks.hookimpl
def podium_price(request: hooks.PriceRequest, config: Config) -> hooks.Price | None:
    """Price this unit, and leave all others to whoever knows them."""
    if request.unit != config.unit:
        return None
    return hooks.Price(config.price_for(request.sender), config.unit)
