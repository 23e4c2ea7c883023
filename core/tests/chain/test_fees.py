"""What transactions offer for gas: never above the maximum, and never a cap below the tip."""

import json
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from podium.chain.fees import Fees, bump, choose_fees, gwei, highest
from podium.errors import GasPriceTooHigh

GWEI = 10**9
wei = st.integers(min_value=0, max_value=10**15)
recorded = Path(__file__).parents[3] / "tests/contract/data/onchain-video"


def kept(base_fee, tip, max_fee):
    """The fees, where gas can be had."""
    assume(not max_fee or base_fee <= max_fee)
    return choose_fees(base_fee, tip, max_fee)


@given(base_fee=wei, tip=wei, max_fee=wei)
def test_the_cap_covers_the_tip_and_stays_below_the_maximum(base_fee, tip, max_fee):
    fees = kept(base_fee, tip, max_fee)
    assert 0 <= fees.tip <= fees.cap
    assert fees.tip <= tip
    assert base_fee <= fees.cap
    if max_fee:
        assert fees.cap <= max_fee
    else:
        assert fees == Fees(tip + 2 * base_fee, tip)


@given(base_fee=wei, tip=wei, max_fee=wei)
def test_replacements_rise_enough_for_every_node(base_fee, tip, max_fee):
    before = kept(base_fee, tip, max_fee)
    after = bump(before, max_fee)
    if after is None:
        assert max_fee
        assert before.cap * 9 > max_fee * 8 or before.cap + 1 > max_fee
        return
    for old, new in ((before.cap, after.cap), (before.tip, after.tip)):
        assert new > old
        assert new * 8 >= old * 9
        assert new * 10 >= old * 11
    assert after.tip <= after.cap
    if max_fee:
        assert after.cap <= max_fee


@given(first=st.tuples(wei, wei), second=st.tuples(wei, wei))
def test_the_highest_of_two_is_valid_too(first, second):
    offers = [Fees(max(pair), min(pair)) for pair in (first, second)]
    found = highest(*offers)
    assert found.tip <= found.cap
    assert all(found.cap >= fees.cap and found.tip >= fees.tip for fees in offers)


def test_the_cap_that_stops_all_of_the_reference_s_transactions_does_not_stop_ours():
    # Its fee cap was 2 x base fee, without the tip, below any maximum: 14 < 1000000000.
    assert choose_fees(7, GWEI, 50 * GWEI) == Fees(GWEI + 14, GWEI)
    assert choose_fees(7, GWEI, GWEI // 2) == Fees(GWEI // 2, GWEI // 2)


def test_gas_beyond_the_maximum_is_refused_and_said_in_gwei():
    text = r"^current gas price exceeds maximum gas price max=0\.1 GWei current=0\.100000001 GWei$"
    with pytest.raises(GasPriceTooHigh, match=text):
        choose_fees(100_000_001, 0, 100_000_000)
    with pytest.raises(GasPriceTooHigh, match="current=31 GWei"):
        choose_fees(None, 31 * GWEI, 30 * GWEI)


def test_a_chain_without_base_fee_has_one_price():
    assert choose_fees(None, 20, 30) == Fees(20)
    assert bump(Fees(20)) == Fees(23)
    assert bump(Fees(20), 22) is None
    assert highest(Fees(23), Fees(40)) == Fees(40)


def test_a_tip_of_nothing_rises():
    assert bump(Fees(200, 0)) == Fees(225, 1)


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0"), (1, "0.000000001"), (10 * GWEI, "10"), (1_500_000_000, "1.5")]
)
def test_gwei(amount, text):
    assert gwei(amount) == text


def test_recorded_transactions_offered_what_ours_would():
    """Of the reference without a maximum: type 2, cap = tip + 2 x base fee."""
    found = json.loads((recorded / "transactions.json").read_text())["transactions"]
    offers = {(each["maxFeePerGas"], each["maxPriorityFeePerGas"]) for each in found}
    offered = [(cap, tip) for cap, tip in offers if tip == GWEI]
    assert {each["type"] for each in found} == {2}
    assert offered
    for cap, tip in offered:
        base_fee, odd = divmod(cap - tip, 2)
        assert not odd
        assert choose_fees(base_fee, tip) == Fees(cap, tip)
