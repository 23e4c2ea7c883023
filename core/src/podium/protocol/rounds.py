"""Initializes rounds that nobody else has initialized (payments 7.4)."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from attrs import define, field

from podium.errors import Reverted
from podium.protocol.draft import initialize_request
from podium.protocol.keeper import Keeper
from podium.protocol.reading import BlockReader
from podium.protocol.state import read_round

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium.chain.ports import Rpc, Transactor
    from podium.chain.reader import Addresses
    from podium.protocol.ports import RoundView
    from podium.protocol.state import RoundState


def _random_delay(limit_s: float) -> float:
    return random.uniform(0, limit_s)


@define(eq=False)
class RoundInitializer(Keeper):
    """Initializes the round whenever it is not; at a start in the middle of one, too.

    Attributes:
        rpc: Where to read.
        contracts: Where the contracts are.
        transactor: Pays.
        view: The round, in memory.
        max_delay_s: A random wait up to this comes first, so that not all nodes do it at once.
        draw: Draws that wait.
        initialized_round: The last round that this node initialized.
    """

    rpc: Rpc
    contracts: Addresses
    transactor: Transactor
    view: RoundView
    max_delay_s: float = 30.0
    draw: Callable[[float], float] = _random_delay
    initialized_round: int = field(default=0, init=False)

    def wanted(self) -> bool:
        """Return whether the views say that the round is not initialized."""
        return not self.view.round_initialized and not self.view.paused

    async def attempt(self) -> None:
        """Ask the chain, wait, ask it again, and initialize the round."""
        if self._is_done(await self._look()):
            return
        await asyncio.sleep(self.draw(self.max_delay_s))
        round_ = await self._look()
        if self._is_done(round_):
            return
        try:
            await self.transactor.send(initialize_request(self.contracts, round_.number))
        except Reverted:
            if not self._is_done(await self._look()):
                raise
        else:
            self.initialized_round = round_.number

    @staticmethod
    def _is_done(round_: RoundState) -> bool:
        return round_.initialized or round_.paused

    async def _look(self) -> RoundState:
        return await read_round(await BlockReader.newest(self.rpc), self.contracts)
