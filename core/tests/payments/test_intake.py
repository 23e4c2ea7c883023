"""Every check of payments 4.1 and 4.1.1: text, class, credit, nonces, winners."""

import asyncio
from fractions import Fraction

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from podium.errors import InsufficientBalance, PaymentError, StoreError, TicketError
from podium.model import MAX_WIN_PROB, PriceInfo
from podium.payments import SenderFunds
from podium.payments.nonces import NonceTable
from podium.payments.ticket import TicketTerms
from podium.payments.validate import PriceInvalid, billed_price
from podium.wire.payment import ExpirationParams, Payment, TicketSenderParams
from podium_hookspecs.events import PaymentReceived, PaymentRefused


async def refused(setup, payment, text, error=TicketError, key="s"):
    with pytest.raises(error) as caught:
        await setup.node.receive(payment, key)
    assert str(caught.value) == text
    event = setup.events[-1]
    assert isinstance(event, PaymentRefused)
    assert (event.reason, event.ticket) == (text, isinstance(caught.value, TicketError))


def change(payment, **fields):
    return evolve(payment, ticket_params=evolve(payment.ticket_params, **fields))


def spoil(payment, index):
    tickets = list(payment.ticket_sender_params)
    bad = bytearray(tickets[index].signature)
    bad[5] ^= 1
    tickets[index] = evolve(tickets[index], signature=bytes(bad))
    return evolve(payment, ticket_sender_params=tuple(tickets))


def always_win(make_setup, **values):
    """A node whose tickets all win: face value and expected value are alike."""
    return make_setup(max_face_value=7_000_000_000_000_001, redeem_gas=1, **values)


async def test_good_tickets_are_credited_exactly(setup, ticket_value):
    receipt = await setup.node.receive(await setup.payer.payment(1, 2, 3), "s")
    assert (receipt.tickets, receipt.expected_value) == (3, 3 * ticket_value)
    assert setup.balance() == 3 * ticket_value
    assert setup.node.fixed_price(setup.payer.address, "s") == Fraction(101, 100)
    event = setup.events[-1]
    assert isinstance(event, PaymentReceived)
    assert (event.tickets, event.expected_value, event.session_id) == (3, 3 * ticket_value, "s")


async def test_events_name_the_stream_that_a_payment_came_with(setup):
    payment = await setup.payer.payment(1)
    await setup.node.receive(payment, "s", "movie")
    with pytest.raises(TicketError):
        await setup.node.receive(payment, "s", "movie")
    last = setup.events[-2:]
    assert [type(event) for event in last] == [PaymentReceived, PaymentRefused]
    assert [event.stream for event in last] == ["movie", "movie"]


async def test_no_tickets_is_no_error_and_no_credit(setup):
    assert (await setup.node.receive(Payment(), "s")).tickets == 0
    assert (await setup.node.receive(setup.payer.ticketless(), "s")).tickets == 0
    payment = await setup.payer.payment()
    assert payment.ticket_params is not None
    assert (await setup.node.receive(payment, "s")).tickets == 0
    assert setup.balance() is None
    assert setup.node.fixed_price(setup.payer.address, "s") is None


async def test_tickets_from_nobody(setup):
    payment = evolve(await setup.payer.payment(1), sender=bytes(20))
    with pytest.raises(PaymentError, match=r"^Could not find Sender for payment: "):
        await setup.node.receive(payment, "s")


async def test_inactive_recipient(setup):
    setup.chain.inactive_rounds = {10}
    text = "orchestrator 0xf68ecC2Ba57060d871518bC6bf75BEdb54a729C8 is inactive in round 10, cannot process payments"
    await refused(setup, await setup.payer.payment(1), text, PaymentError)
    await setup.node.receive(setup.payer.ticketless(), "s")


@pytest.mark.parametrize(
    ("price", "reason"),
    [
        (None, "expected price is nil"),
        (PriceInfo(5, 0), "pixels per unit is 0"),
        (PriceInfo(0, 0), "pixels per unit is 0"),
        (PriceInfo(-101, 100), "price is negative"),
        (PriceInfo(101, -100), "price is negative"),
        (PriceInfo(-101, -100), "price is negative"),
    ],
)
async def test_bad_expected_prices(setup, price, reason):
    payment = evolve(await setup.payer.payment(1), expected_price=price)
    text = f'invalid expected price sent with payment err="{reason}"'
    await refused(setup, payment, text, PriceInvalid)
    assert setup.balance() is None


async def test_missing_expiration_params(setup):
    payment = evolve(await setup.payer.payment(1), expiration_params=None)
    await refused(setup, payment, "expiration params of tickets are missing", PaymentError)


