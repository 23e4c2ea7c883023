"""Values that several parts of the core share. No I/O."""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_WIN_PROB = 2**256 - 1
"""The win probability that always wins (but for one draw); the divisor of expected values."""

MAX_BODY_BYTES = 300_000_000
"""The largest segment, 300 s at 8 Mbit/s: the bound of every body read (wire-video 2.4)."""

MAX_SEGMENT_MS = 300_000
DEFAULT_SEGMENT_MS = 2000
TOKEN_TTL_S = 1800
SESSION_IDLE_S = 70.0
BYOC = 37
"""Network number of bring-your-own-container work, whose capabilities have names."""

PROTOCOL_VERSION = "0.9.1"
"""The go-livepeer version whose interfaces we speak: gateways compare it (wire-video 8.5)."""


@frozen
class AuthToken:
    """A session's token, as it travels (wire-video 4)."""

    token: bytes = field(repr=False)
    session_id: str
    expiration: int


@frozen
class ModelConstraint:
    """What is advertised or asked for one model (wire-video 8.2)."""

    warm: bool = False
    capacity: int = 0
    runner_version: str = ""
    capacity_in_use: int = 0


@frozen
class Capabilities:
    """A set of capabilities with its constraints.

    Attributes:
        bits: The capability numbers.
        words: Number of 64-bit words on the wire: a longer array never fits a shorter one.
        mandatories: Numbers that the other side must have.
        capacities: Jobs at a time, per number.
        version: Of the node that has them.
        min_version: That the other side must have.
        models: Per capability number, per model identifier.
    """

    bits: frozenset[int] = frozenset()
    words: int = 0
    mandatories: frozenset[int] = frozenset()
    capacities: Mapping[int, int] = field(factory=dict)
    version: str = ""
    min_version: str = ""
    models: Mapping[int, Mapping[str, ModelConstraint]] = field(factory=dict)


@frozen
class KeptAccount:
    """A sender's standing for one key, as it is kept over a restart.

    Attributes:
        sender: 20 bytes.
        key: What it is for.
        balance: Exact wei.
        fixed_price: Wei per unit, if it is fixed.
        updated_at: Unix seconds of its last move.
    """

    sender: bytes
    key: str
    balance: Fraction
    fixed_price: Fraction | None
    updated_at: float


@frozen
class KeptNonces:
    """The tickets that were taken under one set of parameters, by their nonces."""

    recipient_rand: int = field(repr=False)
    expiration_block: int
    nonces: tuple[int, ...]


@frozen
class PriceInfo:
    """A price as it travels: wei per so many pixels."""

    price_per_unit: int
    pixels_per_unit: int
    capability: int = 0
    constraint: str = ""

    @cached_property
    def wei_per_unit(self) -> Fraction:
        """Exact wei for one unit; ``pixels_per_unit`` 0 raises ``ZeroDivisionError``."""
        return Fraction(self.price_per_unit, self.pixels_per_unit)


@frozen
class UploadTarget:
    """The gateway's own object storage, offered for the results (wire-video 6.2).

    Attributes:
        kind: ``"s3"`` or ``"google"``.
        host: URL that takes the form.
        key: Prefix of every object's key.
        policy: Base64 policy document; with the rest the gateway's permission to write.
    """

    kind: str
    host: str
    key: str
    policy: str = field(repr=False)
    signature: str = field(repr=False)
    credential: str = field(repr=False)
    date: str = field(repr=False)


@frozen
class WinningTicket:
    """A winning ticket with all that its redemption needs (payments 1, 6.1).

    Attributes:
        sender: 20 bytes, who pays.
        recipient: 20 bytes, who is paid.
        face_value: Wei.
        win_prob: Win threshold.
        nonce: The sender's nonce.
        recipient_rand_hash: 32 bytes.
        creation_round: The round that the ticket is bound to.
        block_hash: 32 bytes, that round's stored block hash.
        recipient_rand: The integer behind ``recipient_rand_hash``; secret until the parameters
            have expired.
        expiration_block: The L1 block from which it may be revealed.
        signature: 65 bytes by the sender.
    """

    sender: bytes
    recipient: bytes
    face_value: int
    win_prob: int
    nonce: int
    recipient_rand_hash: bytes
    creation_round: int
    block_hash: bytes
    recipient_rand: int = field(repr=False)
    expiration_block: int
    signature: bytes = field(repr=False)


class TicketState(StrEnum):
    """Where a winning ticket is on its way to being paid."""

    PENDING = "pending"
    """It waits for its time, or for its next try."""

    SUBMITTED = "submitted"
    """Its redemption is under way."""

    CONFIRMED = "confirmed"
    """It was redeemed. It may have paid less than its face value, even nothing."""

    BLOCKED = "blocked"
    """Something that may pass stands in its way; the reason says what."""

    EXPIRED = "expired"
    """Its rounds went by: the contract takes it no more."""

    DEAD = "dead"
    """The contract will never take it; the reason says why."""

    @property
    def is_open(self) -> bool:
        """Whether there is still something to be done for it."""
        return self in {TicketState.PENDING, TicketState.SUBMITTED, TicketState.BLOCKED}


@frozen
class TicketRecord:
    """A winning ticket and how far its redemption is.

    Attributes:
        ticket: The winning ticket.
        state: Where it is.
        reason: Why it is blocked, expired or dead; a stable word or the contract's own text.
        attempts: Tries that brought nothing, in a row.
        next_try_at: Unix seconds before which it is left alone.
        tx_key: Key of the newest request to redeem it, from before that was sent.
        tx_hash: 32 bytes, the transaction that redeemed it; None where it is not known.
        paid: Wei that it paid; None where it is not known.
        block: Block of ``tx_hash``; 0 where it is not known.
        gas_price_limit: Wei for one unit of gas up to which its redemption is worth it; 0 where
            that is not what blocks it.
        created_at: UTC, ``YYYY-MM-DD HH:MM:SS``, when it was won.
        updated_at: UTC, when its state changed last; None until it has.
        done_at: UTC, when it was redeemed or given up; None until it was.
    """

    ticket: WinningTicket
    state: TicketState = TicketState.PENDING
    reason: str = ""
    attempts: int = 0
    next_try_at: float = 0.0
    tx_key: str = ""
    tx_hash: bytes | None = None
    paid: int | None = None
    block: int = 0
    gas_price_limit: int = 0
    created_at: str = ""
    updated_at: str | None = None
    done_at: str | None = None
