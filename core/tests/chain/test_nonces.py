"""Nonces: none twice, none left out."""

from hypothesis import given
from hypothesis import strategies as st
from podium.chain.nonces import Nonces


@given(pending=st.integers(0, 50), held=st.sets(st.integers(0, 60)), count=st.integers(1, 20))
def test_none_is_given_twice(pending, held, count):
    nonces = Nonces()
    for nonce in held:
        nonces.hold(nonce)
    given = [nonces.take(pending) for _ in range(count)]
    assert len(set(given) | held) == count + len(held)
    assert min(given) >= pending
    assert set(range(pending, max(given) + 1)) <= set(given) | held


def test_one_that_was_given_back_comes_first():
    nonces = Nonces()
    assert [nonces.take(7) for _ in range(3)] == [7, 8, 9]
    nonces.give_back(8)
    assert [nonces.take(7), nonces.take(7)] == [8, 10]


def test_an_endpoint_that_lags_behind_brings_no_nonce_back():
    nonces = Nonces()
    assert nonces.take(4) == 4
    nonces.spend(4)
    assert nonces.take(4) == 5


def test_the_gap_is_what_all_of_ours_wait_for():
    nonces = Nonces()
    assert nonces.gap(3) is None
    nonces.hold(4)
    nonces.hold(6)
    assert nonces.gap(3) == 3
    assert nonces.gap(4) is None  # 4 may be mined any moment
    nonces.spend(4)
    assert nonces.gap(5) == 5