async def test_step_1_funds_cannot_be_read(setup):
    payment = await setup.payer.payment(1)
    setup.chain.default_funds = None
    with pytest.raises(TicketError, match=r"^could not get sender info for 0x\w{40}: no answer"):
        await setup.node.receive(payment, "s")


@pytest.mark.parametrize(("withdraw_round", "good"), [(12, True), (11, False), (10, False)])
async def test_step_2_unlock(setup, withdraw_round, good):
    payment = await setup.payer.payment(1)
    setup.chain.unlock(setup.payer.address, withdraw_round)
    if good:
        assert (await setup.node.receive(payment, "s")).tickets == 1
        return
    with pytest.raises(
        TicketError, match=r"^deposit and reserve for sender 0x\w{40} is set to unlock soon$"
    ):
        await setup.node.receive(payment, "s")


async def test_step_3_recipient(setup):
    payment = change(await setup.payer.payment(1), recipient=b"\x0a" * 20)
    await refused(setup, payment, "invalid ticket recipient")


@pytest.mark.parametrize(
    "changed",
    [
        lambda p: change(p, seed=p.ticket_params.seed + 1),
        lambda p: change(p, face_value=p.ticket_params.face_value + 1),
        lambda p: change(p, face_value=2**256),
        lambda p: change(p, win_prob=MAX_WIN_PROB),
        lambda p: change(p, win_prob=2**300),
        lambda p: change(p, expiration_block=2**64),
        lambda p: change(p, recipient_rand_hash=bytes(32)),
        lambda p: evolve(p, expiration_params=ExpirationParams(9, b"\x55" * 32)),
        lambda p: evolve(p, expiration_params=ExpirationParams(-10, b"\x55" * 32)),
        lambda p: evolve(p, expiration_params=ExpirationParams(10, bytes(32))),
        lambda p: evolve(p, expected_price=PriceInfo(100, 100)),
        lambda p: evolve(p, expected_price=PriceInfo(0, 1)),
        lambda p: evolve(p, sender=b"\x0b" * 20),
    ],
)
async def test_step_5_terms_are_not_ours(setup, changed):
    payment = changed(await setup.payer.payment(1))
    await refused(setup, payment, "invalid recipientRand for ticket recipientRandHash")
    assert len(setup.node.intake.nonces) == 0


async def test_an_expanded_price_is_the_same_price(setup):
    payment = evolve(await setup.payer.payment(1), expected_price=PriceInfo(202, 200))
    assert (await setup.node.receive(payment, "s")).tickets == 1


@pytest.mark.parametrize(
    "broken",
    [
        lambda sig: sig[:64],
        lambda sig: sig[:64] + bytes((sig[64] - 27,)),
        lambda sig: sig[:32] + (0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 - int.from_bytes(sig[32:64], "big")).to_bytes(32, "big") + bytes((55 - sig[64],)),
        lambda sig: b"",
        lambda sig: b"\xff" * 64 + b"\x1b",
    ],
)  # fmt: skip
async def test_step_6_signature(setup, broken):
    payment = await setup.payer.payment(1)
    ticket = payment.ticket_sender_params[0]
    bad = evolve(ticket, signature=broken(ticket.signature))
    await refused(setup, evolve(payment, ticket_sender_params=(bad,)), "invalid ticket signature")
    assert (await setup.node.receive(payment, "s")).tickets == 1  # the nonce was not used up


async def test_step_6_foreign_key(setup):
    payment = await setup.payer.payment(1)
    other = setup.new_payer(b"\x08" * 32)
    terms = TicketTerms(setup.payer.address, payment.ticket_params, payment.expiration_params, 0)
    forged = TicketSenderParams(1, other.signer.sign_digest(terms.ticket_hash(1)))
    await refused(
        setup, evolve(payment, ticket_sender_params=(forged,)), "invalid ticket signature"
    )


async def test_step_8_replay_in_another_payment_and_session(setup, ticket_value):
    payment = await setup.payer.payment(1)
    await setup.node.receive(payment, "s")
    for key in ("s", "other"):
        with pytest.raises(
            TicketError, match=r"^invalid ticket senderNonce: already seen sender=0x\w{40} nonce=1$"
        ):
            await setup.node.receive(payment, key)
    assert setup.balance() == ticket_value
    assert setup.balance("other") is None


async def test_step_8_same_nonce_twice_in_one_payment(setup, ticket_value):
    with pytest.raises(TicketError, match="already seen"):
        await setup.node.receive(await setup.payer.payment(1, 1, 2), "s")
    assert setup.balance() == ticket_value


