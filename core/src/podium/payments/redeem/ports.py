"""What redemption needs from outside: the chain, and a store of tickets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from podium.model import TicketRecord, TicketState, WinningTicket
    from podium.payments.ports import SenderFunds


@frozen(kw_only=True)
class Situation:
    """The chain at one moment, as far as it decides about redemptions.

    Attributes:
        block: Number of the newest block.
        l1_block: The L1 block that rounds and expiry count.
        current_round: The round of ``l1_block``, initialized or not.
        round_initialized: Whether it is.
        paused: The protocol refuses every change.
        validity_rounds: Rounds that a ticket can be redeemed in, its own included.
        blocks_left: L1 blocks until the next round.
        round_length: L1 blocks in a round.
        gas_price: Wei for one unit of gas now.
        usual_gas_price: What it costs as a rule; 0: not known.
        max_gas_price: What the operator pays at most; 0: no limit.
    """

    block: int
    l1_block: int
    current_round: int
    round_initialized: bool
    paused: bool
    validity_rounds: int
    blocks_left: int
    round_length: int
    gas_price: int
    usual_gas_price: int = 0
    max_gas_price: int = 0


@frozen
class Refusal:
    """Why the contract does not take a ticket.

    Attributes:
        reason: Its text.
        final: Waiting changes nothing.
    """

    reason: str
    final: bool = False


@frozen
class Redemption:
    """A redemption that happened.

    Attributes:
        paid: Wei that it brought; None: not known.
        tx_hash: 32 bytes; None: not known.
        block: Its block, 0: not known.
    """

    paid: int | None = None
    tx_hash: bytes | None = None
    block: int = 0


class RedemptionChain(Protocol):
    """The chain, as redemption sees it. Every call has a time limit of its own."""

    def situation(self) -> Situation:
        """Return what is known now, from memory.

        Raises:
            ChainError: it is not known yet, or the chain was not heard of for too long.
        """

    async def funds(self, sender: bytes, recipient: bytes) -> SenderFunds:
        """Return a sender's funds for a recipient, with all redemptions that were confirmed.

        Raises:
            ChainError: they could not be read.
        """

    async def is_active(self, recipient: bytes) -> bool:
        """Return whether a recipient may claim from reserves in the current round.

        Raises:
            ChainError: it could not be read.
        """

    async def used(self, ticket: WinningTicket) -> bool:
        """Return whether a ticket was redeemed, by whomever.

        Raises:
            ChainError: it could not be read.
        """

    async def past(self, ticket: WinningTicket) -> Redemption:
        """Look for the redemption of a used ticket; nothing in it is known if it is not found.

        Raises:
            ChainError: the chain could not be asked.
        """

    async def dry_run(self, ticket: WinningTicket) -> Refusal | None:
        """Return why a redemption would be refused now, None if it would not.

        Raises:
            ChainError: the chain could not be asked.
        """

    async def under_way(self, key: str) -> bool:
        """Return whether a transaction of this key was begun and has not ended.

        Raises:
            StoreError: it is not known.
        """

    async def redeem(self, tickets: Sequence[WinningTicket], key: str) -> list[Redemption | None]:
        """Redeem tickets by one transaction, or wait for the one of this key that is under way.

        Returns:
            For each ticket its redemption, or None where that failed.

        Raises:
            Reverted, GasPriceTooHigh, InsufficientFunds: nothing was sent.
            TxFailed: it was mined, and redeemed nothing.
            ChainError: it may be under way.
        """

    def refusal(self, reason: str) -> Refusal:
        """Judge a contract's text."""


@frozen
class Total:
    """Tickets of one state together: how many, and wei."""

    tickets: int = 0
    face_value: int = 0
    paid: int = 0

    def plus(self, record: TicketRecord, sign: int = 1) -> Total:
        """Return this with a ticket more, or less."""
        return Total(
            self.tickets + sign,
            self.face_value + sign * record.ticket.face_value,
            self.paid + sign * (record.paid or 0),
        )


class RedemptionStore(Protocol):
    """Keeps tickets with their state. What it returned from is committed."""

    async def add(self, tickets: Sequence[WinningTicket]) -> None:
        """Commit winning tickets, all or none; see ``TicketStore``.

        Raises:
            StoreError: nothing was stored.
        """

    async def unsettled(self, since_round: int, *, new_only: bool = False) -> list[TicketRecord]:
        """Return all open tickets, and those redeemed that are of this round or later.

        The oldest come first. Of those that were returned before, ``new_only`` may spare some.

        Raises:
            StoreError: they could not be read.
        """

    async def save(self, records: Sequence[TicketRecord]) -> None:
        """Commit the states of tickets, all or none.

        Raises:
            StoreError: nothing was stored.
        """

    async def changed_elsewhere(self) -> bool:
        """Return whether another process changed something since the last call; yes at first.

        Raises:
            StoreError: it could not be asked.
        """

    async def totals(self) -> Mapping[TicketState, tuple[int, int, int]]:
        """Return tickets, face value and paid wei, per state.

        Raises:
            StoreError: they could not be read.
        """
