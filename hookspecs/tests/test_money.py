"""Money is exact, or an error."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from podium_hookspecs import Price, Units

amounts = st.integers(min_value=0, max_value=2**256)
wei = st.fractions(min_value=0)


@given(wei, amounts, amounts)
def test_cost_is_additive(per_unit, a, b):
    """Billed in pieces or at once, work costs the same to the last fraction of a wei."""
    price = Price(per_unit, "pixel")
    whole = price.cost(Units(a, "pixel") + Units(b, "pixel"))
    assert whole == price.cost(Units(a, "pixel")) + price.cost(Units(b, "pixel"))
    assert isinstance(whole, Fraction)


@given(st.integers(min_value=0))
def test_whole_wei_become_fractions(value):
    assert Price(value, "second").wei_per_unit == Fraction(value)
    assert type(Price(value, "second").wei_per_unit) is Fraction


@pytest.mark.parametrize("value", [0.5, Decimal("0.5"), "1", True, None])
def test_inexact_prices_are_refused(value):
    with pytest.raises(TypeError, match="wei_per_unit must be an int or a Fraction"):
        Price(value, "pixel")


def test_negative_prices_are_refused():
    with pytest.raises(ValueError, match="wei_per_unit must be >= 0"):
        Price(Fraction(-1, 3), "pixel")


@pytest.mark.parametrize("value", [1.0, True, "1", Fraction(1, 2)])
def test_amounts_are_whole(value):
    with pytest.raises(TypeError, match="amount must be an int"):
        Units(value, "pixel")


def test_negative_amounts_are_refused():
    with pytest.raises(ValueError, match="amount must be >= 0"):
        Units(-1, "pixel")


def test_units_never_mix():
    with pytest.raises(ValueError, match="cannot add second to pixel"):
        Units(1, "pixel") + Units(1, "second")
    with pytest.raises(ValueError, match="price is per token, not per second"):
        Price(1, "token").cost(Units(1, "second"))


@pytest.mark.parametrize("make", [lambda: Units(1, ""), lambda: Price(1, "")])
def test_a_unit_has_a_name(make):
    with pytest.raises(ValueError, match="unit"):
        make()
