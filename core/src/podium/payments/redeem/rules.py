"""When a winning ticket is worth a transaction. Pure arithmetic, no I/O (payments 6.4, 6.5)."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from attrs import frozen

from podium.payments.params import REDEEM_GAS
from podium.payments.senders import reserve_share

if TYPE_CHECKING:
    from collections.abc import Iterable

    from podium.model import WinningTicket
    from podium.payments.ports import SenderFunds
    from podium.payments.redeem.ports import Situation

PAUSED = "system is paused"
NOT_INITIALIZED = "current round is not initialized"
GAS_ABOVE_MAXIMUM = "gas price is above the maximum"
GAS_ABOVE_USUAL = "gas price is far above the usual"
NOT_WORTH_IT = "face value does not cover the gas"
UNLOCKED = "sender is unlocked"
NO_FUNDS = "sender funds do not cover the gas"
CANNOT_PAY = "the account cannot pay for gas"
FEW_FUNDS = "sender funds do not cover the face value"
EXPIRED = "ticket is expired"

MAX_GAS = 28_000_000
"""The gas of one transaction: below what a block of any known network takes."""

_URGENT_PART = 4


@frozen(kw_only=True)
class RedeemSettings:
    """Bounds of redemption.

    Attributes:
        redeem_gas: Units of gas that one redemption is reckoned with.
        batch: Tickets of one transaction, at most.
        in_flight: Transactions at a time.
        checks: Dry runs at a time.
        urgent_blocks: L1 blocks before a ticket's end from which only hard reasons hold it up;
            a quarter of a round where rounds are short.
        sending_blocks: L1 blocks that a transaction may need.
        patience: Gas dearer than this many times the usual is waited out, while there is time.
        retry_min_s: The first wait after a try that brought nothing; it doubles.
        retry_max_s: The longest wait.
        urgent_retry_s: The longest wait of an urgent ticket.
        outage_retry_s: The longest wait where the chain could not be asked.
        poll_s: The longest pause between two looks at the queue.
        gather_s: How long to gather, after a wake-up, what else there is.
        check_wait_s: How long a look at the queue waits for its dry runs; later ones come next.
        call_timeout_s: For one question to the chain.
        reorg_wait_s: How long a dropped transaction has to be mined again by itself.
    """

    redeem_gas: int = REDEEM_GAS
    batch: int = 20
    in_flight: int = 32
    checks: int = 16
    urgent_blocks: int = 300
    sending_blocks: int = 5
    patience: int = 3
    retry_min_s: float = 2.0
    retry_max_s: float = 300.0
    urgent_retry_s: float = 5.0
    outage_retry_s: float = 15.0
    poll_s: float = 5.0
    gather_s: float = 0.05
    check_wait_s: float = 1.0
    call_timeout_s: float = 30.0
    reorg_wait_s: float = 15.0

    @property
    def batch_size(self) -> int:
        """Tickets of one transaction, as far as its gas allows."""
        return max(1, min(self.batch, MAX_GAS // max(1, self.redeem_gas)))

    def backoff_s(self, attempts: int, jitter: float, longest_s: float) -> float:
        """Return how long to wait after so many tries in vain.

        Args:
            attempts: At least 1.
            jitter: From 0 to 1: spreads those that failed together.
            longest_s: The longest wait.
        """
        doubled_s = self.retry_min_s * (1 << min(attempts - 1, 32))
        return min(doubled_s, longest_s) * (0.5 + jitter / 2)


class Verdict(Enum):
    """What to do about a ticket now."""

    WAIT = "wait"
    """Nothing: its time has not come."""

    BLOCK = "block"
    """Nothing, and the operator should see why."""

    READY = "ready"
    """Redeem it, if its sender's funds allow."""

    EXPIRED = "expired"
    """The contract takes it no more."""


@frozen
class Decision:
    """What to do about a ticket, and why.

    Attributes:
        verdict: What to do.
        reason: Why not.
        gas_price_limit: The gas price at which it would be ready, where that is what it lacks.
    """

    verdict: Verdict
    reason: str = ""
    gas_price_limit: int = 0


_WAIT = Decision(Verdict.WAIT)
_READY = Decision(Verdict.READY)