async def test_nonces_in_any_order_and_zero(setup, ticket_value):
    await setup.node.receive(await setup.payer.payment(7, 0, 2**32 - 1, 3), "s")
    assert setup.balance() == 4 * ticket_value


async def test_step_9_the_601st_nonce(setup, ticket_value):
    payment = await setup.payer.payment(*range(1, 602))
    with pytest.raises(
        TicketError,
        match=r"^invalid ticket senderNonce: too many values sender=0x\w{40} nonce=601$",
    ):
        await setup.node.receive(payment, "s")
    assert setup.balance() == 600 * ticket_value
    later = await setup.payer.payment(9999, params=payment.ticket_params)
    with pytest.raises(TicketError, match=r"too many values .* nonce=9999"):
        await setup.node.receive(later, "s")


async def test_step_10_expiry_by_l1_block(setup, ticket_value):
    payment = await setup.payer.payment(1)
    late = await setup.payer.payment(2, params=payment.ticket_params)
    setup.chain.mine(39)
    assert (await setup.node.receive(payment, "s")).tickets == 1
    setup.chain.mine()
    await refused(setup, late, "TicketParams expired")
    await refused(setup, payment, "TicketParams expired")
    assert setup.balance() == ticket_value
    assert len(setup.node.intake.nonces) == 0


async def test_tickets_before_the_first_error_stay_credited(setup, ticket_value):
    """A batch with a bad second ticket: one credit, and the third's nonce is used up."""
    batch = await setup.payer.payment(1, 2, 3)
    await refused(setup, spoil(batch, 1), "invalid ticket signature")
    received = [event for event in setup.events if isinstance(event, PaymentReceived)]
    assert [event.tickets for event in received] == [1]
    assert setup.balance() == ticket_value
    with pytest.raises(TicketError, match=r"already seen .* nonce=3"):
        await setup.node.receive(await setup.payer.payment(3, params=batch.ticket_params), "s")
    await setup.node.receive(await setup.payer.payment(2, params=batch.ticket_params), "s")
    assert setup.balance() == 2 * ticket_value


async def test_a_bad_first_ticket_credits_nothing(setup):
    await refused(setup, spoil(await setup.payer.payment(1, 2, 3), 0), "invalid ticket signature")
    assert setup.balance() is None
    assert setup.node.fixed_price(setup.payer.address, "s") is None


async def test_the_last_error_is_the_answer(setup):
    batch = spoil(await setup.payer.payment(1, 2, 1), 1)
    with pytest.raises(TicketError, match="already seen"):
        await setup.node.receive(batch, "s")


async def test_winners_are_stored_with_all_that_redeems_them(make_setup):
    setup = always_win(make_setup)
    payment = await setup.payer.payment(4)
    receipt = await setup.node.receive(payment, "s")
    assert receipt.winners == 1
    (winner,) = setup.store.tickets
    assert winner.sender == setup.payer.address
    assert winner.nonce == 4
    assert winner.expiration_block == 1040
    assert (winner.creation_round, winner.block_hash) == (10, b"\x55" * 32)
    assert winner.signature == payment.ticket_sender_params[0].signature
    assert winner.face_value == payment.ticket_params.face_value


async def test_parameters_end_when_a_redemption_shows_their_randomness(make_setup):
    setup = always_win(make_setup)
    payment = await setup.payer.payment(1)
    later = await setup.payer.payment(2, params=payment.ticket_params)
    await setup.node.receive(payment, "s")
    (winner,) = setup.store.tickets
    setup.node.intake.revealed = {winner.recipient_rand}.__contains__
    balance = setup.balance()
    await refused(setup, later, "TicketParams expired")
    assert setup.balance() == balance
    assert len(setup.store.tickets) == 2
    assert (await setup.node.receive(await setup.payer.payment(1), "s")).tickets == 1


async def test_uncredited_winners_are_stored_too(make_setup):
    setup = always_win(make_setup)
    payment = await setup.payer.payment(1)
    setup.chain.mine(40)
    await refused(setup, payment, "TicketParams expired")
    assert len(setup.store.tickets) == 1
    assert setup.balance() is None
    batch = spoil(await setup.payer.payment(1, 2, 3), 0)
    await refused(setup, batch, "invalid ticket signature")
    assert [ticket.nonce for ticket in setup.store.tickets] == [1, 2, 3]
    assert setup.balance() is None


