"""Tickets: hash, signature, draw. Pure arithmetic over bytes (payments 1)."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from podium.crypto import keccak256, recover_key
from podium.model import MAX_WIN_PROB, WinningTicket

if TYPE_CHECKING:
    from collections.abc import Iterable

    from podium.wire.payment import ExpirationParams, TicketParams, TicketSenderParams


def aux_data(params: ExpirationParams) -> bytes:
    """Return what binds a ticket to its round: 64 bytes, or none for round 0 without a hash.

    A negative round has no encoding and raises ``OverflowError``.
    """
    if params.creation_round == 0 and not any(params.block_hash):
        return b""
    return params.creation_round.to_bytes(32, "big") + params.block_hash


def winner_hash(ticket: WinningTicket) -> bytes:
    """Return a winning ticket's hash, which the contract knows it by."""
    aux = ticket.creation_round.to_bytes(32, "big") + ticket.block_hash
    return keccak256(
        ticket.recipient
        + ticket.sender
        + ticket.face_value.to_bytes(32, "big")
        + ticket.win_prob.to_bytes(32, "big")
        + ticket.nonce.to_bytes(32, "big")
        + ticket.recipient_rand_hash
        + (aux if any(aux) else b"")
    )


def rand_hash(recipient_rand: int) -> bytes:
    """Return the public hash of a recipient's secret randomness."""
    return keccak256(recipient_rand.to_bytes(32, "big"))


def expected_value(face_value: int, win_prob: int, tickets: int = 1) -> Fraction:
    """Return what tickets are worth: exact wei, divided by 2^256 - 1 (not 2^256)."""
    return Fraction(face_value * win_prob * tickets, MAX_WIN_PROB)


@frozen
class TicketTerms:
    """What the tickets of one payment share, with the recipient's secret.

    Build it only from parameters that have been proved to be ours: every number then fits its
    field of the hash.
    """

    sender: bytes
    params: TicketParams
    expiration: ExpirationParams
    recipient_rand: int = field(repr=False)

    def expected_value(self, tickets: int) -> Fraction:
        """Return the exact wei that so many tickets are worth."""
        return expected_value(self.params.face_value, self.params.win_prob, tickets)

    def packed(self, nonce: int) -> bytes:
        """Return what is hashed for one ticket: 232 bytes, 168 without a round."""
        prefix, suffix = self.around_nonce()
        return prefix + nonce.to_bytes(32, "big") + suffix

    def ticket_hash(self, nonce: int) -> bytes:
        """Return the hash that the sender signs for one ticket."""
        return keccak256(self.packed(nonce))

    def winner(self, ticket: TicketSenderParams) -> WinningTicket:
        """Return what has to be stored of a winning ticket."""
        return WinningTicket(
            sender=self.sender,
            recipient=self.params.recipient,
            face_value=self.params.face_value,
            win_prob=self.params.win_prob,
            nonce=ticket.nonce,
            recipient_rand_hash=self.params.recipient_rand_hash,
            creation_round=self.expiration.creation_round,
            block_hash=self.expiration.block_hash,
            recipient_rand=self.recipient_rand,
            expiration_block=self.params.expiration_block,
            signature=ticket.signature,
        )

    def around_nonce(self) -> tuple[bytes, bytes]:
        """Return what is hashed before and after the nonce's 32 bytes."""
        params = self.params
        prefix = (
            params.recipient
            + self.sender
            + params.face_value.to_bytes(32, "big")
            + params.win_prob.to_bytes(32, "big")
        )
        return prefix, params.recipient_rand_hash + aux_data(self.expiration)


def draw(signature: bytes, recipient_rand: int) -> int:
    """Return a signed ticket's draw, from 0 to 2^256 - 1."""
    return int.from_bytes(keccak256(signature + recipient_rand.to_bytes(32, "big")), "big")


def wins(signature: bytes, recipient_rand: int, win_prob: int) -> bool:
    """Return whether a ticket wins: its draw is strictly below the threshold."""
    return draw(signature, recipient_rand) < win_prob


@frozen
class Checked:
    """One ticket after the checks that need no state.

    Attributes:
        ticket: As the payment has it.
        signed: The signature is the sender's.
        wins: It won; False when it is not signed.
    """

    ticket: TicketSenderParams
    signed: bool
    wins: bool


@define
class SignatureChecker:
    """Checks tickets of one payment: signature and draw of each.

    The first good signature teaches it the sender's public key, so that later ones are compared
    by key and save one hash each. Safe to run in a worker thread: it holds no shared state.
    """

    terms: TicketTerms
    _key: bytes | None = field(default=None, init=False)

    def check(self, tickets: Iterable[TicketSenderParams]) -> list[Checked]:
        """Check tickets in order. About 30 us of CPU each, most of it without the GIL."""
        prefix, suffix = self.terms.around_nonce()
        rand, threshold = self.terms.recipient_rand, self.terms.params.win_prob
        checked = []
        for ticket in tickets:
            hashed = keccak256(prefix + ticket.nonce.to_bytes(32, "big") + suffix)
            signed = self._is_senders(recover_key(hashed, ticket.signature))
            won = signed and wins(ticket.signature, rand, threshold)
            checked.append(Checked(ticket, signed, won))
        return checked

    def _is_senders(self, key: bytes | None) -> bool:
        if key is None:
            return False
        if self._key is not None:
            return key == self._key
        if keccak256(key)[12:] != self.terms.sender:
            return False
        self._key = key
        return True
