"""The price of a unit of work, per sender: configured, decided by plugins, adjusted, quoted.

Exact rationals throughout; a price becomes the two integers of a price info only at the end
(payments 5.5, 5.6).
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from attrs import define, field, frozen
from podium_hookspecs.errors import PluginError
from podium_hookspecs.events import PriceQuoted
from podium_hookspecs.money import Price, PriceRequest

from podium.model import PriceInfo
from podium.pricing.convert import Rate, as_rate, wei_or_eth
from podium.units import WHOLE_WEI

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from podium_hookspecs.events import Event

    from podium.pricing.convert import Convert

INT64_MAX = 2**63 - 1
_THOUSANDTHS = 1000
KEPT_INFOS = 1024
"""Price infos remembered: a few prices, times the face values of senders."""


def _lower_keys(prices: Mapping[str, Rate | Fraction]) -> dict[str, Rate]:
    return {address.lower(): as_rate(price) for address, price in prices.items()}


@frozen
class Rates:
    """The operator's prices for transcoding, per pixel.

    Attributes:
        default: For senders without a price of their own; a bare fraction is wei.
        gateways: Per sender, by ``0x`` address in any case.
        auto_adjust: Add what redeeming tickets costs us.
        wei: Converts an amount of a currency, exactly; raises where no price is known.
    """

    default: Rate = field(default=Rate(), converter=as_rate)
    gateways: Mapping[str, Rate] = field(factory=dict, converter=_lower_keys)
    auto_adjust: bool = True
    wei: Convert = wei_or_eth

    def base(self, sender: bytes) -> Fraction:
        """Return the configured price for a 20-byte address, wei.

        Raises:
            PluginError: it is in a currency without a price: the session is refused, never
                priced at zero.
        """
        rate = self.gateways.get("0x" + sender.hex(), self.default)
        if rate.currency in WHOLE_WEI:
            return rate.amount * WHOLE_WEI[rate.currency]
        return self.wei(rate.amount, rate.currency)

    def decide(self, request: PriceRequest) -> Price:
        """Answer ``podium_price`` as the core does: last, with the configured price."""
        return Price(self.base(request.sender), request.unit)


@define
class PriceBook:
    """Quotes prices.

    Args:
        rates: The operator's prices.
        decide: Asks the ``podium_price`` hook; None where no plugin answers, and the
            configured price holds.
        multiplier: Returns a sender's face value over redemption cost, 0 for none (payments).
        on_event: Hears each quote.
    """

    rates: Rates
    decide: Callable[[PriceRequest], Price | None]
    multiplier: Callable[[bytes], Awaitable[Fraction]]
    on_event: Callable[[Event], None] = lambda _event: None
    _infos: dict[tuple[int, ...], PriceInfo] = field(factory=dict, init=False)

    async def quote(
        self,
        request: PriceRequest,
        *,
        fixed: Fraction | None = None,
        admitted: Price | None = None,
    ) -> PriceInfo:
        """Quote a price, as it travels.

        Args:
            request: Who asks for what.
            fixed: The price fixed for the session: it is the answer, unadjusted.
            admitted: A price given at admission, which goes before the book.

        Returns:
            The price info; ticket parameters beside it are bound to its exact fraction.

        Raises:
            PluginError: a plugin refused, or priced another unit: never a price of zero instead.
            SenderError: the sender's funds could not be read, or do not allow tickets.
        """
        if fixed is not None:
            info = price_info(fixed)
        else:
            price = self.base(request, admitted)
            multiplier = None
            if self.rates.auto_adjust and price:
                multiplier = await self.multiplier(request.sender)
            info = self._info(price, multiplier)
        self.on_event(PriceQuoted(request.sender, info.wei_per_unit, request.unit))
        return info

    def _info(self, base: Fraction, multiplier: Fraction | None) -> PriceInfo:
        """Adjust a price and write it down, or recall how: quotes by the thousand are alike."""
        key = (*base.as_integer_ratio(), *(multiplier.as_integer_ratio() if multiplier else ()))
        info = self._infos.get(key)
        if info is None:
            price = base if multiplier is None else adjusted(base, multiplier)
            if len(self._infos) >= KEPT_INFOS:
                self._infos.clear()
            info = self._infos[key] = price_info(price)
        return info

    def base(self, request: PriceRequest, admitted: Price | None = None) -> Fraction:
        """Return the price before adjustment; errors as for :meth:`quote`."""
        decided = admitted or self.decide(request) or self.rates.decide(request)
        if decided.unit != request.unit:
            msg = f"price is per {decided.unit}, the work is counted in {request.unit}"
            raise PluginError(msg)
        return decided.wei_per_unit


def adjusted(base: Fraction, multiplier: Fraction) -> Fraction:
    """Return a price that covers redemption costs too, cut to thousandths of a wei.

    A price that the cut would turn into zero is left uncut: the work is not free.

    Source: go-livepeer core/orchestrator.go, priceInfo.
    """
    overhead = 1 + 1 / multiplier if multiplier > 0 else Fraction(1)
    price = base * overhead
    return Fraction(int(price * _THOUSANDTHS), _THOUSANDTHS) or price


def price_info(price: Fraction) -> PriceInfo:
    """Return a price as two 64-bit integers.

    Where one does not fit, whole wei are quoted, as the reference does; but a price below one
    wei becomes the nearest fraction that fits, and never zero.

    Raises:
        ValueError: more wei than 64 bits hold.
    """
    if price > INT64_MAX:
        msg = f"a price of {int(price)} wei for one unit does not fit 64 bits"
        raise ValueError(msg)
    if max(price.numerator, price.denominator) <= INT64_MAX:
        return PriceInfo(price.numerator, price.denominator)
    if price >= 1:
        return PriceInfo(int(price), 1)
    near = price.limit_denominator(INT64_MAX) or Fraction(1, INT64_MAX)
    return PriceInfo(near.numerator, near.denominator)