async def test_a_failing_store_credits_nothing_and_the_ticket_may_come_again(make_setup):
    setup = always_win(make_setup)
    setup.store.error = StoreError("disk full")
    payment = await setup.payer.payment(1, 2)
    with pytest.raises(StoreError):
        await setup.node.receive(payment, "s")
    assert setup.balance() is None
    assert len(setup.node.intake.nonces) == 0
    setup.store.error = None
    assert (await setup.node.receive(payment, "s")).tickets == 2
    assert len(setup.store.tickets) == 2


class SlowStore:
    """Holds every commit until it is let go."""

    def __init__(self):
        self.go, self.asked = asyncio.Event(), asyncio.Event()
        self.tickets = []

    async def add(self, tickets):
        self.asked.set()
        await self.go.wait()
        self.tickets += tickets


async def test_one_ticket_in_two_payments_at_once_is_credited_once(make_setup):
    setup = always_win(make_setup, store=SlowStore())
    payment = await setup.payer.payment(1)
    calls = [asyncio.create_task(setup.node.receive(payment, key)) for key in ("a", "b")]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    setup.store.go.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Receipt", "TicketError"]
    assert sum(setup.balance(key) or 0 for key in "ab") == 7_000_000_000_000_001


async def test_large_payments_at_once_share_no_nonce(setup, ticket_value):
    """These are checked in threads; judging them stays in one piece."""
    payment = await setup.payer.payment(*range(100))
    overlap = await setup.payer.payment(*range(50, 150), params=payment.ticket_params)
    results = await asyncio.gather(
        *(setup.node.receive(p, "s") for p in (payment, overlap)), return_exceptions=True
    )
    credited = sum(getattr(result, "tickets", 0) for result in results)
    assert setup.balance() in {100 * ticket_value, 150 * ticket_value}
    assert credited == 100
    assert sum(isinstance(result, TicketError) for result in results) == 1


async def test_a_client_that_goes_away_loses_nothing(make_setup):
    setup = always_win(make_setup, store=SlowStore())
    call = asyncio.create_task(setup.node.receive(await setup.payer.payment(1), "s"))
    await setup.store.asked.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert setup.balance() is None
    setup.store.go.set()
    await setup.node.drain()
    assert setup.balance() == 7_000_000_000_000_001
    assert len(setup.store.tickets) == 1


async def test_a_store_that_hangs_is_given_up(make_setup):
    setup = always_win(make_setup, store=SlowStore())
    setup.node.intake.store_timeout_s = 0.01
    with pytest.raises(StoreError, match=r"could not be stored within 0.01 s"):
        await setup.node.receive(await setup.payer.payment(1), "s")
    assert setup.balance() is None


async def test_six_hundred_tickets_leave_the_loop_free(setup):
    payment = await setup.payer.payment(*range(600))
    call = asyncio.create_task(setup.node.receive(payment, "s"))
    turns = 0
    while not call.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert (await call).tickets == 600
    assert turns > 2  # all at once would be one turn of 20 ms and more


# What work costs: payments 5.3 and 5.4.

QUOTED = Fraction(101, 100)


def charge(setup, payment, quoted=QUOTED, key="s"):
    return setup.node.charge(payment, key, quoted)


async def test_tickets_prove_their_price_and_cover_the_balance(setup, ticket_value):
    payment = await setup.payer.payment(1)
    await setup.node.receive(payment, "s")
    assert charge(setup, payment) == QUOTED
    setup.node.debit(setup.payer.address, "s", ticket_value)
    with pytest.raises(InsufficientBalance, match=r"^Insufficient balance$"):
        charge(setup, payment)


async def test_rounded_up_tickets_cover_exactly_the_setting(setup):
    payment = await setup.payer.payment(1)
    await setup.node.receive(payment, "s")
    assert setup.balance() > setup.node.settings.ticket_ev  # a hair above
    excess = setup.balance() - setup.node.settings.ticket_ev
    setup.node.debit(setup.payer.address, "s", excess)
    charge(setup, payment)
    setup.node.debit(setup.payer.address, "s", Fraction(1, 10**80))
    with pytest.raises(InsufficientBalance):
        charge(setup, payment)


async def test_ticketless_work_needs_credit_and_the_fixed_price(setup):
    with pytest.raises(InsufficientBalance):
        charge(setup, setup.payer.ticketless())
    await setup.node.receive(await setup.payer.payment(1, 2), "s")
    assert charge(setup, setup.payer.ticketless()) == QUOTED
    assert charge(setup, setup.payer.ticketless(PriceInfo(202, 200))) == QUOTED
    for price in (PriceInfo(1, 1), PriceInfo(0, 1), PriceInfo(-1, 1), PriceInfo(5, 0), None):
        with pytest.raises(PriceInvalid):
            charge(setup, setup.payer.ticketless(price))
    with pytest.raises(InsufficientBalance):
        charge(setup, setup.payer.ticketless(), key="other")


