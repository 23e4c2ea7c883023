"""The face of payments without a chain, and without a recipient (payments 9.5)."""

from fractions import Fraction

import pytest
from podium.bench.tickets import BATCHES, run_tickets_bench
from podium.crypto import KeySigner
from podium.errors import SenderError
from podium.model import PriceInfo
from podium.payments import (
    FixedGasPrice,
    LocalBroker,
    LocalClock,
    NoPayments,
    PaymentSettings,
    RandSource,
    Receipt,
    SenderFunds,
    TicketPayments,
)
from podium.payments.ticket import TicketTerms
from podium.testing.chain import MemoryTickets
from podium.wire.payment import ExpirationParams, Payment, TicketParams, TicketSenderParams

SENDER = b"\x09" * 20


async def test_without_a_recipient_everything_is_accepted_and_ignored():
    node = NoPayments()
    assert not node.charges
    assert await node.offer(SENDER, Fraction(1)) is None
    assert await node.tx_cost_multiplier(SENDER) == 0
    nonsense = Payment(
        ticket_params=TicketParams(bytes(20), 1, 2, bytes(32), 3, 4),
        ticket_sender_params=(TicketSenderParams(1, b""),),
        expected_price=PriceInfo(-1, 0),
    )
    assert await node.receive(nonsense, "s") == Receipt()
    assert node.charge(nonsense, "s", Fraction(1)) == 0
    node.debit(SENDER, "s", Fraction(1))
    assert node.balance(SENDER, "s") is None
    assert node.fixed_price(SENDER, "s") is None
    await node.drain()


def test_the_local_clock_counts_blocks_and_rounds():
    clock = LocalClock(now=lambda: 12 * 6377 * 3 + 25.0)
    assert clock.l1_block == 6377 * 3 + 2
    assert clock.current_round == 3
    assert len(clock.round_hash(3)) == 32
    assert clock.round_hash(3) == LocalClock().round_hash(3) != clock.round_hash(4)
    assert LocalClock().current_round > 200


async def test_a_node_without_a_chain_is_paid_with_real_tickets():
    now = [1_800_000_000.0]
    clock = LocalClock(now=lambda: now[0])
    poor = SenderFunds(deposit=10**18, reserve_remaining=0)
    broker = LocalBroker(SenderFunds(10**18, 10**18), {b"\x0c" * 20: poor})
    store = MemoryTickets()
    node = TicketPayments.build(
        PaymentSettings(b"\x02" * 20, ticket_ev=700, redeem_gas=0, max_face_value=1000),
        rand=RandSource(b"\x03" * 32),
        clock=clock,
        broker=broker,
        gas_price=FixedGasPrice(10**7),
        store=store,
        on_event=lambda _event: None,
    )
    assert node.charges
    signer = KeySigner(b"\x07" * 32)
    params = await node.offer(signer.address, Fraction(3, 2))
    expiration = ExpirationParams(clock.current_round, clock.round_hash(clock.current_round))
    assert params.expiration_params == expiration
    terms = TicketTerms(signer.address, params, expiration, 0)
    tickets = tuple(
        TicketSenderParams(nonce, signer.sign_digest(terms.ticket_hash(nonce)))
        for nonce in range(1, 41)
    )
    payment = Payment(signer.address, params, expiration, tickets, PriceInfo(3, 2))
    now[0] += 39 * 12
    receipt = await node.receive(payment, "s")
    assert receipt.tickets == 40
    assert receipt.winners == len(store.tickets) > 10  # seven in ten win
    assert node.balance(signer.address, "s") == receipt.expected_value >= 28_000
    with pytest.raises(SenderError, match="insufficient sender reserve"):
        await node.offer(b"\x0c" * 20, Fraction(1))


def test_the_bench_measures_paid_tickets():
    report = run_tickets_bench(rounds=1, tickets_per_round=40)
    figures = report.figures()
    assert set(report.validate_per_s) == set(BATCHES)
    assert all(value > 0 for value in figures.values())
    assert figures["tickets.ratio_recover"] == report.ratios[20]
    assert any("20 ticket(s)" in line for line in report.lines())
