"""Amounts as people write them, and as contracts count them: exact both ways, no floats.

ETH and LPT both have 18 decimals; a contract counts their smallest parts (wei, and LPTU for LPT)
as integers. Shares are counted in millionths.
"""

from __future__ import annotations

import re

DECIMALS = 18
WHOLE: int = 10**DECIMALS
"""Wei in one ETH, and smallest parts in one LPT."""

WHOLE_WEI = {"wei": 1, "eth": WHOLE}
"""Currencies, in lower case, that are whole wei: they need no price feed."""

GWEI = 10**9
PERCENT = 10_000
"""Millionths in one percent."""

_NUMBER = re.compile(r"([0-9]+)(?:\.([0-9]+))?")


def _parse(text: str, decimals: int, what: str) -> int:
    """Read a plain decimal number as an integer count of ``10**-decimals``."""
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'"{text}" is no {what}: write digits, as in 12 or 0.5')
    whole, fraction = match[1], (match[2] or "").rstrip("0")
    if len(fraction) > decimals:
        raise ValueError(f'"{text}" has more than {decimals} decimals')
    return int(whole + fraction.ljust(decimals, "0"))


def _format(count: int, decimals: int) -> str:
    whole, rest = divmod(abs(count), 10**decimals)
    fraction = str(rest).rjust(decimals, "0").rstrip("0")
    sign = "-" if count < 0 else ""
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def parse_amount(text: str, symbol: str = "") -> int:
    """Read an amount of ETH or LPT, ``12.5`` or ``12.5 LPT``, as its smallest parts.

    Args:
        text: Digits, with a point at most; no sign, exponent or thousands separator.
        symbol: ``"ETH"``, ``"LPT"``: may follow the number.

    Raises:
        ValueError: it is no such number, or finer than the smallest part.
    """
    number = text.strip()
    if symbol and number.upper().endswith(symbol.upper()):
        number = number[: -len(symbol)]
    return _parse(number, DECIMALS, f"amount of {symbol}" if symbol else "amount")


def format_amount(parts: int, symbol: str) -> str:
    """Return an amount with its symbol, exactly: ``12.5 LPT``."""
    return f"{_format(parts, DECIMALS)} {symbol}"


def format_eth(wei: int) -> str:
    """Return wei as exact ETH: ``0.035 ETH``."""
    return format_amount(wei, "ETH")


def format_lpt(lptu: int) -> str:
    """Return the smallest parts of LPT as exact LPT: ``1000 LPT``."""
    return format_amount(lptu, "LPT")


def format_gwei(wei: int) -> str:
    """Return wei, as prices of gas are given: ``1.5 gwei``."""
    return f"{_format(wei, 9)} gwei"


def parse_percent(text: str) -> int:
    """Read a share, ``12.5`` or ``12.5%``, as millionths.

    Raises:
        ValueError: it is no number, finer than a millionth, or above 100 %.
    """
    millionths = _parse(text.strip().removesuffix("%"), 4, "percentage")
    if millionths > 100 * PERCENT:
        raise ValueError(f'"{text}" is more than 100 %')
    return millionths


def format_percent(millionths: int) -> str:
    """Return millionths as a percentage, exactly: ``12.5 %``."""
    return f"{_format(millionths, 4)} %"
