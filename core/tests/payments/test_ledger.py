"""Accounts: exact, bounded, forgotten when idle (payments 5.1)."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from podium.model import MAX_WIN_PROB
from podium.payments import Ledger

A, B = b"\x0a" * 20, b"\x0b" * 20


class Clock:
    def __init__(self):
        self.s = 1000.0

    def __call__(self):
        return self.s


def test_credit_debit_and_negative_balances():
    ledger = Ledger()
    assert ledger.balance(A, "s") is None
    ledger.credit(A, "s", Fraction(5, 3))
    ledger.debit(A, "s", Fraction(7, 3))
    assert ledger.balance(A, "s") == Fraction(-2, 3)
    ledger.debit(B, "s", Fraction(1))
    assert ledger.balance(B, "s") == -1
    assert ledger.balance(A, "other") is None


def test_the_first_price_stays():
    ledger = Ledger()
    ledger.credit(A, "s", Fraction(1))
    assert ledger.fixed_price(A, "s") is None
    ledger.credit(A, "s", Fraction(1), Fraction(3))
    ledger.credit(A, "s", Fraction(1), Fraction(4))
    assert ledger.fixed_price(A, "s") == 3
    assert ledger.fixed_price(B, "s") is None


def test_idle_accounts_are_forgotten_with_their_price():
    clock = Clock()
    ledger = Ledger(now=clock)
    ledger.credit(A, "s", Fraction(1), Fraction(3))
    clock.s += 300
    ledger.credit(B, "s", Fraction(1))
    clock.s += 300
    assert ledger.balance(A, "s") == 1
    clock.s += 1
    assert ledger.balance(A, "s") is None
    assert ledger.fixed_price(A, "s") is None
    assert len(ledger) == 2
    ledger.credit(A, "s", Fraction(2))
    assert ledger.balance(A, "s") == 2
    assert ledger.fixed_price(A, "s") is None
    assert ledger.balance(B, "s") == 1


def test_the_number_of_accounts_is_bounded():
    ledger = Ledger(max_accounts=3)
    for key in "abc":
        ledger.credit(A, key, Fraction(1))
    ledger.credit(A, "a", Fraction(1))
    ledger.credit(A, "d", Fraction(1))
    assert len(ledger) == 3
    assert ledger.balance(A, "b") is None
    assert ledger.balance(A, "a") == 2


moves = st.lists(
    st.tuples(
        st.sampled_from([A, B]),
        st.sampled_from("st"),
        st.integers(0, 2**200),
        st.sampled_from([MAX_WIN_PROB, 1, 200, 1000]),
        st.booleans(),
    ),
    max_size=60,
)


@given(moves)
def test_nothing_is_lost_or_made(steps):
    ledger, expected = Ledger(), {}
    for sender, key, number, divisor, is_credit in steps:
        amount = Fraction(number, divisor)
        (ledger.credit if is_credit else ledger.debit)(sender, key, amount)
        moved = amount if is_credit else -amount
        expected[sender, key] = expected.get((sender, key), Fraction(0)) + moved
    assert {name: ledger.balance(*name) for name in expected} == expected
    for name in expected:
        assert MAX_WIN_PROB * 1000 % ledger.balance(*name).denominator == 0
