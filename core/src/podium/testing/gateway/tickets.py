"""The sender's side of tickets: hashes, expected values, how many, and what terms to accept.

Written from payments 1, 3 and 8, and sharing no code with the node's own ticket checks: a mistake
in one of the two shows as a refused payment.
"""

from __future__ import annotations

import math
import time
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen

from podium.crypto import keccak256
from podium.testing.gateway.errors import TermsRefused
from podium.wire.pb import lp_rpc_pb2 as net

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ALWAYS = 2**256 - 1
FEE_MARGIN = Fraction(2296835809958953, 2251799813685248)
"""The estimate's margin: the 64-bit float 1.02, exactly."""

PASS_THROUGH_FPS = 60
"""The frame rate assumed for a rendition that keeps its source's."""

L1_BLOCK_S = 12
PARAMS_LIFE_BLOCKS = 40


def integer(data: bytes) -> int:
    """Read an unsigned big-endian integer of any length."""
    return int.from_bytes(data, "big")


def word(number: int) -> bytes:
    """Return 32 bytes, big-endian."""
    return number.to_bytes(32, "big")


@frozen
class TicketTerms:
    """The ticket parameters that an orchestrator offers, as numbers; amounts are wei."""

    recipient: bytes
    face_value: int
    win_prob: int
    recipient_rand_hash: bytes
    expiration_block: int
    creation_round: int
    creation_round_block_hash: bytes
    message: net.TicketParams = field(repr=False, eq=False)

    @classmethod
    def read(cls, message: net.TicketParams) -> TicketTerms:
        """Read the offer."""
        return cls(
            recipient=message.recipient,
            face_value=integer(message.face_value),
            win_prob=integer(message.win_prob),
            recipient_rand_hash=message.recipient_rand_hash,
            expiration_block=integer(message.expiration_block),
            creation_round=message.expiration_params.creation_round,
            creation_round_block_hash=message.expiration_params.creation_round_block_hash,
            message=message,
        )

    @property
    def expected_value(self) -> Fraction:
        """Exact wei that one ticket is worth."""
        return Fraction(self.face_value * self.win_prob, ALWAYS)

    def ticket_hash(self, sender: bytes, nonce: int) -> bytes:
        """Return the 32 bytes that the sender signs for one ticket (payments 1)."""
        aux = b""
        if self.creation_round or any(self.creation_round_block_hash):
            aux = word(self.creation_round) + self.creation_round_block_hash
        return keccak256(
            self.recipient
            + sender
            + word(self.face_value)
            + word(self.win_prob)
            + word(nonce)
            + self.recipient_rand_hash
            + aux
        )


def estimate_pixels(profiles: Iterable[net.VideoProfile], duration_ms: int) -> int:
    """Return the pixels a Gateway expects to be billed for a segment (payments 8)."""
    seconds = -(-duration_ms // 1000)
    return sum(
        p.width * p.height * (-(-p.fps // max(1, p.fpsDen)) or PASS_THROUGH_FPS) * seconds
        for p in profiles
    )


def estimate_fee(
    profiles: Iterable[net.VideoProfile], duration_ms: int, wei_per_pixel: Fraction
) -> Fraction:
    """Return the exact wei a Gateway sets aside for a segment."""
    return estimate_pixels(profiles, duration_ms) * FEE_MARGIN * wei_per_pixel


def tickets_needed(fee: Fraction, ticket_value: Fraction, existing: Fraction) -> int:
    """Return how many tickets lift ``existing`` credit to the fee, and to one ticket at least."""
    wanted = max(fee, ticket_value)
    if existing >= wanted or ticket_value <= 0:
        return 0
    return math.ceil((wanted - existing) / ticket_value)


class Clock(Protocol):
    """What the Gateway knows of L1 blocks."""

    def expired(self, expiration_block: int, age_s: float) -> bool:
        """Whether parameters received ``age_s`` seconds ago must not be used any more."""


@frozen
class AgeClock:
    """Without a chain: parameters last as long as their usual number of L1 blocks, less one."""

    life_s: float = (PARAMS_LIFE_BLOCKS - 1) * L1_BLOCK_S

    def expired(self, expiration_block: int, age_s: float) -> bool:
        """Go by age alone."""
        del expiration_block
        return age_s >= self.life_s


def wall_clock_block() -> int:
    """Return the L1 block number that a node without a chain lives in."""
    return int(time.time()) // L1_BLOCK_S


@frozen
class BlockClock:
    """With a view of the chain: the latest L1 block number, called whenever it matters."""

    latest: Callable[[], int] = wall_clock_block

    def expired(self, expiration_block: int, age_s: float) -> bool:
        """Stop one block before the orchestrator would refuse."""
        del age_s
        return expiration_block - self.latest() <= 1


@frozen
class Funds:
    """The sender's own money in the ticket broker, in wei."""

    deposit: int
    reserve: int
    unlock_near: bool = False


@frozen
class Caps:
    """What this Gateway is ready to pay.

    Attributes:
        max_price: Wei per pixel; None takes any.
        max_ticket_ev: Wei that one ticket may be worth.
        max_total_ev: Wei that one payment may be worth.
        deposit_multiplier: A face value may be the deposit divided by this.
        price_rise: A session's price may rise to this many times its first price.
        funds: The sender's money; None leaves the checks of it to the orchestrator.
    """

    max_price: Fraction | None = None
    max_ticket_ev: Fraction = Fraction(3_000_000_000_000)
    max_total_ev: Fraction = Fraction(20_000_000_000_000)
    deposit_multiplier: int = 1
    price_rise: int = 2
    funds: Funds | None = None

    def check(self, terms: TicketTerms, count: int, *, expired: bool) -> None:
        """Refuse terms that are not acceptable for ``count`` tickets, in the order of payments 8.

        Raises:
            TermsRefused: with the reference's text.
        """
        if terms.expiration_block == 0:
            raise TermsRefused("ticketParams expiration block is 0")
        if expired:
            raise TermsRefused("TicketParams expired")
        value = terms.expected_value
        if value <= 0:
            return
        if value >= terms.face_value:
            raise TermsRefused(f"ticket faceValue too low faceValue={terms.face_value}")
        if value > self.max_ticket_ev:
            raise TermsRefused(
                f"ticket EV {float(value):.5f} > max ticket EV {float(self.max_ticket_ev):.5f}"
            )
        self._check_funds()
        if value * count > self.max_total_ev:
            raise TermsRefused(
                f"total ticket EV {float(value * count):.5f} for {count} tickets > "
                f"max total ticket EV {float(self.max_total_ev):.5f}"
            )
        self._check_deposit(terms.face_value)

    def _check_funds(self) -> None:
        if self.funds is None:
            return
        if self.funds.unlock_near:
            raise TermsRefused(
                "unable to validate sender: deposit and reserve is set to unlock soon"
            )
        if self.funds.reserve <= 0:
            raise TermsRefused("no sender reserve")
        if self.funds.deposit <= 0:
            raise TermsRefused("no sender deposit")

    def _check_deposit(self, face_value: int) -> None:
        if self.funds is None:
            return
        most = self.funds.deposit // self.deposit_multiplier
        if face_value > most:
            raise TermsRefused(f"ticket faceValue {face_value} > max faceValue {most}")
