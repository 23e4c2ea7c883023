"""What was read from the contracts at one block; frozen, so that readers see no mixture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from podium.chain.contracts import PERC_DIVISOR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KEPT_ROUNDS = 4
"""Rounds whose block hashes are held: more than tickets are valid for."""


@frozen
class ProtocolState:
    """Rounds, and what is common to all (contracts 3).

    Attributes:
        last_initialized_round: Tickets are bound to it.
        round_number: The round of the block this was read at, initialized or not.
        start_block: That round's first L1 block.
        round_length: L1 blocks in a round.
        lock_amount: The end of a round in which rates cannot be set, in parts of 1e6.
        hashes: Stored 32-byte block hash of the newest rounds; zeros for one that was skipped.
        pool_size: Number of orchestrators in the list for the next round; they share reserves.
        pool_max_size: The most there may be.
        ticket_validity_rounds: How many rounds a ticket can be redeemed in, its own included.
        unlock_rounds: How long a sender waits between unlock and withdrawal.
        unbonding_rounds: How long unbonded stake waits.
        paused: The protocol refuses every change.
    """

    last_initialized_round: int
    round_number: int
    start_block: int
    round_length: int
    lock_amount: int
    hashes: Mapping[int, bytes] = field(repr=False)
    pool_size: int
    pool_max_size: int
    ticket_validity_rounds: int
    unlock_rounds: int
    unbonding_rounds: int
    paused: bool

    def _rounds_since(self, l1_block: int) -> int:
        return (l1_block - self.start_block) // self.round_length if self.round_length else 0

    def round_at(self, l1_block: int) -> int:
        """Return the round that an L1 block belongs to, as ``currentRound()`` counts."""
        return self.round_number + self._rounds_since(l1_block)

    def start_of_round(self, l1_block: int) -> int:
        """Return the first L1 block of the round that an L1 block belongs to."""
        return self.start_block + self._rounds_since(l1_block) * self.round_length

    def locked_at(self, l1_block: int) -> bool:
        """Return whether rates cannot be set, as ``currentRoundLocked()`` decides."""
        open_blocks = self.round_length - self.round_length * self.lock_amount // PERC_DIVISOR
        return l1_block - self.start_of_round(l1_block) >= open_blocks

    def with_round(self, number: int, block_hash: bytes) -> ProtocolState:
        """Return this with a round initialized, as its event tells."""
        kept = {n: h for n, h in self.hashes.items() if number - KEPT_ROUNDS < n < number}
        return evolve(self, last_initialized_round=number, hashes={**kept, number: block_hash})


@frozen
class SenderState:
    """A sender's money, wei (contracts 4).

    Attributes:
        deposit: Pays winning tickets first.
        withdraw_round: The round from which it may withdraw; 0: it has not unlocked.
        reserve_remaining: The reserve that is left, for all recipients together.
        reserve_claimed: What recipients have claimed of the reserve in this round.
        claimed_by_us: Our own part of that.
    """

    deposit: int
    withdraw_round: int
    reserve_remaining: int
    reserve_claimed: int
    claimed_by_us: int

    @property
    def has_claims(self) -> bool:
        """Whether a new round changes anything: claims begin again at zero."""
        return bool(self.reserve_claimed or self.claimed_by_us)


@frozen
class UnbondingLock:
    """Stake that was unbonded and not yet taken.

    Attributes:
        id: Its number.
        amount: LPT, in parts of 1e18.
        withdraw_round: The round from which it can be withdrawn.
    """

    id: int
    amount: int
    withdraw_round: int


@frozen
class OrchestratorState:
    """Our own place in the protocol (contracts 5); LPT in parts of 1e18, ETH in wei.

    Attributes:
        address: 20 bytes.
        activation_round: First round in the active set; 0 when it never was.
        deactivation_round: First round outside it again; 2**256 - 1 while it stays.
        last_reward_round: The last round it called reward in.
        reward_cut: Its own part of rewards, in parts of 1e6.
        fee_share: The delegators' part of fees, in parts of 1e6.
        last_active_stake_update_round: Where its stake for a reward is found.
        bonded: Its own stake, without what was not claimed yet.
        delegate: 20 bytes, whom it is bonded to; zeros when it is not.
        total_stake: All stake that is delegated to it.
        start_round: From when its bond counts.
        last_claim_round: Up to when its earnings were claimed.
        next_lock_id: Number of the next unbonding lock.
        stake: Its own stake with rewards not claimed yet.
        pending_fees: Fees it can withdraw.
        service_uri: Where gateways are sent; empty when none is registered.
        lpt_balance: Unbonded tokens of the account.
        eth_balance: Wei of the account.
        locks: Its open unbonding locks, by number.
    """

    address: bytes
    activation_round: int
    deactivation_round: int
    last_reward_round: int
    reward_cut: int
    fee_share: int
    last_active_stake_update_round: int
    bonded: int
    delegate: bytes
    total_stake: int
    start_round: int
    last_claim_round: int
    next_lock_id: int
    stake: int
    pending_fees: int
    service_uri: str
    lpt_balance: int
    eth_balance: int
    locks: Sequence[UnbondingLock] = ()

    @property
    def registered(self) -> bool:
        """Whether it is a transcoder: bonded to itself."""
        return self.bonded > 0 and self.delegate == self.address

    def active_in(self, round_number: int) -> bool:
        """Return whether it is in a round's active set."""
        return self.activation_round <= round_number < self.deactivation_round
