"""What plugins may ask of money: currencies in wei, and the price that others would give.

Plugins are loaded before the chain is read, so the market opens after them. Until then they say
which currencies they need.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

from attrs import define, field
from podium_hookspecs import PluginError

from podium.units import WHOLE_WEI

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from podium_hookspecs import Price, PriceRequest

    Convert = Callable[[Fraction, str], Fraction]

CLOSED = "prices are known once the node has started"


@define(eq=False)
class Market:
    """One node's.

    Args:
        ask: Returns the first price of the plugins after the named one, None where none answers.
        wanted: Currencies that need a price feed, with the plugins that asked for them.
    """

    ask: Callable[[PriceRequest, str], Price | None]
    wanted: dict[str, list[str]] = field(factory=dict, init=False)
    _wei: Convert | None = field(default=None, init=False)
    _configured: Callable[[PriceRequest], Price] | None = field(default=None, init=False)

    def fork(self) -> Market:
        """Return one for plugins that are yet to be taken in: what they want is theirs."""
        other = Market(self.ask)
        other._wei, other._configured = self._wei, self._configured
        return other

    def open(self, wei: Convert, configured: Callable[[PriceRequest], Price]) -> None:
        """Answer from now on.

        Args:
            wei: Converts an amount of a currency, or raises ``PluginError``.
            configured: Returns the price of the configuration.
        """
        self._wei, self._configured = wei, configured

    def currency(self, plugin: str, name: str) -> Callable[[Fraction], Fraction]:
        """Return a function from an amount of a currency to exact wei, and note who needs it."""
        currency = name.lower()
        if currency not in WHOLE_WEI:
            users = self.wanted.setdefault(currency, [])
            if plugin not in users:
                users.append(plugin)
        return partial(self._convert, currency)

    def _convert(self, currency: str, amount: Fraction) -> Fraction:
        if currency in WHOLE_WEI:
            return amount * WHOLE_WEI[currency]
        if self._wei is None:
            raise PluginError(CLOSED)
        return self._wei(amount, currency)

    def unknown(self) -> Iterator[tuple[str, str]]:
        """Try every wanted currency; yield each plugin that cannot have one, and why."""
        for currency, plugins in self.wanted.items():
            try:
                self._convert(currency, Fraction(1))
            except PluginError as error:
                for plugin in plugins:
                    yield plugin, f"prices in {currency.upper()}: {error}"

    def next_price(self, plugin: str, request: PriceRequest) -> Price:
        """Return the price of the plugins after one, at last the configured price.

        Raises:
            PluginError: one of them refuses, or the node is still starting.
        """
        if self._configured is None:
            raise PluginError(CLOSED)
        return self.ask(request, plugin) or self._configured(request)
