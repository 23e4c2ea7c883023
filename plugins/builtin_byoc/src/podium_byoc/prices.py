"""What a second of a name costs: as registered, or as the configuration has it for a gateway."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from attrs import define, field
from podium_hookspecs import BadInput, PluginError, Price

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from podium_hookspecs import PluginContext

    from podium_byoc.config import GatewayPrice

    Convert = Callable[[Fraction], Fraction]

WEI_PER = {"wei": 1, "eth": 10**18}


@define
class Prices:
    """Prices by name and gateway; amounts in a currency are converted anew for each quote.

    Args:
        context: Converts currencies.
        feeds: Currencies that executors may register in, beside wei and eth.
    """

    _context: PluginContext
    _wei: dict[str, Convert] = field(factory=dict, init=False)
    _names: dict[str, tuple[Fraction, str]] = field(factory=dict, init=False)
    _gateways: dict[tuple[bytes, str], tuple[Fraction, str]] = field(factory=dict, init=False)

    def know(self, currency: str) -> None:
        """Have the node look after a currency's price; at start."""
        currency = currency.lower()
        if currency not in WEI_PER:
            self._wei[currency] = self._context.currency(currency)

    def for_gateways(self, prices: Iterable[GatewayPrice]) -> None:
        """Set what single gateways pay."""
        for entry in prices:
            self.know(entry.currency)
            gateway = bytes.fromhex(entry.gateway[2:])
            self._gateways[gateway, entry.name] = entry.price, entry.currency.lower()

    def check(self, currency: str) -> None:
        """Refuse a currency that has no price.

        Raises:
            BadInput: with the text for who registers.
        """
        try:
            self._convert(Fraction(1), currency)
        except PluginError as error:
            raise BadInput(f"no price is known for the currency {currency}") from error

    def put(self, name: str, price: Fraction, currency: str) -> bool:
        """Set a name's price; whether it had another one."""
        before = self._names.get(name)
        self._names[name] = price, currency
        return before is not None and before != (price, currency)

    def drop(self, name: str) -> None:
        """Forget a name's price."""
        self._names.pop(name, None)

    def price(self, sender: bytes, name: str) -> Price | None:
        """Return what a sender pays for a second; None for a name that is not ours.

        Raises:
            PluginError: its currency has no price now.
        """
        found = self._names.get(name)
        if found is None:
            return None
        amount, currency = self._gateways.get((sender, name), found)
        return Price(self._convert(amount, currency), "second")

    def _convert(self, amount: Fraction, currency: str) -> Fraction:
        if currency in WEI_PER:
            return amount * WEI_PER[currency]
        convert = self._wei.get(currency)
        if convert is None:
            raise PluginError(f"plugins.byoc.currencies does not name {currency}")
        return convert(amount)
