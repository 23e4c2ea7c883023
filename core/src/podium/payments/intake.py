"""Takes payments in: checks, keeps winners, credits (payments 4).

The order is what makes it safe. Everything slow (funds, signatures) comes first and changes
nothing. Then, without a pause between, the nonces are judged and taken, so two payments with
one ticket cannot both pass. Then winners are committed, and only then is anything credited. If
the store fails, the nonces are given back and the sender may send the same payment again.
"""

from __future__ import annotations

import asyncio
from fractions import Fraction
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from podium.crypto import checksum_address
from podium.errors import SenderError, StoreError, TicketError
from podium.payments.nonces import NonceTable
from podium.payments.ticket import SignatureChecker
from podium.payments.validate import (
    RecipientInactive,
    judge,
    proven_terms,
    require_sender,
    tickets_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium.payments.ledger import Ledger
    from podium.payments.params import RandSource
    from podium.payments.ports import Broker, Clock, SenderFunds, TicketStore
    from podium.payments.ticket import Checked, TicketTerms
    from podium.payments.validate import Tickets, Verdict
    from podium.wire.payment import Payment

INLINE_TICKETS = 32
"""More tickets than this are checked in a worker thread: 1 ms is as long as the loop waits."""

STORE_TIMEOUT_S = 10.0


@frozen
class Receipt:
    """What a payment brought.

    Attributes:
        tickets: Tickets credited.
        winners: Winners kept, among all its tickets.
        expected_value: Exact wei credited.
        error: The last bad ticket's error: the payment is refused with it, what was credited
            before stays.
    """

    tickets: int = 0
    winners: int = 0
    expected_value: Fraction = Fraction(0)
    error: TicketError | None = field(default=None, eq=False)


def nothing_revealed(recipient_rand: int) -> bool:
    """Say that no randomness was revealed: there is no chain to redeem on."""
    del recipient_rand
    return False


def not_noted(key: str, recipient_rand: int, expiration_block: int) -> None:
    """Note nothing: a restart forgets."""


@define
class Intake:
    """Takes payments to one recipient into one ledger.

    Attributes:
        taken: Told for which key tickets of which parameters were taken, as they are credited.
    """

    recipient: bytes
    rand: RandSource
    clock: Clock
    broker: Broker
    store: TicketStore
    ledger: Ledger
    nonces: NonceTable = field(factory=NonceTable)
    store_timeout_s: float = STORE_TIMEOUT_S
    revealed: Callable[[int], bool] = nothing_revealed
    taken: Callable[[str, int, int], None] = not_noted
    _settling: set[asyncio.Task[Receipt]] = field(factory=set, init=False)

    async def receive(self, payment: Payment, key: str) -> Receipt:
        """Take one payment for a key.

        A cancelled call either changed nothing or completes in the background.

        Raises:
            PaymentError: it is refused as a whole.
            StoreError: winners could not be kept; nothing was credited, all may be sent again.
        """
        if payment.ticket_params is None:
            return Receipt()
        require_sender(payment)
        await self._require_active()
        offered = tickets_of(payment)
        if offered is None:
            return Receipt()
        terms = proven_terms(
            offered,
            funds=await self._funds(offered.sender),
            current_round=self.clock.current_round,
            recipient=self.recipient,
            rand=self.rand,
        )
        checked = await _check_signatures(terms, offered)
        revealed = self.revealed(terms.recipient_rand)
        verdict = judge(terms, checked, self.nonces, self.clock.l1_block, revealed=revealed)
        return await self._settle(terms, offered, verdict, key)

    async def drain(self) -> None:
        """Wait for payments that are being kept and credited."""
        while self._settling:
            await asyncio.wait(self._settling)

    async def _require_active(self) -> None:
        round_number = self.clock.current_round
        if not await self.broker.is_active(self.recipient, round_number):
            raise RecipientInactive(self.recipient, round_number)

    async def _funds(self, sender: bytes) -> SenderFunds:
        try:
            return await self.broker.sender_funds(sender)
        except SenderError as error:
            msg = f"could not get sender info for {checksum_address(sender)}: {error}"
            raise TicketError(msg) from error

    async def _settle(
        self, terms: TicketTerms, offered: Tickets, verdict: Verdict, key: str
    ) -> Receipt:
        """Keep winners and credit; not to be torn apart by a client that goes away."""
        if not verdict.winners:
            return self._credit(terms, offered, verdict, key)
        task = asyncio.create_task(self._store_and_credit(terms, offered, verdict, key))
        self._settling.add(task)
        task.add_done_callback(self._settled)
        return await asyncio.shield(task)

    def _settled(self, task: asyncio.Task[Receipt]) -> None:
        self._settling.discard(task)
        if not task.cancelled():
            task.exception()  # the caller may be gone: its error is then nobody's

    async def _store_and_credit(
        self, terms: TicketTerms, offered: Tickets, verdict: Verdict, key: str
    ) -> Receipt:
        winners = [terms.winner(ticket) for ticket in verdict.winners]
        try:
            async with asyncio.timeout(self.store_timeout_s):
                await self.store.add(winners)
        except (StoreError, TimeoutError) as error:
            self.nonces.give_back(
                terms.recipient_rand, terms.params.expiration_block, verdict.taken
            )
            if isinstance(error, StoreError):
                raise
            msg = f"winning tickets could not be stored within {self.store_timeout_s:g} s"
            raise StoreError(msg) from error
        return self._credit(terms, offered, verdict, key)

    def _credit(self, terms: TicketTerms, offered: Tickets, verdict: Verdict, key: str) -> Receipt:
        amount = terms.expected_value(verdict.credited)
        if verdict.taken:
            self.taken(key, terms.recipient_rand, terms.params.expiration_block)
        if verdict.credited:
            price = offered.price if offered.price > 0 else None  # a price of zero fixes nothing
            self.ledger.credit(offered.sender, key, amount, price)
        return Receipt(verdict.credited, len(verdict.winners), amount, verdict.error)


async def _check_signatures(terms: TicketTerms, offered: Tickets) -> list[Checked]:
    checker = SignatureChecker(terms)
    if len(offered.tickets) <= INLINE_TICKETS:
        return checker.check(offered.tickets)
    return await asyncio.to_thread(checker.check, offered.tickets)
