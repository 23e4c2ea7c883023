"""What a transaction offers for gas: arithmetic over whole wei, nothing else (payments 7.6)."""

from __future__ import annotations

from attrs import frozen

from podium.errors import GasPriceTooHigh

BASE_FEE_FACTOR = 2
RISE_NUMERATOR = 9
RISE_DENOMINATOR = 8
_GWEI = 10**9


@frozen
class Fees:
    """What is offered for one unit of gas.

    Attributes:
        cap: Wei, all that is paid at most (``maxFeePerGas``, or ``gasPrice`` where ``tip`` is
            None).
        tip: Wei of it for the block's maker at most; None on a chain without base fee.
    """

    cap: int
    tip: int | None = None


def choose_fees(base_fee: int | None, tip: int, max_fee: int = 0) -> Fees:
    """Return the fees of a new transaction.

    The cap never falls below the tip: the reference leaves the tip out when there is a maximum,
    and then none of its transactions can be sent (payments 7.6).

    Args:
        base_fee: Wei, of the newest block; None on a chain without one.
        tip: Wei, what the chain suggests; the whole gas price on a chain without base fee.
        max_fee: Wei for one unit of gas that must not be passed; 0: no maximum.

    Raises:
        GasPriceTooHigh: gas cannot be had below the maximum now.
    """
    price = tip if base_fee is None else base_fee
    if max_fee and price > max_fee:
        msg = (
            "current gas price exceeds maximum gas price"
            f" max={gwei(max_fee)} GWei current={gwei(price)} GWei"
        )
        raise GasPriceTooHigh(msg)
    if base_fee is None:
        return Fees(tip)
    cap = tip + BASE_FEE_FACTOR * base_fee
    if max_fee:
        cap = min(cap, max_fee)
    return Fees(cap, min(tip, cap))


def bump(fees: Fees, max_fee: int = 0) -> Fees | None:
    """Return fees that replace a waiting transaction's, None if they would pass the maximum.

    Nodes want both to rise, by a tenth at least: these rise by an eighth, and by 1 wei at least,
    since a tip of 0, usual on Arbitrum, stays 0 otherwise.
    """
    cap = _risen(fees.cap)
    if max_fee and cap > max_fee:
        return None
    return Fees(cap, None if fees.tip is None else _risen(fees.tip))


def highest(first: Fees, second: Fees) -> Fees:
    """Return the larger of each; both are of one kind of chain."""
    tip = None if first.tip is None else max(first.tip, second.tip or 0)
    return Fees(max(first.cap, second.cap), tip)


def gwei(wei: int) -> str:
    """Return an amount in gwei, exact, without trailing zeros."""
    whole, rest = divmod(wei, _GWEI)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")


def _risen(wei: int) -> int:
    return max(-(-wei * RISE_NUMERATOR // RISE_DENOMINATOR), wei + 1)
