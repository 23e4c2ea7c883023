"""The ports without a chain: a node that is configured with a recipient is paid all the same.

Time and rounds come from the wall clock, so gateway and node agree on them with no chain
between them; every sender has the same configured funds.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from attrs import field, frozen

from podium.crypto import keccak256
from podium.payments.ports import SenderFunds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

L1_BLOCK_S = 12
ROUND_BLOCKS = 6377
"""Blocks in a round on mainnet (contracts 3)."""


@frozen
class LocalClock:
    """Counts L1 blocks of 12 s, and rounds of them, since 1970."""

    now: Callable[[], float] = time.time
    block_s: float = L1_BLOCK_S
    round_blocks: int = ROUND_BLOCKS

    @property
    def l1_block(self) -> int:
        """Whole blocks since 1970."""
        return int(self.now() // self.block_s)

    @property
    def current_round(self) -> int:
        """Whole rounds since 1970."""
        return self.l1_block // self.round_blocks

    def round_hash(self, round_number: int) -> bytes:
        """Return a hash that every local clock gives this round; never zero."""
        return keccak256(b"podium local round " + round_number.to_bytes(8, "big"))


@frozen
class LocalBroker:
    """Gives every sender the same funds, or those set for its address."""

    funds: SenderFunds
    by_sender: Mapping[bytes, SenderFunds] = field(factory=dict)

    async def sender_funds(self, sender: bytes) -> SenderFunds:
        """Return the configured funds."""
        return self.by_sender.get(sender, self.funds)

    async def is_active(self, recipient: bytes, round_number: int) -> bool:
        """Without a chain the recipient is always active."""
        return True


@frozen
class FixedGasPrice:
    """A gas price that does not change; wei for one unit of gas."""

    wei: int
