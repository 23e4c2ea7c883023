"""What payments need from outside: small interfaces that ``app`` fills (chain, local, fake)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podium.model import KeptAccount, KeptNonces, WinningTicket


@frozen
class SenderFunds:
    """A sender's funds as one view of the chain has them; wei (payments 6.2).

    Attributes:
        deposit: Pays winning tickets first.
        reserve_remaining: The reserve that is left, for all recipients together.
        reserve_claimed: What recipients have claimed of the reserve in this round.
        claimed_by_us: Our own part of ``reserve_claimed``.
        pool_size: Number of active orchestrators, who share the reserve.
        withdraw_round: The round from which the sender may withdraw; 0: it has not unlocked.
        pending: Face value of our redemptions in flight.
    """

    deposit: int
    reserve_remaining: int
    reserve_claimed: int = 0
    claimed_by_us: int = 0
    pool_size: int = 1
    withdraw_round: int = 0
    pending: int = 0


class Clock(Protocol):
    """The chain's time. Answers from memory, never blocks."""

    @property
    def l1_block(self) -> int:
        """The latest L1 block number seen."""

    @property
    def current_round(self) -> int:
        """The last initialized round."""

    def round_hash(self, round_number: int) -> bytes:
        """Return the 32-byte block hash stored for a round; zeros where there is none."""


class Broker(Protocol):
    """What the chain knows of senders and recipients.

    Both are asked for each payment, so an implementation answers from memory as a rule; where it
    has to ask the chain it bounds the time it takes.
    """

    async def sender_funds(self, sender: bytes) -> SenderFunds:
        """Return a sender's funds.

        Raises:
            SenderError: they could not be read; the text says why.
        """

    async def is_active(self, recipient: bytes, round_number: int) -> bool:
        """Return whether an orchestrator is in a round's active set."""


class GasPrice(Protocol):
    """The gas price of redemptions. Answers from memory."""

    @property
    def wei(self) -> int:
        """Wei for one unit of gas; 0 when it is not known."""


class TicketStore(Protocol):
    """Keeps winning tickets for redemption."""

    async def add(self, tickets: Sequence[WinningTicket]) -> None:
        """Commit winning tickets, all or none; those that are there already are kept as they are.

        Returns only once a crash of the machine cannot lose them.

        Raises:
            StoreError: nothing was stored.
        """


class BalanceStore(Protocol):
    """Keeps balances over restarts."""

    async def save_balances(
        self,
        accounts: Sequence[KeptAccount],
        nonces: Sequence[KeptNonces],
        oldest: float,
        l1_block: int,
    ) -> None:
        """Write accounts and nonces in one transaction, in place of what was there of them.

        Args:
            accounts: That have moved.
            nonces: All of each set of parameters from which tickets were taken.
            oldest: Accounts that have not moved since this Unix second go.
            l1_block: Nonces of parameters that have expired by this block go.

        Raises:
            StoreError: nothing was written.
        """

    async def load_balances(
        self, oldest: float
    ) -> tuple[Sequence[KeptAccount], Sequence[KeptNonces]]:
        """Return what was kept of accounts that moved since, least recent first.

        Raises:
            StoreError: it cannot be read.
        """
