"""The one face of payments towards the web and the jobs.

Two implementations: :class:`TicketPayments` wherever a recipient is configured, on chain or not,
and :class:`NoPayments`, which takes everything and charges nothing (payments 9.5).
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

from attrs import define, field, frozen
from podium_hookspecs.events import PaymentReceived, PaymentRefused, TicketParamsIssued

from podium.errors import PaymentError, TicketError
from podium.payments.intake import Intake, Receipt, nothing_revealed
from podium.payments.ledger import Ledger
from podium.payments.params import ParamsIssuer
from podium.payments.validate import billed_price

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium_hookspecs.events import Event

    from podium.payments.params import PaymentSettings, RandSource
    from podium.payments.ports import Broker, Clock, GasPrice, TicketStore
    from podium.wire.payment import Payment, TicketParams


NOTHING = Fraction(0)


class Payments(Protocol):
    """What the web layer and the jobs need of payments."""

    @property
    def charges(self) -> bool:
        """Whether there is a recipient; if not, no price and no parameters are advertised."""

    async def offer(self, sender: bytes, price: Fraction) -> TicketParams | None:
        """Return fresh ticket parameters for a sender, None where nothing is charged.

        Args:
            sender: 20-byte address.
            price: Wei per unit, exactly as the price info beside the parameters says.

        Raises:
            SenderError: ``insufficient sender reserve``, or the funds could not be read.
        """

    async def tx_cost_multiplier(self, sender: bytes) -> Fraction:
        """Return face value over redemption cost, for the price's adjustment; 0: none.

        Raises:
            SenderError: as :meth:`offer`.
        """

    async def receive(self, payment: Payment, key: str, stream: str = "") -> Receipt:
        """Check a payment, keep its winners, credit its tickets to a key.

        Args:
            payment: As received.
            key: Whose balance it is for.
            stream: The gateway's name of the stream, for events only.

        Raises:
            PaymentError: refused, with the text for the sender (HTTP 400). Tickets before the
                first bad one may have been credited, and stay so.
            StoreError: winners could not be kept; nothing was credited.
        """

    @property
    def ticket_ev(self) -> int:
        """Wei that must be there for a job to begin: one ticket's expected value."""

    def charge(
        self,
        payment: Payment,
        key: str,
        quoted: Fraction,
        held: Fraction = NOTHING,
        stream: str = "",
        units: int = 0,
    ) -> Fraction:
        """Check that work under a payment is covered; call it after :meth:`receive`.

        Args:
            payment: As received.
            key: The key of the work.
            quoted: What we ask this sender for this key now, wei per unit (the fixed price
                where there is one).
            held: Wei of the balance that other jobs in hand have not used yet.
            stream: The gateway's name of the stream, for events only.
            units: How many must be covered, if they cost more than one ticket's value.

        Returns:
            Wei per unit to debit; 0 where nothing is charged.

        Raises:
            PaymentError: ``Insufficient balance``, or the expected price is not usable.
        """

    def debit(self, sender: bytes, key: str, amount: Fraction) -> None:
        """Take exact wei from a balance, which may become negative."""

    def fixed_price(self, sender: bytes, key: str) -> Fraction | None:
        """Return the price fixed for a key, which goes before every other price."""

    def balance(self, sender: bytes, key: str) -> Fraction | None:
        """Return a balance in wei; None without an account."""

    async def drain(self) -> None:
        """Wait until every payment in hand is kept and credited."""


@frozen
class NoPayments:
    """No recipient: payments are accepted and ignored, balances suffice."""

    charges: bool = field(default=False, init=False)
    ticket_ev: int = field(default=0, init=False)

    async def offer(self, sender: bytes, price: Fraction) -> TicketParams | None:
        """Offer nothing."""
        return None

    async def tx_cost_multiplier(self, sender: bytes) -> Fraction:
        """Adjust nothing."""
        return Fraction(0)

    async def receive(self, payment: Payment, key: str, stream: str = "") -> Receipt:
        """Accept and ignore."""
        return Receipt()

    def charge(
        self,
        payment: Payment,
        key: str,
        quoted: Fraction,
        held: Fraction = NOTHING,
        stream: str = "",
        units: int = 0,
    ) -> Fraction:
        """Charge nothing."""
        return Fraction(0)

    def debit(self, sender: bytes, key: str, amount: Fraction) -> None:
        """Keep no books."""

    def fixed_price(self, sender: bytes, key: str) -> Fraction | None:
        """Fix nothing."""
        return None

    def balance(self, sender: bytes, key: str) -> Fraction | None:
        """Keep no books."""
        return None

    async def drain(self) -> None:
        """Nothing is ever in hand."""


