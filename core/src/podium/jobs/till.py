"""The till: prices and payments brought together for the faces.

Pricing and payments do not know each other; a quote needs both, because ticket
parameters are bound to the very price that is quoted beside them.
"""

from __future__ import annotations

from collections import OrderedDict
from fractions import Fraction
from typing import TYPE_CHECKING

from attrs import define, field
from podium_hookspecs import PluginError, PriceRequest

from podium.errors import SenderError

if TYPE_CHECKING:
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


@define(eq=False)
class Hold:
    """What is set aside of a balance for one job, until it is billed or over.

    Attributes:
        wei_per_unit: What the job is billed at; 0 when nothing is charged.
        left: Wei still set aside.
    """

    _held: dict[tuple[bytes, str], Fraction]
    _account: tuple[bytes, str]
    wei_per_unit: Fraction
    left: Fraction

    def take(self) -> None:
        """Set it aside."""
        if self.left:
            self._held[self._account] = self._held.get(self._account, Fraction(0)) + self.left

    def spent(self, amount: Fraction) -> None:
        """Set aside less by what the job was billed."""
        self._free(min(amount, self.left))

    def release(self) -> None:
        """Set nothing aside any more; safe to call twice."""
        self._free(self.left)

    def _free(self, amount: Fraction) -> None:
        if not amount:
            return
        self.left -= amount
        rest = self._held[self._account] - amount
        if rest:
            self._held[self._account] = rest
        else:
            del self._held[self._account]


@define
class Till:
    """Quotes, takes payments, and says what work is billed at.

    Args:
        payments: Tickets and balances.
        book: Prices.
    """

    payments: Payments
    book: PriceBook
    _held: dict[tuple[bytes, str], Fraction] = field(factory=dict)
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

    async def receive(self, payment: Payment, key: str, stream: str = "") -> None:
        """Check a payment's tickets and credit them to a key; ``stream`` is for events only.

        Raises:
            PaymentError: refused, with the text for the sender.
            StoreError: a winner could not be kept; nothing was credited.
        """
        await self.payments.receive(payment, key, stream)

    def charge(self, payment: Payment, key: str, stream: str = "") -> Hold:
        """Check that a job under a payment is covered, and hold one ticket's value for it.

        Jobs that wait side by side cannot all count on the same ticket. What a job has been
        billed is held no longer, so a gateway's parallel segments, each with tickets of its
        own, do not stand in each other's way.

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
        account = (payment.sender, key)
        held = self._held.get(account, Fraction(0))
        rate = self.payments.charge(payment, key, quoted, held, stream)
        hold = Hold(self._held, account, rate, Fraction(self.payments.ticket_ev if rate else 0))
        hold.take()
        return hold

    def debit(self, sender: bytes, key: str, amount: Fraction) -> None:
        """Take exact wei for metered work."""
        self.payments.debit(sender, key, amount)
