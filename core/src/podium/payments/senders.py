"""How much a sender's funds are good for. Pure arithmetic in wei (payments 6.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from podium.payments.ports import SenderFunds

_SAFE_DEPOSITS = 3
"""A deposit this many times the pending redemptions will pay them without the reserve."""


def reserve_share(funds: SenderFunds) -> int:
    """Return what is left of our share of the sender's reserve; may be negative."""
    if funds.pool_size == 0:
        return 0
    total = funds.reserve_remaining + funds.reserve_claimed
    return total // funds.pool_size - funds.claimed_by_us


def max_float(funds: SenderFunds) -> int:
    """Return the largest face value that the sender's reserve guarantees us.

    The deposit does not count: others may draw it empty at any time.

    Source: go-livepeer pm/sendermonitor.go, maxFloat.
    """
    share = reserve_share(funds)
    if funds.pending > 0 and funds.deposit >= _SAFE_DEPOSITS * funds.pending:
        return share
    return share - funds.pending


def available_funds(funds: SenderFunds) -> int:
    """Return what a redemption could be paid from now."""
    return reserve_share(funds) + funds.deposit - funds.pending


def unlocks_soon(funds: SenderFunds, current_round: int) -> bool:
    """Return whether the sender may withdraw all by the next round."""
    return 0 < funds.withdraw_round <= current_round + 1
