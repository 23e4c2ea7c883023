"""Redemptions in the contract's terms: calls, and the logs that tell what a call brought."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podium.chain.contracts import TicketBroker
from podium.payments.redeem.ports import Redemption

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from podium.chain.values import Log
    from podium.model import WinningTicket

Identity = tuple[bytes, int, int]
"""Sender, nonce and recipient's randomness: what tells one redeemed ticket from another."""


def identity(ticket: WinningTicket) -> Identity:
    """Return what the contract's event tells a ticket by."""
    return ticket.sender, ticket.nonce, ticket.recipient_rand


def arguments(ticket: WinningTicket) -> tuple[tuple[Any, ...], bytes, int]:
    """Return the arguments of ``redeemWinningTicket``."""
    aux_data = ticket.creation_round.to_bytes(32, "big") + ticket.block_hash
    packed = (
        ticket.recipient,
        ticket.sender,
        ticket.face_value,
        ticket.win_prob,
        ticket.nonce,
        ticket.recipient_rand_hash,
        aux_data,
    )
    return packed, ticket.signature, ticket.recipient_rand


def call_data(tickets: Sequence[WinningTicket]) -> bytes:
    """Return the call that redeems one ticket, or several."""
    calls = [arguments(ticket) for ticket in tickets]
    if len(calls) == 1:
        return TicketBroker.redeem.encode(*calls[0])
    return TicketBroker.batch_redeem.encode(*map(list, zip(*calls, strict=True)))


def redemptions(logs: Iterable[Log], broker: bytes) -> Iterator[tuple[Identity, Redemption]]:
    """Read redemptions from logs in their order.

    A payment's log comes before the redemption's own, in the same transaction. A redemption that
    paid nothing has none (contracts 4.3).

    Args:
        logs: Of one transaction or of several; other events may be among them.
        broker: 20 bytes, the contract that is believed.
    """
    transfer: tuple[bytes, int] | None = None
    for log in logs:
        if log.address != broker:
            continue
        if TicketBroker.ticket_transfer.matches(log):
            transfer = log.tx_hash, TicketBroker.ticket_transfer.decode(log)["amount"]
        elif TicketBroker.ticket_redeemed.matches(log):
            event = TicketBroker.ticket_redeemed.decode(log)
            same = transfer is not None and transfer[0] == log.tx_hash
            paid = transfer[1] if transfer is not None and same else 0
            key = event["sender"], event["sender_nonce"], event["recipient_rand"]
            yield key, Redemption(paid, log.tx_hash, log.block_number)
            transfer = None
