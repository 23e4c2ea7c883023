"""The till: prices and payments brought together for the faces.

Pricing and payments do not know each other; a quote needs both, because ticket
parameters are bound to the very price that is quoted beside them.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from fractions import Fraction
from typing import TYPE_CHECKING

from attrs import define, field, frozen
from podium_hookspecs import PaymentRefused, PluginError, Price, PriceRequest

from podium.errors import InsufficientBalance, SenderError, TicketError
from podium.model import PriceInfo
from podium.payments import NOT_OURS
from podium.pricing import price_info

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from podium.payments import Payments
    from podium.pricing import PriceBook
    from podium.wire.payment import Payment, TicketParams

H264 = 0
REMEMBERED_QUOTES = 100_000
QUOTE_S = 1800.0
"""How long a quote counts: as long as a token lives, and longer than ticket parameters do."""

REMEMBERED_ADMISSIONS = 10_000
"""Sessions whose admission set a price; the least recent is forgotten first."""


@frozen
class Ware:
    """What is priced: a unit of a capability's work, of one model.

    Attributes:
        capability: Network number; H.264 stands for transcoding.
        model: Model identifier, or a BYOC capability's name.
        unit: What is counted.
        whole_wei: Its price is cut to whole wei, since what carries it has no room for more.
    """

    capability: int = H264
    model: str | None = None
    unit: str = "pixel"
    whole_wei: bool = False

    @property
    def key(self) -> str:
        """The balance that pays for it: one for each sender, capability and model (ai 1.5)."""
        return f"{self.capability}_{self.model}"

    def asked_by(self, sender: bytes) -> PriceRequest:
        """Return the question for plugins."""
        return PriceRequest(sender, self.capability, self.model, self.unit)


TRANSCODING = Ware()


def is_ware_key(key: str) -> bool:
    """Whether a balance's key is a ware's, not a session's, which is hexadecimal."""
    return "_" in key


def _claimed(payment: Payment | None) -> Fraction | None:
    """Return the price that a payment's tickets claim, if that makes sense and is not zero."""
    if payment is None or not payment.has_tickets or payment.expected_price is None:
        return None
    price = payment.expected_price
    if price.price_per_unit < 0 or price.pixels_per_unit <= 0:
        return None
    return price.wei_per_unit


