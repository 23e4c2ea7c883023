"""Reads whole states from the contracts, each at one block."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from podium.chain.contracts import (
    BondingManager,
    Controller,
    RoundsManager,
    ServiceRegistry,
    TicketBroker,
    Token,
)
from podium.chain.reader import read
from podium.chain.views.states import (
    KEPT_ROUNDS,
    OrchestratorState,
    ProtocolState,
    SenderState,
    UnbondingLock,
)
from podium.crypto import checksum_address

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from podium.chain.abi import Function
    from podium.chain.ports import Rpc
    from podium.chain.reader import Addresses

MAX_PARALLEL = 32
"""Calls under way at once, all views together: providers limit calls a second."""


async def all_of(reads: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Await reads side by side; the first failure ends the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in reads]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


@frozen
class Query:
    """Reads through one RPC client.

    Every read names its block: an endpoint that lags fails then, where it would otherwise tell
    of the past.
    """

    rpc: Rpc
    addresses: Addresses
    _slots: asyncio.Semaphore = field(factory=lambda: asyncio.Semaphore(MAX_PARALLEL))

    async def call(self, contract: bytes, function: Function, *arguments: Any, block: int) -> Any:
        """Call a function at a block."""
        async with self._slots:
            return await read(self.rpc, contract, function, *arguments, block=block)

    async def protocol(self, block: int) -> ProtocolState:
        """Read the rounds and what is common to all.

        Raises:
            ChainError: one of them could not be read.
        """
        rounds, broker, bonding = RoundsManager, TicketBroker, BondingManager
        to = self.addresses
        wanted = (
            (to.rounds_manager, rounds.last_initialized),
            (to.rounds_manager, rounds.current_round),
            (to.rounds_manager, rounds.start_block),
            (to.rounds_manager, rounds.round_length),
            (to.rounds_manager, rounds.lock_amount),
            (to.bonding_manager, bonding.pool_size),
            (to.bonding_manager, bonding.pool_max_size),
            (to.ticket_broker, broker.ticket_validity_period),
            (to.ticket_broker, broker.unlock_period),
            (to.bonding_manager, bonding.unbonding_period),
            (to.controller, Controller.paused),
        )
        last, number, start, length, lock, *rest = await all_of(
            self.call(*each, block=block) for each in wanted
        )
        pool, pool_max, validity, unlock, unbonding, paused = rest
        return ProtocolState(
            last_initialized_round=last,
            round_number=number,
            start_block=start,
            round_length=length,
            lock_amount=lock,
            hashes=await self._hashes(last, block),
            pool_size=pool,
            pool_max_size=pool_max,
            ticket_validity_rounds=validity,
            unlock_rounds=unlock,
            unbonding_rounds=unbonding,
            paused=paused,
        )

    async def _hashes(self, newest: int, block: int) -> dict[int, bytes]:
        numbers = [n for n in range(newest, newest - KEPT_ROUNDS, -1) if n >= 0]
        to = self.addresses.rounds_manager
        hashes = await all_of(
            self.call(to, RoundsManager.block_hash_for_round, n, block=block) for n in numbers
        )
        return dict(zip(numbers, hashes, strict=True))

    async def sender(self, sender: bytes, claimant: bytes, block: int) -> SenderState:
        """Read a sender's money, and what a claimant took of its reserve.

        Raises:
            ChainError: it could not be read.
        """
        to = self.addresses.ticket_broker
        info, claimed = await all_of(
            (
                self.call(to, TicketBroker.get_sender_info, sender, block=block),
                self.call(to, TicketBroker.claimed_reserve, sender, claimant, block=block),
            )
        )
        (deposit, withdraw_round), (remaining, claimed_by_all) = info
        return SenderState(deposit, withdraw_round, remaining, claimed_by_all, claimed)

    async def active_rounds(self, orchestrator: bytes, block: int) -> tuple[int, int]:
        """Read an orchestrator's activation and deactivation round.

        Raises:
            ChainError: they could not be read.
        """
        to, function = self.addresses.bonding_manager, BondingManager.get_transcoder
        found = await self.call(to, function, orchestrator, block=block)
        return found[4], found[5]

    async def orchestrator(
        self, address: bytes, block: int, before: OrchestratorState | None
    ) -> OrchestratorState:
        """Read an orchestrator.

        Args:
            address: 20 bytes.
            block: At which block.
            before: What was read earlier on the same branch of the chain: locks that were gone
                then are not read again, for they do not come back.

        Raises:
            ChainError: it could not be read.
        """
        bonding, to = BondingManager, self.addresses
        wanted = (
            (to.bonding_manager, bonding.get_transcoder, address),
            (to.bonding_manager, bonding.get_delegator, address),
            (to.bonding_manager, bonding.pending_stake, address, 0),  # the round is ignored
            (to.bonding_manager, bonding.pending_fees, address, 0),
            (to.service_registry, ServiceRegistry.get_uri, address),
            (to.livepeer_token, Token.balance_of, address),
        )
        *found, wei = await all_of(
            [*(self.call(*each, block=block) for each in wanted), self._balance(address, block)]
        )
        coder, delegator, stake, fees, uri, tokens = found
        next_lock = delegator[6]
        known = [] if before is None else [lock.id for lock in before.locks]
        new = range(0 if before is None else before.next_lock_id, next_lock)
        return OrchestratorState(
            address=address,
            last_reward_round=coder[0],
            reward_cut=coder[1],
            fee_share=coder[2],
            last_active_stake_update_round=coder[3],
            activation_round=coder[4],
            deactivation_round=coder[5],
            bonded=delegator[0],
            delegate=delegator[2],
            total_stake=delegator[3],
            start_round=delegator[4],
            last_claim_round=delegator[5],
            next_lock_id=next_lock,
            stake=stake,
            pending_fees=fees,
            service_uri=uri,
            lpt_balance=tokens,
            eth_balance=wei,
            locks=await self._locks(address, [*known, *new], block),
        )

    async def _balance(self, address: bytes, block: int) -> int:
        async with self._slots:
            found = await self.rpc.call("eth_getBalance", checksum_address(address), hex(block))
        return int(found, 16)

    async def _locks(self, address: bytes, ids: list[int], block: int) -> tuple[UnbondingLock, ...]:
        to, function = self.addresses.bonding_manager, BondingManager.unbonding_lock
        found = await all_of(self.call(to, function, address, n, block=block) for n in ids)
        locks = (UnbondingLock(n, *each) for n, each in zip(ids, found, strict=True))
        return tuple(lock for lock in locks if lock.amount)
