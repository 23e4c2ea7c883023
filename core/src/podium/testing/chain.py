"""A chain in memory: deterministic, every fact of it settable while a test runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, evolve, field

from podium.errors import SenderError
from podium.payments.params import Terms
from podium.payments.ports import SenderFunds
from podium.payments.ticket import aux_data
from podium.wire.payment import min_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podium.model import WinningTicket


_PLENTY = SenderFunds(deposit=10**19, reserve_remaining=10**19)


@define
class FakeChain:
    """Clock, broker and gas price of payments, all in one.

    Attributes:
        l1_block: The latest L1 block.
        current_round: The last initialized round.
        round_hashes: Stored block hash per round; zeros for those not named.
        funds: Funds per 20-byte sender.
        default_funds: For other senders; None: they cannot be read (``SenderError``).
        inactive_rounds: Rounds in which the recipient is not in the active set.
        wei: The gas price.
    """

    l1_block: int = 1000
    current_round: int = 10
    round_hashes: dict[int, bytes] = field(factory=dict)
    funds: dict[bytes, SenderFunds] = field(factory=dict)
    default_funds: SenderFunds | None = _PLENTY
    inactive_rounds: set[int] = field(factory=set)
    wei: int = 1_000_000_000

    def round_hash(self, round_number: int) -> bytes:
        """Return the block hash of a round."""
        return self.round_hashes.get(round_number, bytes(32))

    async def sender_funds(self, sender: bytes) -> SenderFunds:
        """Return a sender's funds."""
        funds = self.funds.get(sender, self.default_funds)
        if funds is None:
            msg = "no answer from the chain"
            raise SenderError(msg)
        return funds

    async def is_active(self, recipient: bytes, round_number: int) -> bool:
        """Return whether the recipient is active."""
        del recipient
        return round_number not in self.inactive_rounds

    def unlock(self, sender: bytes, withdraw_round: int) -> None:
        """Let a sender have asked for its funds back, to be had from a round on."""
        funds = self.funds.get(sender, self.default_funds) or SenderFunds(0, 0)
        self.funds[sender] = evolve(funds, withdraw_round=withdraw_round)

    def mine(self, blocks: int = 1) -> None:
        """Let blocks pass."""
        self.l1_block += blocks


@define
class MemoryTickets:
    """A ticket store in memory that can be told to fail."""

    tickets: list[WinningTicket] = field(factory=list)
    error: Exception | None = None

    async def add(self, tickets: Sequence[WinningTicket]) -> None:
        """Keep tickets, each once."""
        if self.error is not None:
            raise self.error
        self.tickets += [ticket for ticket in tickets if ticket not in self.tickets]


def reference_packing(terms: Terms) -> bytes:
    """Pack terms as go-livepeer does, so that recorded payments verify.

    No lengths between the parts: only for replays, see ``payments.params.packed_terms``.

    Source: go-livepeer pm/recipient.go, rand.
    """
    return b"".join(
        (
            min_bytes(terms.seed),
            terms.sender,
            min_bytes(terms.face_value),
            min_bytes(terms.win_prob),
            min_bytes(terms.expiration_block),
            min_bytes(terms.price.numerator),
            min_bytes(terms.price.denominator),
            aux_data(terms.expiration),
        )
    )
