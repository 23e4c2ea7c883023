"""The ``Livepeer-Payment`` header: base64 of the protobuf message ``net.Payment``.

Big integers travel as big-endian bytes of any length, zero as no bytes; addresses and hashes
keep their last 20 or 32 bytes, as go-ethereum's ``BytesToAddress`` does (payments 3).
"""

from __future__ import annotations

import base64
import re

from attrs import field, frozen
from google.protobuf.message import DecodeError

from podium.crypto import ZERO_ADDRESS
from podium.errors import WireError
from podium.model import PriceInfo
from podium.wire.pb import lp_rpc_pb2 as pb

_WELL_FORMED = re.compile(
    rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", re.ASCII
)
_LETTERS = re.compile(rb"[A-Za-z0-9+/\r\n]*", re.ASCII)
_NEWLINES = frozenset(b"\r\n")
_PAD = ord("=")


MAX_TICKETS = 1200
"""Tickets of one payment; parameters take 600, and whatever is sent costs time to refuse."""


class Base64Error(WireError):
    """A payment header is not base64; the text is what the reference answers."""

    code = "payment_base64"


class PaymentDecodeError(WireError):
    """A payment header is base64 of something else than ``net.Payment``."""

    code = "payment_protobuf"


@frozen
class ExpirationParams:
    """The round that a ticket is bound to.

    Attributes:
        creation_round: Round number; only values from 0 make sense.
        block_hash: 32 bytes, the round's stored block hash.
    """

    creation_round: int
    block_hash: bytes


@frozen
class TicketParams:
    """What an orchestrator offers and a payment gives back; amounts in wei.

    Attributes:
        recipient: 20 bytes, the orchestrator's address on chain.
        face_value: Wei that a winning ticket pays.
        win_prob: Win threshold; probability times (2^256 - 1).
        recipient_rand_hash: 32 bytes.
        seed: The integer from which the orchestrator finds its randomness again.
        expiration_block: The L1 block from which the parameters are expired.
        expiration_params: In offers; video and AI gateways leave it out of payments.
    """

    recipient: bytes
    face_value: int
    win_prob: int
    recipient_rand_hash: bytes
    seed: int
    expiration_block: int
    expiration_params: ExpirationParams | None = None


@frozen
class TicketSenderParams:
    """What is one ticket's own: its nonce and the sender's 65-byte signature."""

    nonce: int
    signature: bytes = field(repr=False)


@frozen
class Payment:
    """A decoded payment. Without a header it is the empty payment of the zero address.

    Attributes:
        sender: 20 bytes.
        ticket_params: Shared by all tickets; None when the payment has none.
        expiration_params: Shared by all tickets.
        ticket_sender_params: One per ticket, in the sender's order.
        expected_price: The price that the sender last got from us.
    """

    sender: bytes = ZERO_ADDRESS
    ticket_params: TicketParams | None = None
    expiration_params: ExpirationParams | None = None
    ticket_sender_params: tuple[TicketSenderParams, ...] = ()
    expected_price: PriceInfo | None = None

    @property
    def has_tickets(self) -> bool:
        """Whether there is at least one ticket with its parameters."""
        return self.ticket_params is not None and bool(self.ticket_sender_params)


def decode_payment(header: str | None) -> Payment:
    """Decode a payment header.

    Args:
        header: The header's value; None or empty gives the empty payment.

    Raises:
        Base64Error: ``base64 decode error: illegal base64 data at input byte N``.
        PaymentDecodeError: ``protobuf unmarshal error: ...``.

    Source: go-livepeer server/segment_rpc.go, getPayment.
    """
    message = pb.Payment()
    if not header:
        return Payment()
    data = go_base64decode(header)
    try:
        message.ParseFromString(data)
    except DecodeError:
        msg = "protobuf unmarshal error: proto: cannot parse invalid wire-format data"
        raise PaymentDecodeError(msg) from None
    return payment_from_pb(message)


def encode_payment(payment: Payment) -> str:
    """Return the header's value for a payment."""
    return base64.b64encode(payment_to_pb(payment).SerializeToString()).decode()


def payment_from_pb(message: pb.Payment) -> Payment:
    """Read a protobuf message; every message gives a payment.

    Raises:
        PaymentDecodeError: more tickets than one set of parameters can ever take.
    """
    if len(message.ticket_sender_params) > MAX_TICKETS:
        raise PaymentDecodeError(f"protobuf unmarshal error: more than {MAX_TICKETS} tickets")
    return Payment(
        sender=_right(message.sender, 20),
        ticket_params=(
            params_from_pb(message.ticket_params) if message.HasField("ticket_params") else None
        ),
        expiration_params=(
            _expiration(message.expiration_params)
            if message.HasField("expiration_params")
            else None
        ),
        ticket_sender_params=tuple(
            TicketSenderParams(ticket.sender_nonce, ticket.sig)
            for ticket in message.ticket_sender_params
        ),
        expected_price=(
            price_from_pb(message.expected_price) if message.HasField("expected_price") else None
        ),
    )


