"""What the protocol's services need of the chain's views; ``assembly`` fills it in."""

from __future__ import annotations

from typing import Protocol


class OrchestratorView(Protocol):
    """Our orchestrator, as the newest block that was seen has it."""

    @property
    def registered(self) -> bool:
        """Bonded to itself."""

    @property
    def last_reward_round(self) -> int:
        """The last round it called reward in."""

    def active_in(self, round_number: int) -> bool:
        """Whether it is in a round's active set."""


class ProtocolView(Protocol):
    """What is common to all orchestrators."""

    @property
    def round_length(self) -> int:
        """L1 blocks in a round."""


class RoundView(Protocol):
    """The rounds, as the newest block that was seen has them; kept in memory.

    Until the first block was seen, each attribute raises :class:`podium.errors.ChainError`.
    """

    @property
    def current_round(self) -> int:
        """The round of the newest block, initialized or not."""

    @property
    def round_initialized(self) -> bool:
        """Whether somebody has initialized the current round."""

    @property
    def blocks_left_in_round(self) -> int:
        """L1 blocks until the next round."""

    @property
    def protocol(self) -> ProtocolView:
        """What is common to all."""

    @property
    def silent_for_s(self) -> float:
        """Seconds since the chain was last heard of."""

    @property
    def paused(self) -> bool:
        """Whether the protocol is paused: nothing can be sent."""

    @property
    def orchestrator(self) -> OrchestratorView:
        """Ours."""
