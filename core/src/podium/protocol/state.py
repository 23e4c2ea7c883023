"""Everything on chain that an operator's action depends on, read at one block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from podium.chain.contracts import (
    NEVER,
    PERC_DIVISOR,
    BondingManager,
    Controller,
    Minter,
    RoundsManager,
    ServiceRegistry,
    Token,
)
from podium.errors import Reverted
from podium.protocol.hints import Pool, predict_reward, read_pool
from podium.protocol.reading import BlockReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podium.chain.ports import Rpc
    from podium.chain.reader import Addresses

MAX_LOCKS = 500
"""The newest unbonding locks that are looked at."""


@frozen
class RoundState:
    """The round.

    Attributes:
        number: The current one, initialized or not.
        initialized: Somebody has called ``initializeRound`` in it.
        locked: Too late in it to change the rates.
        block: The L1 block, as contracts see it.
        start_block: L1 block it began at.
        length: L1 blocks.
        paused: The protocol is paused: nothing goes.
    """

    number: int
    initialized: bool
    locked: bool
    block: int
    start_block: int
    length: int
    paused: bool = False

    @property
    def blocks_left(self) -> int:
        """L1 blocks until the next one."""
        return max(0, self.start_block + self.length - self.block)


@frozen
class UnbondingLock:
    """Stake on its way out.

    Attributes:
        id: Counts up from 0 for each delegator.
        amount: LPTU.
        withdraw_round: From this round on it can be withdrawn.
    """

    id: int
    amount: int
    withdraw_round: int


@frozen
class TranscoderState:
    """An orchestrator, as the BondingManager knows it.

    Attributes:
        registered: It is bonded to itself.
        active: It is in the active set of this round.
        last_reward_round: The last round it called reward in.
        reward_cut: Millionths of the rewards it keeps.
        fee_share: Millionths of the fees that go to delegators.
        activation_round: First round it is active in.
        deactivation_round: First one it is no longer; ``NEVER``.
        total_stake: LPTU, its own and its delegators'.
        round_stake: LPTU that counts in this round.
    """

    registered: bool = False
    active: bool = False
    last_reward_round: int = 0
    reward_cut: int = 0
    fee_share: int = 0
    activation_round: int = 0
    deactivation_round: int = 0
    total_stake: int = 0
    round_stake: int = 0

    @property
    def fee_cut(self) -> int:
        """Millionths of the fees it keeps."""
        return PERC_DIVISOR - self.fee_share

    @property
    def leaving(self) -> bool:
        """It is still active, and will not be in the next round."""
        return self.active and self.deactivation_round != NEVER


@frozen
class DelegatorState:
    """An account's own stake.

    Attributes:
        delegate: Whom it is bonded to, 20 bytes; zeros: nobody.
        bonded: LPTU, rewards that were not claimed yet left out.
        stake: LPTU, all of it.
        fees: Wei that can be withdrawn.
        start_round: First round in which the bond counts.
        locks: Unbonding locks that are still there.
        next_lock_id: The next unbonding gets this id.
    """

    delegate: bytes = bytes(20)
    bonded: int = 0
    stake: int = 0
    fees: int = 0
    start_round: int = 0
    locks: Sequence[UnbondingLock] = ()
    next_lock_id: int = 0

    def lock(self, lock_id: int) -> UnbondingLock | None:
        """Return a lock, None where it was used or never was."""
        return next((lock for lock in self.locks if lock.id == lock_id), None)


@frozen
class AccountState:
    """An account and its surroundings.

    Attributes:
        address: 20 bytes.
        contracts: Where the contracts are.
        block: Number of the block that everything was read at.
        eth: Wei.
        lpt: LPTU that are not bonded.
        allowance: LPTU that the BondingManager may take.
        gas_price: Wei.
        round: The round.
        transcoder: It as an orchestrator.
        delegator: Its own stake.
        pool: All orchestrators that are in the pool.
        service_uri: As registered; empty where none is.
        delegate_stake: Total LPTU of whom it is bonded to.
        unbonding_period: Rounds.
        mintable: LPTU that this round mints.
        total_active: LPTU of all active orchestrators.
        treasury_rate: The treasury's cut, in parts of 10**27.
    """

    address: bytes
    contracts: Addresses
    round: RoundState
    block: int = 0
    eth: int = 0
    lpt: int = 0
    allowance: int = 0
    gas_price: int = 0
    transcoder: TranscoderState = TranscoderState()
    delegator: DelegatorState = DelegatorState()
    pool: Pool = field(factory=Pool)
    service_uri: str = ""
    delegate_stake: int = 0
    unbonding_period: int = 0
    mintable: int = 0
    total_active: int = 0
    treasury_rate: int = 0

    @property
    def rewarded(self) -> bool:
        """Whether reward was called in this round."""
        return self.transcoder.last_reward_round >= self.round.number

    @property
    def reward_due(self) -> bool:
        """Whether reward can be called now, and was not."""
        return (
            self.round.initialized
            and not self.round.paused
            and self.transcoder.active
            and not self.rewarded
        )

    @property
    def predicted_reward(self) -> int:
        """LPTU that calling reward adds in this round."""
        return predict_reward(
            self.mintable, self.transcoder.round_stake, self.total_active, self.treasury_rate
        )


async def read_round(read: BlockReader, contracts: Addresses) -> RoundState:
    """Read the round.

    Raises:
        ChainError: it could not be read.
    """
    manager = contracts.rounds_manager
    number, initialized, locked, block, start_block, length, paused = await read.each(
        (
            (manager, RoundsManager.current_round),
            (manager, RoundsManager.initialized),
            (manager, RoundsManager.locked),
            (manager, RoundsManager.block_number),
            (manager, RoundsManager.start_block),
            (manager, RoundsManager.round_length),
            (contracts.controller, Controller.paused),
        )
    )
    return RoundState(number, initialized, locked, block, start_block, length, paused)


async def read_transcoder(
    read: BlockReader, contracts: Addresses, address: bytes, current_round: int
) -> TranscoderState:
    """Read an orchestrator.

    Raises:
        ChainError: it could not be read.
    """
    manager = contracts.bonding_manager
    found, registered, active, total = await read.each(
        (
            (manager, BondingManager.get_transcoder, address),
            (manager, BondingManager.is_registered, address),
            (manager, BondingManager.is_active, address),
            (manager, BondingManager.total_stake, address),
        )
    )
    rewarded, cut, share, updated, activation, deactivation, *_ = found
    # A stake that changed in this round counts from the next one on.
    counts = min(updated, current_round)
    pool = await read(manager, BondingManager.earnings_pool, address, counts)
    return TranscoderState(
        registered, active, rewarded, cut, share, activation, deactivation, total, pool[0]
    )


async def read_delegator(
    read: BlockReader, contracts: Addresses, address: bytes, current_round: int
) -> DelegatorState:
    """Read an account's own stake with its unbonding locks.

    Raises:
        ChainError: it could not be read.
    """
    manager = contracts.bonding_manager
    found, stake, fees = await read.each(
        (
            (manager, BondingManager.get_delegator, address),
            (manager, BondingManager.pending_stake, address, current_round),
            (manager, BondingManager.pending_fees, address, current_round),
        )
    )
    bonded, _, delegate, _, start_round, _, next_id = found
    ids = range(max(0, next_id - MAX_LOCKS), next_id)
    locks = await read.each((manager, BondingManager.unbonding_lock, address, i) for i in ids)
    used = ((i, *lock) for i, lock in zip(ids, locks, strict=True) if lock[0])
    return DelegatorState(
        delegate,
        bonded,
        stake,
        fees,
        start_round,
        tuple(UnbondingLock(*values) for values in used),
        next_id,
    )


async def read_treasury_rate(read: BlockReader, contracts: Addresses) -> int:
    """Read the treasury's cut; 0 where the contracts are older than the treasury.

    Raises:
        ChainError: it could not be read.
    """
    try:
        rate: int = await read(contracts.bonding_manager, BondingManager.treasury_rate)
    except Reverted:
        return 0
    return rate


async def read_account(rpc: Rpc, contracts: Addresses, address: bytes) -> AccountState:
    """Read all of it at the newest block.

    Raises:
        ChainError: it could not be read.
    """
    read = await BlockReader.newest(rpc)
    round_ = await read_round(read, contracts)
    transcoder = await read_transcoder(read, contracts, address, round_.number)
    delegator = await read_delegator(read, contracts, address, round_.number)
    manager, token = contracts.bonding_manager, contracts.livepeer_token
    calls: dict[str, tuple[Any, ...]] = {
        "lpt": (token, Token.balance_of, address),
        "allowance": (token, Token.allowance, address, manager),
        "service_uri": (contracts.service_registry, ServiceRegistry.get_uri, address),
        "delegate_stake": (manager, BondingManager.total_stake, delegator.delegate),
        "unbonding_period": (manager, BondingManager.unbonding_period),
        "mintable": (contracts.minter, Minter.mintable),
        "total_active": (manager, BondingManager.total_bonded),
    }
    values = dict(zip(calls, await read.each(calls.values()), strict=True))
    return AccountState(
        address=address,
        contracts=contracts,
        round=round_,
        block=read.block,
        eth=await read.balance(address),
        gas_price=int(await rpc.call("eth_gasPrice"), 16),
        transcoder=transcoder,
        delegator=delegator,
        pool=await read_pool(read, manager),
        treasury_rate=await read_treasury_rate(read, contracts),
        **values,
    )
