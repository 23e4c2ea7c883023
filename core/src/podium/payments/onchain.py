"""The ports of payments over the views of the chain: answers come from memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from podium.errors import ChainError, SenderError
from podium.payments.ports import SenderFunds

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium.chain.views import ChainViews


@frozen
class ChainClock:
    """Blocks and rounds as the views have them; implements :class:`podium.payments.ports.Clock`."""

    views: ChainViews

    @property
    def l1_block(self) -> int:
        """The latest L1 block number seen."""
        return self.views.l1_block

    @property
    def current_round(self) -> int:
        """The last initialized round."""
        return self.views.last_initialized_round

    def round_hash(self, round_number: int) -> bytes:
        """Return the 32-byte block hash stored for a round; zeros where there is none."""
        return self.views.round_hash(round_number)


def _nothing(sender: bytes) -> int:
    del sender
    return 0


@frozen
class ChainBroker:
    """Funds and the active set; implements :class:`podium.payments.ports.Broker`.

    Attributes:
        views: What is known of the chain.
        pending: Returns the face value, in wei, of a 20-byte sender's redemptions in flight.
    """

    views: ChainViews
    pending: Callable[[bytes], int] = _nothing

    async def sender_funds(self, sender: bytes) -> SenderFunds:
        """Return a sender's funds; a known sender's from memory.

        Raises:
            SenderError: they could not be read, or what is held is too old.
        """
        try:
            state = await self.views.sender(sender)
            pool_size = self.views.pool_size
        except ChainError as error:
            raise SenderError(str(error)) from error
        return SenderFunds(
            deposit=state.deposit,
            reserve_remaining=state.reserve_remaining,
            reserve_claimed=state.reserve_claimed,
            claimed_by_us=state.claimed_by_us,
            pool_size=pool_size,
            withdraw_round=state.withdraw_round,
            pending=self.pending(sender),
        )

    async def is_active(self, recipient: bytes, round_number: int) -> bool:
        """Return whether an orchestrator is in a round's active set; ours from memory.

        Raises:
            SenderError: it could not be read.
        """
        try:
            return await self.views.is_active(recipient, round_number)
        except ChainError as error:
            raise SenderError(str(error)) from error