@define(eq=False)
class Quotes:
    """The least that each sender was quoted for each key of late.

    Ticket parameters are bound to a price, not to what it buys. So tickets that were made for
    something cheap, a pixel perhaps, must not set the price of something dear.
    """

    monotonic: Callable[[], float] = time.monotonic
    _least: OrderedDict[tuple[bytes, str], tuple[Fraction, float]] = field(
        factory=OrderedDict, init=False
    )

    def note(self, sender: bytes, key: str, price: Fraction) -> None:
        """Remember a quote; the key that was quoted least recently is forgotten first."""
        before = self.least(sender, key)
        self._least[sender, key] = (price if before is None else min(price, before), self._until())
        self._least.move_to_end((sender, key))
        if len(self._least) > REMEMBERED_QUOTES:
            self._least.popitem(last=False)

    def least(self, sender: bytes, key: str) -> Fraction | None:
        """Return the least that tickets of this key may have been made for; None: no quote."""
        price, until_s = self._least.get((sender, key), (None, 0.0))
        return price if until_s > self.monotonic() else None

    def _until(self) -> float:
        return self.monotonic() + QUOTE_S


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
        quotes: What was quoted of late.
    """

    payments: Payments
    book: PriceBook
    quotes: Quotes = field(factory=Quotes)
    _held: dict[tuple[bytes, str], Fraction] = field(factory=dict)
    _admitted: OrderedDict[tuple[bytes, str], Price] = field(factory=OrderedDict)

    @property
    def verifies(self) -> bool:
        """Whether senders must prove who they are: off chain nobody does."""
        return self.payments.charges

    async def quote(
        self,
        sender: bytes,
        key: str,
        admitted: Price | None = None,
        ware: Ware = TRANSCODING,
        payment: Payment | None = None,
    ) -> tuple[TicketParams, PriceInfo] | None:
        """Return fresh ticket parameters and the price they are bound to; None off chain.

        Args:
            sender: 20-byte address.
            key: Whose frozen price holds, if it has one.
            admitted: A price that an admission sets for this key, from now on.
            ware: What is priced.
            payment: One that is taken after this quote and before it goes out. Its tickets then
                prove its price, which the key has from then on: where prices rose since, they
                rose for others. (Where they fell the reference quotes the new one, once.)

        Raises:
            SenderError: the sender's funds do not allow tickets, or no price could be made.
        """
        if not self.payments.charges:
            return None
        fixed = self.payments.fixed_price(sender, key)
        info = await self.price(sender, key, admitted, ware)
        claimed = _claimed(payment) if fixed is None else None
        if claimed and claimed < info.wei_per_unit:
            info = price_info(claimed)
        params = await self.payments.offer(sender, info.wei_per_unit)
        return None if params is None else (params, info)

    async def price(
        self,
        sender: bytes,
        key: str,
        admitted: Price | None = None,
        ware: Ware = TRANSCODING,
    ) -> PriceInfo:
        """Return what a sender pays for a unit now; arguments and errors as for :meth:`quote`."""
        if admitted is not None:
            self._remember(sender, key, admitted)
        fixed = self.payments.fixed_price(sender, key)
        admitted = self._admitted.get((sender, key))
        try:
            info = await self.book.quote(ware.asked_by(sender), fixed=fixed, admitted=admitted)
        except PluginError as error:
            raise SenderError(error.public) from error
        if ware.whole_wei:
            info = PriceInfo(int(info.wei_per_unit), 1)
        self.quotes.note(sender, key, info.wei_per_unit)
        return info

    def cover(self, sender: bytes, key: str, wei_per_unit: Fraction, units: int) -> None:
        """Check that a balance covers the beginning of work that is billed as it runs.

        Nothing is set aside: what runs takes its price from the balance step by step, so the
        balance is at every moment what the next job may count on.

        Raises:
            InsufficientBalance: it does not.
        """
        if wei_per_unit and (self.payments.balance(sender, key) or 0) < wei_per_unit * units:
            raise InsufficientBalance

    def sum_of(self, sender: bytes, wares: Iterable[Ware]) -> Price | None:
        """Return what one unit of each of several wares costs together; None off chain.

        Raises:
            SenderError: one of them has no price.
        """
        if not self.payments.charges:
            return None
        try:
            prices = [self.book.base(ware.asked_by(sender)) for ware in wares]
        except PluginError as error:
            raise SenderError(error.public) from error
        return Price(sum(prices, Fraction(0)), TRANSCODING.unit)

    def listed(self, sender: bytes, wares: Iterable[Ware]) -> list[PriceInfo]:
        """Return a price list in whole wei, unadjusted; nothing off chain.

        A ware that has no price for this sender is left out.
        """
        if not self.payments.charges:
            return []
        infos = []
        for ware in wares:
            try:
                price = self.book.base(ware.asked_by(sender))
            except PluginError:
                continue
            infos.append(PriceInfo(int(price), 1, ware.capability, ware.model or ""))
        return infos

    def _remember(self, sender: bytes, key: str, price: Price) -> None:
        self._admitted[sender, key] = price
        if len(self._admitted) > REMEMBERED_ADMISSIONS:
            self._admitted.popitem(last=False)

    async def receive(
        self, payment: Payment, key: str, stream: str = "", ware: Ware | None = None
    ) -> None:
        """Check a payment's tickets and credit them to a key.

        Args:
            payment: As received.
            key: Whose balance.
            stream: The gateway's name of the stream, for events only.
            ware: What it is for, where its price then becomes the key's.

        Raises:
            PaymentError: refused, with the text for the sender.
            SenderError: the ware has no price.
            StoreError: a winner could not be kept; nothing was credited.
        """
        if ware is not None and self.payments.charges:
            self._refuse_cheap(payment, key, stream, ware)
        await self.payments.receive(payment, key, stream)

    def _refuse_cheap(self, payment: Payment, key: str, stream: str, ware: Ware) -> None:
        """Refuse tickets that were made for something cheaper than what they are to buy."""
        claimed = _claimed(payment)
        if claimed is None:
            return  # no tickets; or a price that their own check refuses
        sender = payment.sender
        known = (self.payments.fixed_price(sender, key), self.quotes.least(sender, key))
        if any(price is not None and claimed >= price for price in known):
            return  # agreed: what a unit costs others by now is not asked
        try:
            now = self.book.base(ware.asked_by(sender), self._admitted.get((sender, key)))
        except PluginError as error:
            raise SenderError(error.public) from error
        price = price_info(now).wei_per_unit
        if claimed < (int(price) if ware.whole_wei else price):
            reason = f"the tickets were made for a price of {claimed}, this work costs {price}"
            self.book.on_event(PaymentRefused(sender, key, reason, True, stream))
            raise TicketError(NOT_OURS)  # to their sender they are tickets for something else

    def charge(
        self,
        payment: Payment,
        key: str,
        stream: str = "",
        ware: Ware = TRANSCODING,
        units: int = 0,
    ) -> Hold:
        """Check that a job under a payment is covered, and hold what it may cost.

        Jobs that wait side by side cannot all count on the same ticket. What a job has been
        billed is held no longer, so a gateway's parallel segments, each with tickets of its
        own, do not stand in each other's way.

        Args:
            payment: As received.
            key: Whose balance.
            stream: The gateway's name of the stream, for events only.
            ware: What is bought.
            units: How many must be covered, if that is more than one ticket's value.

        Raises:
            PaymentError: ``Insufficient balance``, or a price that was never agreed.
        """
        quoted = self.payments.fixed_price(payment.sender, key)
        if quoted is None:
            try:
                admitted = self._admitted.get((payment.sender, key))
                quoted = self.book.base(ware.asked_by(payment.sender), admitted)
            except PluginError as error:
                raise SenderError(error.public) from error
        account = (payment.sender, key)
        held = self._held.get(account, Fraction(0))
        rate = self.payments.charge(payment, key, quoted, held, stream, units)
        bar = max(Fraction(self.payments.ticket_ev), rate * units) if rate else Fraction(0)
        hold = Hold(self._held, account, rate, bar)
        hold.take()
        return hold

    def debit(self, sender: bytes, key: str, amount: Fraction) -> None:
        """Take exact wei for metered work."""
        self.payments.debit(sender, key, amount)
