"""The till: prices and payments brought together for the faces.

Pricing and payments do not know each other; a quote needs both, because ticket
parameters are bound to the very price that is quoted beside them.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from attrs import define, field
from podium_hookspecs import PluginError, PriceRequest

from podium.errors import SenderError

if TYPE_CHECKING:
    from fractions import Fraction

    from podium_hookspecs import Price

    from podium.model import PriceInfo
    from podium.payments import Payments
    from podium.pricing import PriceBook
    from podium.wire.payment import Payment, TicketParams

H264 = 0
REMEMBERED_ADMISSIONS = 10_000
"""Sessions whose admission set a price; the least recent is forgotten first."""


def _request(sender: bytes) -> PriceRequest:
    return PriceRequest(sender, H264)


@define
class Till:
    """Quotes, takes payments, and says what work is billed at.

    Args:
        payments: Tickets and balances.
        book: Prices.
    """

    payments: Payments
    book: PriceBook
    _admitted: OrderedDict[tuple[bytes, str], Price] = field(factory=OrderedDict)

    @property
    def verifies(self) -> bool:
        """Whether senders must prove who they are: off chain nobody does."""
        return self.payments.charges

    async def quote(
        self, sender: bytes, key: str, admitted: Price | None = None
    ) -> tuple[TicketParams, PriceInfo] | None:
        """Return fresh ticket parameters and the price they are bound to; None off chain.

        Args:
            sender: 20-byte address.
            key: Whose frozen price holds, if it has one.
            admitted: A price that an admission sets for this key, from now on.

        Raises:
            SenderError: the sender's funds do not allow tickets, or no price could be made.
        """
        if not self.payments.charges:
            return None
        if admitted is not None:
            self._remember(sender, key, admitted)
        fixed = self.payments.fixed_price(sender, key)
        admitted = self._admitted.get((sender, key))
        try:
            info = await self.book.quote(_request(sender), fixed=fixed, admitted=admitted)
        except PluginError as error:
            raise SenderError(error.public) from error
        params = await self.payments.offer(sender, info.wei_per_unit)
        return None if params is None else (params, info)

    def _remember(self, sender: bytes, key: str, price: Price) -> None:
        self._admitted[sender, key] = price
        if len(self._admitted) > REMEMBERED_ADMISSIONS:
            self._admitted.popitem(last=False)

    async def receive(self, payment: Payment, key: str) -> None:
        """Check a payment's tickets and credit them.

        Raises:
            PaymentError: refused, with the text for the sender.
            StoreError: a winner could not be kept; nothing was credited.
        """
        await self.payments.receive(payment, key)

    def charge(self, payment: Payment, key: str) -> Fraction:
        """Check that a job under a payment is covered; return wei per unit to debit.

        Raises:
            PaymentError: ``Insufficient balance``, or a price that was never agreed.
        """
        quoted = self.payments.fixed_price(payment.sender, key)
        if quoted is None:
            try:
                admitted = self._admitted.get((payment.sender, key))
                quoted = self.book.base(_request(payment.sender), admitted)
            except PluginError as error:
                raise SenderError(error.public) from error
        return self.payments.charge(payment, key, quoted)

    def debit(self, sender: bytes, key: str, amount: Fraction) -> None:
        """Take exact wei for metered work."""
        self.payments.debit(sender, key, amount)