@pytest.mark.parametrize(
    ("price", "error"),
    [
        (PriceInfo(0, 1), InsufficientBalance),
        (PriceInfo(5, 0), InsufficientBalance),
        (PriceInfo(0, 0), InsufficientBalance),
        (PriceInfo(-1, 1), InsufficientBalance),
        (None, PriceInvalid),
    ],
)
async def test_no_free_work_on_a_fresh_session(setup, price, error):
    with pytest.raises(error):
        charge(setup, setup.payer.ticketless(price))


def test_credit_without_a_fixed_price_covers_nothing():
    payment = Payment(sender=b"\x01" * 20, expected_price=PriceInfo(101, 100))
    with pytest.raises(InsufficientBalance):
        billed_price(payment, quoted=QUOTED, fixed=None, balance=Fraction(10**18), ticket_ev=1)


async def test_what_is_free_is_not_charged(setup):
    for price in (PriceInfo(0, 1), None, PriceInfo(7, 0)):
        assert charge(setup, setup.payer.ticketless(price), quoted=Fraction(0)) == 0
    await setup.node.receive(await setup.payer.payment(1), "s")
    with pytest.raises(PriceInvalid):  # a session with a fixed price does not become free
        charge(setup, setup.payer.ticketless(PriceInfo(0, 1)), quoted=Fraction(0))


async def test_the_first_ticket_fixes_the_price(setup):
    await setup.node.receive(await setup.payer.payment(1, price=PriceInfo(2, 1)), "s")
    later = await setup.payer.payment(1, price=PriceInfo(3, 1))
    await setup.node.receive(later, "s")
    assert setup.node.fixed_price(setup.payer.address, "s") == 2
    assert charge(setup, later) == 3  # its own tickets prove that we offered it
    assert charge(setup, setup.payer.ticketless(PriceInfo(2, 1))) == 2
    with pytest.raises(PriceInvalid):
        charge(setup, setup.payer.ticketless(PriceInfo(3, 1)))


async def test_tickets_of_a_free_offer_fix_nothing(setup):
    payment = await setup.payer.payment(1, price=PriceInfo(0, 1))
    await setup.node.receive(payment, "s")
    assert charge(setup, payment) == 0
    assert setup.node.fixed_price(setup.payer.address, "s") is None
    with pytest.raises(InsufficientBalance):
        charge(setup, setup.payer.ticketless(PriceInfo(0, 1)))


async def test_a_sender_without_means_cannot_replay_another_ones_payment(setup):
    payment = await setup.payer.payment(1)
    thief = setup.new_payer(b"\x08" * 32)
    stolen = evolve(payment, sender=thief.address)
    await refused(setup, stolen, "invalid recipientRand for ticket recipientRandHash")


async def test_payments_of_different_senders_do_not_mix(setup, ticket_value):
    other = setup.new_payer(b"\x08" * 32)
    setup.chain.funds[other.address] = SenderFunds(10**19, 10**19)
    await setup.node.receive(await setup.payer.payment(1), "s")
    await setup.node.receive(await other.payment(1, 2), "s")
    assert setup.balance() == ticket_value
    assert setup.node.balance(other.address, "s") == 2 * ticket_value


# The nonce table alone.


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 900)), max_size=2000))
def test_no_nonce_is_taken_twice_nor_more_than_600(wanted):
    table, taken = NonceTable(), {}
    for rand, nonce in wanted:
        seen = nonce in taken.get(rand, set())
        assert table.seen(rand, 50, nonce) is seen
        if not seen and table.take(rand, 50, nonce):
            taken.setdefault(rand, set()).add(nonce)
    assert all(len(nonces) <= 600 for nonces in taken.values())
    assert len(table) == len(taken)
    table.clean(49)
    assert len(table) == len(taken)
    table.clean(50)
    assert len(table) == 0


def test_the_nonce_table_is_bounded_and_gives_back():
    table = NonceTable(max_open_params=2)
    assert table.take(1, 50, 1)
    assert table.take(2, 60, 1)
    assert not table.take(3, 60, 1)
    assert table.take(1, 50, 2)
    table.give_back(2, 60, [1])
    table.give_back(9, 60, [1])
    assert table.take(3, 60, 1)
    table.clean(55)
    assert len(table) == 1
    assert table.take(4, 60, 1)