@define
class TicketPayments:
    """Payments by tickets to one recipient."""

    settings: PaymentSettings
    issuer: ParamsIssuer
    intake: Intake
    ledger: Ledger
    on_event: Callable[[Event], None]
    charges: bool = field(default=True, init=False)

    @classmethod
    def build(
        cls,
        settings: PaymentSettings,
        *,
        rand: RandSource,
        clock: Clock,
        broker: Broker,
        gas_price: GasPrice,
        store: TicketStore,
        on_event: Callable[[Event], None],
        ledger: Ledger | None = None,
        revealed: Callable[[int], bool] = nothing_revealed,
    ) -> TicketPayments:
        """Put the parts together over the given ports.

        Args:
            settings: What is asked for.
            rand: Makes the tickets' randomness.
            clock: Blocks and rounds.
            broker: Senders' funds.
            gas_price: What tickets allow for gas.
            store: Keeps winners.
            on_event: Hears events.
            ledger: Balances to go on with.
            revealed: Whether a redemption has shown a ticket's randomness before its parameters
                expired.
        """
        ledger = Ledger() if ledger is None else ledger
        return cls(
            settings,
            ParamsIssuer(settings, rand, clock, broker, gas_price),
            Intake(settings.recipient, rand, clock, broker, store, ledger, revealed=revealed),
            ledger,
            on_event,
        )

    async def offer(self, sender: bytes, price: Fraction) -> TicketParams | None:
        """See :meth:`Payments.offer`."""
        offer = await self.issuer.issue(sender, price)
        self.on_event(TicketParamsIssued(sender, offer.params.face_value, offer.max_float))
        return offer.params

    async def tx_cost_multiplier(self, sender: bytes) -> Fraction:
        """See :meth:`Payments.tx_cost_multiplier`."""
        return await self.issuer.tx_cost_multiplier(sender)

    async def receive(self, payment: Payment, key: str, stream: str = "") -> Receipt:
        """See :meth:`Payments.receive`."""
        try:
            receipt = await self.intake.receive(payment, key)
            self._received(payment, key, stream, receipt)
            if receipt.error is not None:
                raise receipt.error
        except PaymentError as error:
            self._refused(payment, key, stream, error)
            raise
        return receipt

    @property
    def ticket_ev(self) -> int:
        """See :attr:`Payments.ticket_ev`."""
        return self.settings.ticket_ev

    def charge(
        self,
        payment: Payment,
        key: str,
        quoted: Fraction,
        held: Fraction = NOTHING,
        stream: str = "",
        units: int = 0,
    ) -> Fraction:
        """See :meth:`Payments.charge`."""
        balance = self.ledger.balance(payment.sender, key)
        try:
            return billed_price(
                payment,
                quoted=quoted,
                fixed=self.ledger.fixed_price(payment.sender, key),
                balance=None if balance is None else balance - held,
                ticket_ev=self.settings.ticket_ev,
                units=units,
            )
        except PaymentError as error:
            self._refused(payment, key, stream, error)
            raise

    def debit(self, sender: bytes, key: str, amount: Fraction) -> None:
        """See :meth:`Payments.debit`."""
        self.ledger.debit(sender, key, amount)

    def fixed_price(self, sender: bytes, key: str) -> Fraction | None:
        """See :meth:`Payments.fixed_price`."""
        return self.ledger.fixed_price(sender, key)

    def balance(self, sender: bytes, key: str) -> Fraction | None:
        """See :meth:`Payments.balance`."""
        return self.ledger.balance(sender, key)

    async def drain(self) -> None:
        """See :meth:`Payments.drain`."""
        await self.intake.drain()

    def _received(self, payment: Payment, key: str, stream: str, receipt: Receipt) -> None:
        if receipt.tickets or receipt.winners:
            self.on_event(
                PaymentReceived(
                    payment.sender,
                    key,
                    receipt.tickets,
                    receipt.winners,
                    receipt.expected_value,
                    stream,
                )
            )

    def _refused(self, payment: Payment, key: str, stream: str, error: PaymentError) -> None:
        by_ticket = isinstance(error, TicketError)
        self.on_event(PaymentRefused(payment.sender, key, str(error), by_ticket, stream))
