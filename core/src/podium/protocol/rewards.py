"""Calls the reward of each round, until it is called (payments 7.3).

A reward that is not called in its round is lost. So nothing here depends on having seen an event:
while the chain says that the orchestrator is active and unrewarded, another try follows, after a
start in mid-round, an outage, a stuck transaction or a reorg alike. The chain takes one reward a
round, and the transaction's key is the round's: it is never paid for twice.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from attrs import define, field
from podium_hookspecs import RewardCalled, RewardFailed

from podium.chain.contracts import BondingManager, Minter
from podium.errors import ChainError, PodiumError, Reverted
from podium.protocol.draft import reward_request
from podium.protocol.hints import NO_HINTS, Hints, predict_reward, read_pool
from podium.protocol.keeper import Keeper
from podium.protocol.reading import BlockReader
from podium.protocol.state import read_round, read_transcoder, read_treasury_rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium_hookspecs import Event

    from podium.chain.ports import Rpc, Transactor
    from podium.chain.reader import Addresses
    from podium.chain.values import Receipt
    from podium.protocol.ports import RoundView
    from podium.protocol.state import RoundState, TranscoderState

RewardMode = Literal["auto", "on", "off"]

Situation = Literal[
    "unknown", "not_registered", "inactive", "paused", "round_not_initialized", "due", "rewarded"
]

ALARM_SHARE = 10
"""The alarm rings in the last tenth of a round without a reward."""

L1_BLOCK_S = 12.0
"""Seconds between L1 blocks, to guess the time while the chain is silent."""


def situation_of(round_: RoundState, transcoder: TranscoderState) -> Situation:
    """Return how it stands with the round's reward."""
    if not transcoder.active:
        return "inactive" if transcoder.registered else "not_registered"
    if transcoder.last_reward_round >= round_.number:
        return "rewarded"
    if round_.paused:
        return "paused"
    return "due" if round_.initialized else "round_not_initialized"


@define(eq=False)
class RewardService(Keeper):
    """Calls rewards for the account of its transactor.

    Attributes:
        rpc: Where to read.
        contracts: Where the contracts are.
        transactor: Sends as the orchestrator: the contract takes a reward from nobody else.
        view: Round and orchestrator, in memory.
        on_event: Hears RewardCalled and RewardFailed.
        on_alarm: Hears when a round nears its end unrewarded, and when that is over.
        mode: ``"off"``: nothing is done. ``"on"`` and ``"auto"``: while the account is registered
            and active; with ``"on"``, an account that is not registered counts as a failure.
        alarm: Whether that is so now.
        situation: How it stood when the chain was last asked.
        last_rewarded_round: The last round with a reward, as the chain says.
    """

    rpc: Rpc
    contracts: Addresses
    transactor: Transactor
    view: RoundView
    on_event: Callable[[Event], None]
    on_alarm: Callable[[bool], None] = lambda _alarm: None
    mode: RewardMode = "auto"
    alarm: bool = field(default=False, init=False)
    situation: Situation = field(default="unknown", init=False)
    last_rewarded_round: int = field(default=0, init=False)
    _round: int = field(default=0, init=False)

    def wanted(self) -> bool:
        """Return whether the views say that a reward is due."""
        view = self.view
        own, number = view.orchestrator, view.current_round
        return (
            view.round_initialized
            and not view.paused
            and own.active_in(number)
            and own.last_reward_round < number
        )

    async def run(self) -> None:
        """Go on until cancelled; returns at once if rewards are off."""
        if self.mode == "off":
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(super().run())
            group.create_task(self._watch())

    async def _watch(self) -> None:
        """See to the alarm, also while a try hangs."""
        while True:
            self.see_to_alarm()
            await asyncio.sleep(self.pace.check_s)

    async def attempt(self) -> None:
        """Ask the chain whether a reward is due, and call it."""
        read, round_, transcoder = await self._look()
        if self.situation == "not_registered" and self.mode == "on":
            msg = "chain.reward is on, but this account is not an orchestrator: activate it"
            raise ChainError(msg)
        if self.situation != "due":
            return
        hints = await self._hints(read, transcoder)
        request = reward_request(self.contracts, round_.number, hints)
        try:
            receipt = await self.transactor.send(request)
        except Reverted:
            await self._look()
            if self.situation == "due":
                raise
            return  # somebody else called it with this key, or the round is over
        self._called(round_.number, receipt)
        await self._look()

    def failed(self, error: PodiumError) -> None:
        """Tell of a try that failed."""
        self.on_event(RewardFailed(self._round, str(error)))

    async def _look(self) -> tuple[BlockReader, RoundState, TranscoderState]:
        """Read from the chain how it stands."""
        read = await BlockReader.newest(self.rpc)
        round_ = await read_round(read, self.contracts)
        address = self.transactor.address
        transcoder = await read_transcoder(read, self.contracts, address, round_.number)
        self._round = round_.number
        self.situation = situation_of(round_, transcoder)
        self.last_rewarded_round = transcoder.last_reward_round
        return read, round_, transcoder

    async def _hints(self, read: BlockReader, transcoder: TranscoderState) -> Hints:
        """Predict the place after the reward; without it, the call costs more gas, that is all."""
        manager = self.contracts.bonding_manager
        try:
            mintable, total = await read.each(
                (
                    (self.contracts.minter, Minter.mintable),
                    (manager, BondingManager.total_bonded),
                )
            )
            rate = await read_treasury_rate(read, self.contracts)
            pool = await read_pool(read, manager)
        except ChainError:
            return NO_HINTS
        reward = predict_reward(mintable, transcoder.round_stake, total, rate)
        return pool.hints(self.transactor.address, transcoder.total_stake + reward)

    def _called(self, round_number: int, receipt: Receipt) -> None:
        event = BondingManager.reward
        amounts = [event.decode(log)["amount"] for log in receipt.logs if event.matches(log)]
        amount = amounts[0] if amounts else None
        self.on_event(RewardCalled(round_number, amount, receipt.tx_hash))

    def see_to_alarm(self) -> None:
        """Raise the alarm, or end it."""
        alarm = self._is_late()
        if alarm != self.alarm:
            self.alarm = alarm
            self.on_alarm(alarm)

    def _is_late(self) -> bool:
        """Return whether the round nears its end without a reward that it could have."""
        try:
            if not self.wanted() or self.last_rewarded_round >= self.view.current_round:
                return False
            passed = int(self.view.silent_for_s / L1_BLOCK_S)
            left = self.view.blocks_left_in_round - passed
            return left * ALARM_SHARE < self.view.protocol.round_length
        except ChainError:
            return self.alarm
