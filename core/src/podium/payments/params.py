"""Ticket parameters: what we offer, and how we know our own offer again (payments 2)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from fractions import Fraction
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from podium.errors import ReserveTooLow
from podium.model import MAX_WIN_PROB
from podium.payments.senders import max_float
from podium.payments.ticket import rand_hash
from podium.wire.payment import ExpirationParams, TicketParams

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium.payments.ports import Broker, Clock, GasPrice

VALIDITY_BLOCKS = 40
"""Parameters expire this many L1 blocks (about 8 minutes) after they were issued."""

TX_COST_MULTIPLIER = 100
"""A ticket's face value is this many times what its redemption costs."""

REDEEM_GAS = 1_200_000
"""Gas of one redemption on Arbitrum (payments 2.3)."""

AVERAGE_GAS_PRICE_WEI = 3_000_000_000
SECRET_BYTES = 32
SEED_BYTES = 32


@frozen
class PaymentSettings:
    """How we want to be paid.

    Attributes:
        recipient: Our 20-byte address on chain.
        ticket_ev: Expected value of each ticket, wei.
        redeem_gas: Gas of one redemption.
        max_face_value: Largest face value, wei; 0: no limit.
    """

    recipient: bytes
    ticket_ev: int = 8_000_000_000
    redeem_gas: int = REDEEM_GAS
    max_face_value: int = 0


@frozen
class Terms:
    """All that an offer promises and a payment must give back unchanged.

    ``price`` is wei per unit; a fraction is reduced, so a sender may expand it.
    """

    seed: int
    sender: bytes
    face_value: int
    win_prob: int
    expiration_block: int
    price: Fraction
    expiration: ExpirationParams


def packed_terms(terms: Terms) -> bytes:
    """Pack terms so that no two terms pack alike: hex words, a space between them.

    The reference concatenates bytes without lengths. They can then wander from one field to the
    next under the same hash: the price's first byte moved to the end of the expiration block
    makes the price a fraction of what was offered. Only the recipient evaluates this, so it is
    ours to choose.
    """
    price, expiration = terms.price, terms.expiration
    return (
        f"{terms.seed:x} {terms.sender.hex()} {terms.face_value:x} {terms.win_prob:x}"
        f" {terms.expiration_block:x} {price.numerator:x} {price.denominator:x}"
        f" {expiration.creation_round:x} {expiration.block_hash.hex()}"
    ).encode()


@frozen
class RandSource:
    """Derives a ticket's secret randomness from terms.

    Attributes:
        secret: 32 bytes, known to nobody else; whoever has it can choose winning tickets.
        pack: Turns terms into the hashed message; tests set the reference's packing.
    """

    secret: bytes = field(repr=False)
    pack: Callable[[Terms], bytes] = packed_terms

    def recipient_rand(self, terms: Terms) -> int:
        """Return the randomness behind ``recipient_rand_hash``."""
        return int.from_bytes(hmac.digest(self.secret, self.pack(terms), hashlib.sha256), "big")


@frozen
class Offer:
    """Issued parameters, with the float they were cut to (for metrics)."""

    params: TicketParams
    max_float: int


@define
class ParamsIssuer:
    """Issues ticket parameters. Holds no state of its own; each offer has a fresh seed."""

    settings: PaymentSettings
    rand: RandSource
    clock: Clock
    broker: Broker
    gas_price: GasPrice
    new_seed: Callable[[], int] = field(default=lambda: secrets.randbits(8 * SEED_BYTES))

    async def issue(self, sender: bytes, price: Fraction) -> Offer:
        """Make parameters for a sender at a price.

        Args:
            sender: 20-byte address.
            price: Wei per unit, exactly as the price info beside the parameters says.

        Raises:
            SenderError: ``insufficient sender reserve``, or the funds could not be read.
        """
        if price:
            floated = max_float(await self.broker.sender_funds(sender))
            value = face_value(self.settings, self.gas_price.wei, floated)
        else:
            floated, value = 0, 0
        threshold = win_prob(value, self.settings.ticket_ev)
        expiration = current_expiration(self.clock)
        terms = Terms(
            seed=self.new_seed(),
            sender=sender,
            face_value=value,
            win_prob=threshold,
            expiration_block=self.clock.l1_block + VALIDITY_BLOCKS,
            price=price,
            expiration=expiration,
        )
        params = TicketParams(
            recipient=self.settings.recipient,
            face_value=value,
            win_prob=threshold,
            recipient_rand_hash=rand_hash(self.rand.recipient_rand(terms)),
            seed=terms.seed,
            expiration_block=terms.expiration_block,
            expiration_params=expiration,
        )
        return Offer(params, floated)

    async def tx_cost_multiplier(self, sender: bytes) -> Fraction:
        """Return face value over redemption cost for a sender; 0 when redeeming costs nothing.

        Raises:
            SenderError: as :meth:`issue`.
        """
        cost = self.settings.redeem_gas * self.gas_price.wei
        if cost <= 0:
            return Fraction(0)
        floated = max_float(await self.broker.sender_funds(sender))
        return Fraction(face_value(self.settings, self.gas_price.wei, floated), cost)


def face_value(settings: PaymentSettings, gas_price_wei: int, floated: int) -> int:
    """Return a ticket's face value in wei for a sender with this float.

    Raises:
        ReserveTooLow: ``insufficient sender reserve``.

    Source: go-livepeer pm/recipient.go, faceValue.
    """
    cost = settings.redeem_gas * gas_price_wei
    value = cost * TX_COST_MULTIPLIER
    if value < settings.ticket_ev:
        value = settings.ticket_ev * TX_COST_MULTIPLIER
    value = min(value, floated)
    if settings.max_face_value > 0:
        value = min(value, settings.max_face_value)
    worth_redeeming = value >= min(cost, settings.redeem_gas * AVERAGE_GAS_PRICE_WEI)
    if value < settings.ticket_ev or not worth_redeeming:
        msg = "insufficient sender reserve"
        raise ReserveTooLow(msg)
    return value


def win_prob(value: int, ticket_ev: int) -> int:
    """Return the win threshold that gives a face value the wanted expected value.

    Rounded up, so that one ticket always covers the balance that one ticket must give.
    """
    if value == 0:
        return 0
    if value == ticket_ev:
        return MAX_WIN_PROB
    quotient, remainder = divmod(MAX_WIN_PROB, value)
    return ticket_ev * (quotient + 1 if remainder else quotient)


def current_expiration(clock: Clock) -> ExpirationParams:
    """Return the round that new tickets are bound to.

    A round's block hash can be zero on Arbitrum; the round before it is used then.
    """
    number = clock.current_round
    block_hash = clock.round_hash(number)
    if not any(block_hash) and number > 0:
        number -= 1
        block_hash = clock.round_hash(number)
    return ExpirationParams(number, block_hash)
