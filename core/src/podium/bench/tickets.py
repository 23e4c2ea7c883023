"""How fast payments are checked, against bare signature recovery in the same run.

Recovery is the part that no implementation can avoid; the ratio says what everything else costs:
hashes, draws, nonces, the ledger, and storing winners on disk.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen
from coincurve import PublicKey

from podium.crypto import KeySigner, personal_digest
from podium.model import PriceInfo
from podium.payments import (
    FixedGasPrice,
    LocalBroker,
    LocalClock,
    PaymentSettings,
    RandSource,
    SenderFunds,
    TicketPayments,
)
from podium.payments.ticket import TicketTerms
from podium.stores.sqlite import Database
from podium.wire.payment import Payment, TicketSenderParams

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BATCHES = (1, 2, 20, 600)
"""Tickets in a payment: what a segment carries, and the most that one set of terms takes."""

HEADLINE = 20
"""The batch behind ``tickets.ratio_recover``: several tickets, checked on the event loop."""

_PRICE = PriceInfo(101, 100)
_TICKETS_PER_ROUND = 600


@frozen
class TicketsReport:
    """Medians over the rounds; rates in tickets a second.

    Attributes:
        recover_per_s: Bare recovery of the signer's key from a digest.
        validate_per_s: Full intake of payments, by tickets in a payment.
        ratios: Full intake over bare recovery of the same tickets just before, by tickets in a
            payment.
        rounds: Rounds measured, each of all kinds in turn.
        winners: Winners stored on the way.
    """

    recover_per_s: float
    validate_per_s: Mapping[int, float]
    ratios: Mapping[int, float]
    rounds: int
    winners: int

    def figures(self) -> dict[str, float]:
        """Return the figures by their names in the JSON."""
        named = {
            f"tickets.ratio_recover_batch_{batch}": ratio for batch, ratio in self.ratios.items()
        }
        return {
            "tickets.ratio_recover": self.ratios[HEADLINE],
            "tickets.recover_per_s": self.recover_per_s,
            **named,
        }

    def lines(self) -> list[str]:
        """Return the report as text."""
        head = f"bare recovery {self.recover_per_s:>28,.0f} signatures/s"
        return [
            head,
            *(
                f"payments of {batch:>3} ticket(s) {rate:>18,.0f} tickets/s"
                f" {self.ratios[batch]:>8.2f}x"
                for batch, rate in self.validate_per_s.items()
            ),
            f"median of {self.rounds} rounds; {self.winners} winners committed to SQLite",
        ]


def run_tickets_bench(
    *, rounds: int = 5, tickets_per_round: int = _TICKETS_PER_ROUND
) -> TicketsReport:
    """Measure in this process, on one core; some seconds.

    Args:
        rounds: Rounds of which the medians are taken.
        tickets_per_round: Tickets of each kind in a round, at least the largest batch.
    """
    with tempfile.TemporaryDirectory(prefix="podium-bench-") as directory:
        return asyncio.run(_run(Path(directory), rounds, tickets_per_round))


async def _run(directory: Path, rounds: int, tickets_per_round: int) -> TicketsReport:
    database = await Database.open(directory / "tickets.sqlite3")
    node = _node(database)
    signer = KeySigner(b"\x07" * 32)
    recover: list[float] = []
    validate: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    ratios: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    try:
        await take(node, await make_payments(node, signer, 2, 2))  # warm up
        for _ in range(rounds):
            for batch in BATCHES:
                count = max(1, tickets_per_round // batch)
                payments = await make_payments(node, signer, batch, count)
                recover.append(_recover_rate(payments))
                validate[batch].append(await take(node, payments))
                ratios[batch].append(validate[batch][-1] / recover[-1])
        winners = await database.count_tickets()
    finally:
        await database.close()
    return TicketsReport(
        recover_per_s=statistics.median(recover),
        validate_per_s=_medians(validate),
        ratios=_medians(ratios),
        rounds=rounds,
        winners=winners,
    )


def _medians(values: Mapping[int, Sequence[float]]) -> dict[int, float]:
    return {name: statistics.median(found) for name, found in values.items()}


def _node(database: Database) -> TicketPayments:
    funds = SenderFunds(deposit=10**19, reserve_remaining=10**19)
    return TicketPayments.build(
        PaymentSettings(recipient=b"\x01" * 20),
        rand=RandSource(b"\x02" * 32),
        clock=LocalClock(),
        broker=LocalBroker(funds),
        gas_price=FixedGasPrice(10_000_000),
        store=database,
        on_event=lambda _event: None,
    )


async def make_payments(
    node: TicketPayments, signer: KeySigner, batch: int, count: int
) -> list[Payment]:
    """Return payments for a node, each with terms and nonces of its own."""
    return [await _payment(node, signer, batch) for _ in range(count)]


async def _payment(node: TicketPayments, signer: KeySigner, batch: int) -> Payment:
    params = await node.offer(signer.address, _PRICE.wei_per_unit)
    if params is None or params.expiration_params is None:
        msg = "the node offers no ticket parameters"
        raise RuntimeError(msg)
    terms = TicketTerms(signer.address, params, params.expiration_params, recipient_rand=0)
    return Payment(
        sender=signer.address,
        ticket_params=params,
        expiration_params=params.expiration_params,
        ticket_sender_params=tuple(
            TicketSenderParams(nonce, signer.sign_digest(terms.ticket_hash(nonce)))
            for nonce in range(1, batch + 1)
        ),
        expected_price=_PRICE,
    )


def _recover_rate(payments: Sequence[Payment]) -> float:
    """Recover every signature of the payments, with everything else done beforehand."""
    work = []
    for payment in payments:
        params, expiration = payment.ticket_params, payment.expiration_params
        if params is None or expiration is None:
            continue
        terms = TicketTerms(payment.sender, params, expiration, recipient_rand=0)
        for ticket in payment.ticket_sender_params:
            signature = ticket.signature[:64] + bytes((ticket.signature[64] - 27,))
            work.append((signature, personal_digest(terms.ticket_hash(ticket.nonce))))
    start = time.perf_counter()
    for signature, digest in work:
        PublicKey.from_signature_and_message(signature, digest, hasher=None)
    return len(work) / (time.perf_counter() - start)


async def take(node: TicketPayments, payments: Sequence[Payment]) -> float:
    """Take payments in one after the other, as a node does."""
    tickets, worth = 0, Fraction(0)
    start = time.perf_counter()
    for payment in payments:
        receipt = await node.receive(payment, "bench")
        tickets += receipt.tickets
        worth += receipt.expected_value
    seconds = time.perf_counter() - start
    if node.balance(payments[0].sender, "bench") is None or worth <= 0:
        msg = "the node did not credit the payments"
        raise RuntimeError(msg)
    return tickets / seconds