def payment_to_pb(payment: Payment) -> pb.Payment:
    """Write a payment as its protobuf message."""
    message = pb.Payment(sender=payment.sender)
    if payment.ticket_params is not None:
        message.ticket_params.CopyFrom(params_to_pb(payment.ticket_params))
    if payment.expiration_params is not None:
        message.expiration_params.CopyFrom(_expiration_to_pb(payment.expiration_params))
    for ticket in payment.ticket_sender_params:
        message.ticket_sender_params.add(sender_nonce=ticket.nonce, sig=ticket.signature)
    if payment.expected_price is not None:
        message.expected_price.CopyFrom(price_to_pb(payment.expected_price))
    return message


def params_from_pb(message: pb.TicketParams) -> TicketParams:
    """Read ticket parameters."""
    return TicketParams(
        recipient=_right(message.recipient, 20),
        face_value=int.from_bytes(message.face_value, "big"),
        win_prob=int.from_bytes(message.win_prob, "big"),
        recipient_rand_hash=_right(message.recipient_rand_hash, 32),
        seed=int.from_bytes(message.seed, "big"),
        expiration_block=int.from_bytes(message.expiration_block, "big"),
        expiration_params=(
            _expiration(message.expiration_params)
            if message.HasField("expiration_params")
            else None
        ),
    )


def params_to_pb(params: TicketParams) -> pb.TicketParams:
    """Write ticket parameters, for ``OrchestratorInfo.ticket_params`` and payments."""
    return pb.TicketParams(
        recipient=params.recipient,
        face_value=min_bytes(params.face_value),
        win_prob=min_bytes(params.win_prob),
        recipient_rand_hash=params.recipient_rand_hash,
        seed=min_bytes(params.seed),
        expiration_block=min_bytes(params.expiration_block),
        expiration_params=(
            None
            if params.expiration_params is None
            else _expiration_to_pb(params.expiration_params)
        ),
    )


def price_from_pb(message: pb.PriceInfo) -> PriceInfo:
    """Read a price."""
    return PriceInfo(
        message.pricePerUnit, message.pixelsPerUnit, message.capability, message.constraint
    )


def price_to_pb(price: PriceInfo) -> pb.PriceInfo:
    """Write a price."""
    return pb.PriceInfo(
        pricePerUnit=price.price_per_unit,
        pixelsPerUnit=price.pixels_per_unit,
        capability=price.capability,
        constraint=price.constraint,
    )


def min_bytes(value: int) -> bytes:
    """Return an integer from 0 as big-endian bytes without leading zeros; zero is empty."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def go_base64decode(text: str) -> bytes:
    """Decode standard padded base64 exactly as Go's ``encoding/base64`` does.

    Line ends are skipped; the offset in the error is the one Go reports.

    Raises:
        Base64Error: ``base64 decode error: illegal base64 data at input byte N``.
    """
    raw = text.encode("latin-1", "replace")
    if not _WELL_FORMED.fullmatch(raw):
        _check_base64(raw)
        raw = bytes(byte for byte in raw if byte not in _NEWLINES)
    return base64.b64decode(raw)


def _check_base64(raw: bytes) -> None:
    """Walk the input as Go's decodeQuantum does; raise with its offset."""
    # A line end inside a quantum makes Go's offset count it; runs of both are skipped in C.
    run = _LETTERS.match(raw)
    at = run.end() if run else 0
    in_quantum = (at - sum(raw.count(end, 0, at) for end in _NEWLINES)) % 4
    if at == len(raw):
        if in_quantum:
            raise _illegal(at - in_quantum)
    elif raw[at] == _PAD and in_quantum >= 2:
        _check_padding(raw, at, in_quantum)
    else:
        raise _illegal(at)


def _check_padding(raw: bytes, at: int, in_quantum: int) -> None:
    """Check the end of the input from its first pad character on."""
    at = _skip_newlines(raw, at + 1)
    if in_quantum == 2:
        if at == len(raw):
            raise _illegal(at)
        if raw[at] != _PAD:
            raise _illegal(at - 1)
        at = _skip_newlines(raw, at + 1)
    if at < len(raw):
        raise _illegal(at)


def _skip_newlines(raw: bytes, at: int) -> int:
    while at < len(raw) and raw[at] in _NEWLINES:
        at += 1
    return at


def _illegal(offset: int) -> Base64Error:
    return Base64Error(f"base64 decode error: illegal base64 data at input byte {offset}")


def _right(value: bytes, size: int) -> bytes:
    """Keep the last bytes, or pad on the left."""
    return value[-size:].rjust(size, b"\0")


def _expiration(message: pb.TicketExpirationParams) -> ExpirationParams:
    return ExpirationParams(message.creation_round, _right(message.creation_round_block_hash, 32))


def _expiration_to_pb(params: ExpirationParams) -> pb.TicketExpirationParams:
    return pb.TicketExpirationParams(
        creation_round=params.creation_round, creation_round_block_hash=params.block_hash
    )
