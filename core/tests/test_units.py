"""Amounts and shares as text: exact both ways, and strict."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from podium.units import (
    GWEI,
    WHOLE,
    format_amount,
    format_eth,
    format_gwei,
    format_lpt,
    format_percent,
    parse_amount,
    parse_percent,
)


@given(st.integers(0, 2**256 - 1))
def test_amounts_come_back(parts):
    assert parse_amount(format_amount(parts, "LPT"), "LPT") == parts
    assert parse_amount(format_amount(parts, "").strip()) == parts


@given(st.integers(0, 1_000_000))
def test_shares_come_back(millionths):
    assert parse_percent(format_percent(millionths).replace(" ", "")) == millionths


def test_how_they_look():
    assert format_eth(35 * 10**15) == "0.035 ETH"
    assert format_eth(1) == "0.000000000000000001 ETH"
    assert format_lpt(1000 * WHOLE) == "1000 LPT"
    assert format_lpt(-WHOLE // 2) == "-0.5 LPT"
    assert format_gwei(3 * GWEI // 2) == "1.5 gwei"
    assert format_percent(125_000) == "12.5 %"
    assert format_percent(0) == "0 %"


@pytest.mark.parametrize(
    ("text", "parts"),
    [("1", WHOLE), ("0.5", WHOLE // 2), (" 2 lpt ", 2 * WHOLE), ("1.50 LPT", 3 * WHOLE // 2),
     ("007", 7 * WHOLE), ("0.000000000000000001", 1), ("1." + "0" * 30, WHOLE)],
)  # fmt: skip
def test_what_is_an_amount(text, parts):
    assert parse_amount(text, "LPT") == parts


@pytest.mark.parametrize(
    "text",
    ["", "LPT", "-1", "+1", "1e3", "1,000", "1_000", ".5", "5.", "1.2.3", "0x10", "\u0661", "1 ETH",
     "0.0000000000000000001", "nan", "inf"],
)  # fmt: skip
def test_what_is_none(text):
    with pytest.raises(ValueError, match=r"is no amount|decimals"):
        parse_amount(text, "LPT")


@pytest.mark.parametrize(("text", "millionths"), [("12.5", 125_000), ("100 %", 10**6), ("0", 0)])
def test_what_is_a_share(text, millionths):
    assert parse_percent(text) == millionths


@pytest.mark.parametrize("text", ["100.0001", "-1", "0.00001", "x", "", "%", "101"])
def test_what_is_no_share(text):
    with pytest.raises(ValueError, match=r"percentage|decimals|100 %"):
        parse_percent(text)