def decide(ticket: WinningTicket, now: Situation, settings: RedeemSettings) -> Decision:
    """Judge a ticket by all that is known without asking the chain."""
    if now.current_round >= ticket.creation_round + now.validity_rounds:
        return Decision(Verdict.EXPIRED, EXPIRED)
    if now.l1_block < ticket.expiration_block and not _cannot_wait(ticket, now, settings):
        return _WAIT  # its randomness is still a secret: its sender would only send losers
    if now.paused:
        return Decision(Verdict.BLOCK, PAUSED)
    if not now.round_initialized:
        return Decision(Verdict.BLOCK, NOT_INITIALIZED)
    return _judge_gas(ticket, now, settings)


def _judge_gas(ticket: WinningTicket, now: Situation, settings: RedeemSettings) -> Decision:
    worth = worth_limit(ticket, settings)
    if ticket.face_value <= settings.redeem_gas * now.gas_price:
        return Decision(Verdict.BLOCK, NOT_WORTH_IT, worth)
    if now.max_gas_price and now.gas_price > now.max_gas_price:
        return Decision(Verdict.BLOCK, GAS_ABOVE_MAXIMUM, min(worth, now.max_gas_price))
    calm = settings.patience * now.usual_gas_price
    if calm and now.gas_price > calm and not is_urgent(ticket, now, settings):
        return Decision(Verdict.BLOCK, GAS_ABOVE_USUAL, min(worth, calm))
    return _READY


def worth_limit(ticket: WinningTicket, settings: RedeemSettings) -> int:
    """Return the highest gas price, in wei, at which a redemption brings more than it costs."""
    return max(0, ticket.face_value - 1) // max(1, settings.redeem_gas)


def is_urgent(
    ticket: WinningTicket, now: Situation, settings: RedeemSettings, withdraw_round: int = 0
) -> bool:
    """Return whether a ticket nears its end.

    Args:
        ticket: Whose end.
        now: The chain.
        settings: How near.
        withdraw_round: The round from which its sender may withdraw; 0: it has not unlocked.
    """
    left = _blocks_left(ticket, now, withdraw_round)
    return left <= min(settings.urgent_blocks, now.round_length // _URGENT_PART)


def _blocks_left(ticket: WinningTicket, now: Situation, withdraw_round: int = 0) -> int:
    """Return the L1 blocks in which a ticket can still be redeemed."""
    end = ticket.creation_round + now.validity_rounds
    if withdraw_round:
        end = min(end, withdraw_round)
    return (end - 1 - now.current_round) * now.round_length + now.blocks_left


def _cannot_wait(ticket: WinningTicket, now: Situation, settings: RedeemSettings) -> bool:
    """Return whether a ticket ends before, or right after, its parameters have expired.

    That happens where rounds are initialized late: it was bound to a round that was nearly over.
    """
    end = now.l1_block + _blocks_left(ticket, now)
    outlived = ticket.expiration_block + settings.sending_blocks >= end
    return outlived and is_urgent(ticket, now, settings)


@frozen
class Wish:
    """A ticket that asks for its sender's funds."""

    face_value: int
    urgent: bool


def allot(
    wishes: Iterable[Wish], funds: SenderFunds, *, active: bool, current_round: int, tx_cost: int
) -> list[str]:
    """Share a sender's funds among tickets, in their order.

    A redemption uses a ticket up even where it pays less than the face value. So one that is not
    covered waits, as long as it can, and those behind it go first where they are.

    Args:
        wishes: The tickets.
        funds: What the sender has; ``pending`` is taken already.
        active: Whether the recipient may claim from the reserve.
        current_round: The current round.
        tx_cost: Wei that a redemption costs.

    Returns:
        For each ticket why it has to wait; empty: redeem it.
    """
    if 0 < funds.withdraw_round <= current_round:
        return [UNLOCKED for _ in wishes]
    left = funds.deposit - funds.pending
    if active:
        left += max(0, reserve_share(funds))
    reasons = []
    for wish in wishes:
        reason = ""
        if left <= tx_cost:
            reason = NO_FUNDS
        elif left < wish.face_value and not wish.urgent:
            reason = FEW_FUNDS
        else:
            left -= min(left, wish.face_value)
        reasons.append(reason)
    return reasons
