"""When a ticket is redeemed: each rule by itself."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from podium.model import WinningTicket
from podium.payments.ports import SenderFunds
from podium.payments.redeem import RedeemSettings, Situation
from podium.payments.redeem.rules import (
    EXPIRED,
    FEW_FUNDS,
    GAS_ABOVE_MAXIMUM,
    GAS_ABOVE_USUAL,
    NO_FUNDS,
    NOT_INITIALIZED,
    NOT_WORTH_IT,
    PAUSED,
    UNLOCKED,
    Decision,
    Verdict,
    Wish,
    allot,
    decide,
    is_urgent,
    worth_limit,
)

SETTINGS = RedeemSettings(redeem_gas=350_000)
FACE = 35_000_000_245_000_000
TICKET = WinningTicket(
    bytes(20), bytes(20), FACE, 1, 1, bytes(32), 10, bytes(32), 1, 1040, bytes(65)
)
NOW = Situation(
    block=5000, l1_block=1040, current_round=10, round_initialized=True, paused=False,
    validity_rounds=2, blocks_left=5000, round_length=5760, gas_price=10**9,
    usual_gas_price=10**9,
)  # fmt: skip


def test_a_ticket_is_ready_from_its_expiration_block_on():
    assert decide(TICKET, NOW, SETTINGS) == Decision(Verdict.READY)
    assert decide(TICKET, evolve(NOW, l1_block=1039), SETTINGS) == Decision(Verdict.WAIT)


@pytest.mark.parametrize(("number", "expired"), [(10, False), (11, False), (12, True), (50, True)])
def test_a_ticket_lives_as_many_rounds_as_the_contract_says(number, expired):
    decision = decide(TICKET, evolve(NOW, current_round=number), SETTINGS)
    assert (decision.verdict is Verdict.EXPIRED) == expired
    longer = evolve(NOW, current_round=number, validity_rounds=number)
    assert decide(TICKET, longer, SETTINGS).verdict is Verdict.READY
    assert decision.reason == (EXPIRED if expired else "")


@pytest.mark.parametrize(
    ("change", "reason", "limit"),
    [
        ({"paused": True}, PAUSED, 0),
        ({"round_initialized": False}, NOT_INITIALIZED, 0),
        ({"gas_price": FACE // 350_000, "usual_gas_price": 0}, NOT_WORTH_IT, FACE // 350_000 - 1),
        ({"max_gas_price": 10**9 - 1}, GAS_ABOVE_MAXIMUM, 10**9 - 1),
        ({"gas_price": 3 * 10**9 + 1}, GAS_ABOVE_USUAL, 3 * 10**9),
    ],
)
def test_what_blocks_a_ticket_is_named(change, reason, limit):
    now = evolve(NOW, **change)
    assert decide(TICKET, now, SETTINGS) == Decision(Verdict.BLOCK, reason, limit)
    if limit:
        assert decide(TICKET, evolve(now, gas_price=limit), SETTINGS).verdict is Verdict.READY


@given(st.integers(0, 10**24), st.integers(1, 2_000_000))
def test_at_its_limit_a_ticket_is_worth_it_and_one_wei_above_not(face, gas):
    settings = RedeemSettings(redeem_gas=gas)
    ticket = evolve(TICKET, face_value=face)
    limit = worth_limit(ticket, settings)
    above = evolve(NOW, gas_price=limit + 1, usual_gas_price=0)
    assert decide(ticket, above, settings).reason == NOT_WORTH_IT
    if face:
        at = evolve(NOW, gas_price=limit, usual_gas_price=0)
        assert decide(ticket, at, settings).verdict is Verdict.READY


@pytest.mark.parametrize(
    ("expiry", "left", "early"),
    [
        (1040 + 295, 300, True),  # too late to be sent after its parameters have expired
        (1040 + 294, 300, False),
        (1040 + 5000, 300, True),
        (1040 + 5000, 301, False),  # there is still time for the parameters to be used
    ],
)
def test_a_ticket_that_ends_before_its_parameters_do_goes_early(expiry, left, early):
    ticket = evolve(TICKET, expiration_block=expiry)
    now = evolve(NOW, current_round=11, blocks_left=left)
    verdict = decide(ticket, now, SETTINGS).verdict
    assert verdict is (Verdict.READY if early else Verdict.WAIT)


def test_an_urgent_ticket_does_not_wait_for_cheaper_gas():
    late = evolve(NOW, current_round=11, blocks_left=300, gas_price=50 * 10**9)
    assert decide(TICKET, late, SETTINGS).verdict is Verdict.READY
    assert decide(TICKET, evolve(late, blocks_left=301), SETTINGS).reason == GAS_ABOVE_USUAL
    assert decide(TICKET, evolve(late, max_gas_price=10**9), SETTINGS).reason == GAS_ABOVE_MAXIMUM


@pytest.mark.parametrize(
    ("number", "left", "length", "withdraw", "urgent"),
    [
        (11, 300, 5760, 0, True),
        (11, 301, 5760, 0, False),
        (10, 1, 5760, 0, False),
        (10, 300, 5760, 11, True),  # the sender may take all in the next round
        (10, 300, 5760, 12, False),
        (11, 15, 60, 0, True),  # short rounds: their last quarter
        (11, 16, 60, 0, False),
        (13, 5000, 5760, 0, True),
    ],
)
def test_urgency_begins_before_the_last_possible_round_ends(number, left, length, withdraw, urgent):
    now = evolve(NOW, current_round=number, blocks_left=left, round_length=length)
    assert is_urgent(TICKET, now, SETTINGS, withdraw) == urgent


def share(faces, funds, *, urgent=(), active=True, cost=5):
    wishes = [Wish(face, index in urgent) for index, face in enumerate(faces)]
    return allot(wishes, funds, active=active, current_round=10, tx_cost=cost)


def test_funds_go_to_those_they_cover_whatever_is_in_front():
    funds = SenderFunds(deposit=100, reserve_remaining=0)
    assert share([60, 60, 40], funds) == ["", FEW_FUNDS, ""]
    assert share([500, 60, 40], funds) == [FEW_FUNDS, "", ""]
    assert share([100, 60], funds) == ["", NO_FUNDS]


def test_redemptions_in_flight_count():
    funds = SenderFunds(deposit=100, reserve_remaining=0, pending=60)
    assert share([60, 40], funds) == [FEW_FUNDS, ""]


def test_the_reserve_counts_only_for_an_active_recipient():
    funds = SenderFunds(deposit=10, reserve_remaining=200, pool_size=2, claimed_by_us=50)
    assert share([60], funds) == [""]
    assert share([61], funds) == [FEW_FUNDS]
    assert share([60], funds, active=False) == [FEW_FUNDS]
    overdrawn = SenderFunds(deposit=10, reserve_remaining=10, claimed_by_us=50)
    assert share([10], overdrawn) == [""]


def test_an_urgent_ticket_takes_what_there_is_if_it_pays_for_the_gas():
    funds = SenderFunds(deposit=30, reserve_remaining=0)
    assert share([60, 30], funds, urgent={0}) == ["", NO_FUNDS]
    assert share([60], funds, urgent={0}, cost=30) == [NO_FUNDS]


@pytest.mark.parametrize(("withdraw", "reason"), [(0, ""), (11, ""), (10, UNLOCKED), (9, UNLOCKED)])
def test_an_unlocked_sender_pays_nothing(withdraw, reason):
    funds = SenderFunds(deposit=100, reserve_remaining=0, withdraw_round=withdraw)
    assert share([60], funds) == [reason]


@given(
    st.lists(st.tuples(st.integers(1, 100), st.booleans()), max_size=20),
    st.integers(0, 500),
    st.integers(0, 200),
)
def test_what_is_allotted_is_covered_but_for_urgent_ones(wishes, deposit, pending):
    wishes = [Wish(*wish) for wish in wishes]
    funds = SenderFunds(deposit=deposit, reserve_remaining=0, pending=pending)
    reasons = allot(wishes, funds, active=True, current_round=10, tx_cost=5)
    taken = [w for w, reason in zip(wishes, reasons, strict=True) if not reason]
    patient = sum(w.face_value for w in taken if not w.urgent)
    assert patient <= max(0, deposit - pending)
    if not any(w.urgent for w in wishes) and taken != wishes:
        left = deposit - pending - patient
        assert all(w.face_value > left or left <= 5 for w in wishes if w not in taken)


@given(st.integers(1, 200), st.floats(0, 1), st.floats(1, 1000))
def test_waits_double_up_to_a_limit(attempts, jitter, longest_s):
    wait_s = SETTINGS.backoff_s(attempts, jitter, longest_s)
    full_s = min(SETTINGS.retry_min_s * 2.0 ** (attempts - 1), longest_s)
    assert full_s / 2 <= wait_s <= full_s


def test_a_batch_fits_into_a_block():
    assert RedeemSettings(redeem_gas=350_000, batch=20).batch_size == 20
    assert RedeemSettings(redeem_gas=1_200_000, batch=50).batch_size == 23
    assert RedeemSettings(redeem_gas=10**9).batch_size == 1
