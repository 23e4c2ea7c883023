"""What an operator can have done on chain: each action plans what it takes.

``prepare`` reads the chain and plans; ``execute`` carries the plan out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from podium.chain.contracts import BondingManager
from podium.crypto import ZERO_ADDRESS, checksum_address
from podium.protocol.draft import Draft, Gas, initialize_request
from podium.protocol.plan import Action, Plan, Problem, Progress, Step, execute, prepare
from podium.protocol.registration import (
    Activate,
    Deactivate,
    SetRates,
    SetServiceUri,
    rebond,
    unbond,
)
from podium.units import format_eth, format_lpt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podium.protocol.state import AccountState, UnbondingLock

__all__ = [
    "Action",
    "Activate",
    "Bond",
    "CallReward",
    "Deactivate",
    "InitializeRound",
    "Plan",
    "Problem",
    "Progress",
    "Rebond",
    "SetRates",
    "SetServiceUri",
    "Step",
    "Unbond",
    "WithdrawFees",
    "WithdrawStake",
    "execute",
    "prepare",
]


def _needs_amount(draft: Draft, amount: int) -> bool:
    if amount <= 0:
        draft.problem("bad_amount", "the amount must be more than zero")
    return amount > 0


@frozen
class Bond:
    """Bond more LPT to whom the account is bonded already; at first to itself.

    Attributes:
        amount: LPTU to add.
    """

    amount: int

    def plan(self, state: AccountState) -> Plan:
        """Return what it takes."""
        draft = Draft("bond", state)
        draft.needs_lpt(self.amount)
        delegate = state.delegator.delegate
        if delegate == ZERO_ADDRESS:
            delegate = state.address
            draft.warn("this makes the account an orchestrator without rates: activate sets them")
        if _needs_amount(draft, self.amount) and draft.needs_protocol():
            draft.bond(self.amount, delegate)
        return draft.finish()


@frozen
class Unbond:
    """Take LPT out of the stake; it can be withdrawn some rounds later.

    Attributes:
        amount: LPTU.
    """

    amount: int

    def plan(self, state: AccountState) -> Plan:
        """Return what it takes."""
        draft = Draft("unbond", state)
        delegator = state.delegator
        if not delegator.bonded:
            draft.problem("not_bonded", "this account has no stake")
        elif self.amount > delegator.stake:
            draft.problem("insufficient_stake", f"the stake is {format_lpt(delegator.stake)}")
        elif delegator.start_round > state.round.number:
            draft.problem(
                "bond_pending",
                f"the stake can be unbonded from round {delegator.start_round} on",
            )
        elif _needs_amount(draft, self.amount) and draft.needs_protocol():
            unbond(draft, self.amount)
        if self.amount == delegator.stake and state.transcoder.registered:
            draft.warn("this is the whole stake: the account stops being an orchestrator")
        return draft.finish()


@frozen
class Rebond:
    """Bond stake again that was unbonded and is not withdrawn.

    Attributes:
        lock_id: Its unbonding lock.
    """

    lock_id: int

    def plan(self, state: AccountState) -> Plan:
        """Return what it takes."""
        draft = Draft("rebond", state)
        lock = state.delegator.lock(self.lock_id)
        if lock is None:
            draft.problem("no_such_lock", _no_lock(self.lock_id, state))
        elif draft.needs_protocol():
            rebond(draft, lock.id, lock.amount)
        return draft.finish()


@frozen
class WithdrawStake:
    """Take unbonded stake out, once its time has come.

    Attributes:
        lock_ids: Unbonding locks; empty: all that can be withdrawn now.
    """

    lock_ids: Sequence[int] = ()

    def plan(self, state: AccountState) -> Plan:
        """Return what it takes."""
        draft = Draft("withdraw_stake", state)
        locks = self._locks(draft)
        if not locks and not draft.problems:
            draft.problem("nothing_to_withdraw", _next_withdrawal(state))
        if draft.needs_protocol():
            for lock in locks:
                _withdraw(draft, lock)
        return draft.finish()

    def _locks(self, draft: Draft) -> list[UnbondingLock]:
        state, number = draft.state, draft.state.round.number
        if not self.lock_ids:
            return [lock for lock in state.delegator.locks if lock.withdraw_round <= number]
        found = []
        for lock_id in dict.fromkeys(self.lock_ids):
            lock = state.delegator.lock(lock_id)
            if lock is None:
                draft.problem("no_such_lock", _no_lock(lock_id, state))
            elif lock.withdraw_round > number:
                draft.problem(
                    "lock_pending",
                    f"lock {lock_id} can be withdrawn from round {lock.withdraw_round} on;"
                    f" this is round {number}",
                )
            else:
                found.append(lock)
        return found


def _withdraw(draft: Draft, lock: UnbondingLock) -> None:
    draft.add_bonding(
        BondingManager.withdraw_stake.encode(lock.id),
        f"withdraw_stake:{lock.id}",
        Gas.withdraw_stake,
        f"Withdraw the {format_lpt(lock.amount)} of lock {lock.id}",
        lambda now: now.delegator.lock(lock.id) is None,
    )


def _no_lock(lock_id: int, state: AccountState) -> str:
    known = ", ".join(str(lock.id) for lock in state.delegator.locks)
    return f"there is no unbonding lock {lock_id}; there are: {known or 'none'}"


def _next_withdrawal(state: AccountState) -> str:
    locks = state.delegator.locks
    if not locks:
        return "there is no unbonded stake to withdraw"
    first = min(lock.withdraw_round for lock in locks)
    return f"no stake can be withdrawn before round {first}; this is round {state.round.number}"


@frozen
class WithdrawFees:
    """Take earned ETH out.

    Attributes:
        recipient: 20 bytes, who gets it.
        amount: Wei; None: all of it.
    """

    recipient: bytes
    amount: int | None = None

    def plan(self, state: AccountState) -> Plan:
        """Return what it takes."""
        draft = Draft("withdraw_fees", state)
        fees = state.delegator.fees
        amount = fees if self.amount is None else self.amount
        if len(self.recipient) != len(ZERO_ADDRESS) or self.recipient == ZERO_ADDRESS:
            draft.problem("bad_recipient", "give the address that gets the fees")
            return draft.finish()
        if not fees:
            draft.problem("nothing_to_withdraw", "there are no fees to withdraw")
        elif amount > fees:
            draft.problem("insufficient_fees", f"there are {format_eth(fees)} of fees, not more")
        elif _needs_amount(draft, amount) and draft.needs_protocol():
            self._withdraw(draft, amount)
        return draft.finish()

    def _withdraw(self, draft: Draft, amount: int) -> None:
        own = self.recipient == draft.state.address
        if not own:
            draft.warn(f"{checksum_address(self.recipient)} is another account than this one")
        draft.add_bonding(
            BondingManager.withdraw_fees.encode(self.recipient, amount),
            f"withdraw_fees:{self.recipient.hex()}:{amount}",
            Gas.withdraw_fees,
            f"Withdraw {format_eth(amount)} of fees to {checksum_address(self.recipient)}",
        )


@frozen
class CallReward:
    """Call the round's reward."""

    def plan(self, state: AccountState) -> Plan:
        """Return what it takes; nothing where it was called."""
        draft = Draft("call_reward", state)
        coder, number = state.transcoder, state.round.number
        if not draft.needs_protocol() or (state.rewarded and coder.active):
            return draft.finish()
        if not coder.active:
            text = "this account is not an orchestrator: activate it"
            if coder.registered and coder.activation_round > number:
                text = f"this orchestrator becomes active in round {coder.activation_round}"
            elif coder.registered:
                text = "this orchestrator is not in the active set: it needs more stake"
            draft.problem("not_active", text)
        else:
            draft.reward()
        return draft.finish()


@frozen
class InitializeRound:
    """Initialize the round, which anybody may do, once."""

    def plan(self, state: AccountState) -> Plan:
        """Return what it takes; nothing where it is initialized."""
        draft = Draft("initialize_round", state)
        round_ = state.round
        if round_.paused:
            draft.problem("paused", "the protocol is paused: try again when it is not")
        elif not round_.initialized:
            draft.add(
                initialize_request(state.contracts, round_.number),
                Gas.initialize_round,
                f"Initialize round {round_.number}",
                lambda now: now.round.number != round_.number or now.round.initialized,
            )
        return draft.finish()
