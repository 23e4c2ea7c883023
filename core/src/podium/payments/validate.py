"""The checks of a payment, in the protocol's order, with its texts (payments 3, 4.1, 5.4).

Pure decisions: what needs the outside world (funds, active set) comes in as values.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from attrs import field, frozen

from podium.crypto import ZERO_ADDRESS, checksum_address
from podium.errors import InsufficientBalance, PaymentError, TicketError
from podium.payments.nonces import MAX_NONCES
from podium.payments.params import Terms
from podium.payments.senders import unlocks_soon
from podium.payments.ticket import TicketTerms, rand_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podium.model import PriceInfo
    from podium.payments.nonces import NonceTable
    from podium.payments.params import RandSource
    from podium.payments.ports import SenderFunds
    from podium.payments.ticket import Checked
    from podium.wire.payment import ExpirationParams, Payment, TicketParams, TicketSenderParams

MAX_TICKETS = MAX_NONCES + 1
"""Tickets looked at in one payment: the 601st of one set of parameters fails in any case."""


NOT_OURS = "invalid recipientRand for ticket recipientRandHash"
"""What senders are told of parameters that are not ours, or not for this."""


class PriceInvalid(PaymentError):
    """A payment's expected price is missing, makes no sense, or is not the session's."""

    code = "expected_price"

    def __init__(self, reason: str) -> None:
        super().__init__(f'invalid expected price sent with payment err="{reason}"')


class RecipientInactive(PaymentError):
    """We are not in the active set, so our tickets could not be redeemed."""

    code = "inactive"

    def __init__(self, recipient: bytes, round_number: int) -> None:
        super().__init__(
            f"orchestrator {checksum_address(recipient)} is inactive in round {round_number},"
            " cannot process payments"
        )


def expected_price(price: PriceInfo | None) -> Fraction:
    """Return the price a payment expects, wei per unit, at least 0.

    Raises:
        PriceInvalid: it is missing, divides by zero or is negative. The reference lets
            negative prices through, and pays for the work.
    """
    if price is None:
        raise PriceInvalid("expected price is nil")
    if price.pixels_per_unit == 0:
        raise PriceInvalid("pixels per unit is 0")
    if price.price_per_unit < 0 or price.pixels_per_unit < 0:
        raise PriceInvalid("price is negative")
    return price.wei_per_unit


def require_sender(payment: Payment) -> None:
    """Refuse ticket parameters from nobody with ``PaymentError``."""
    if payment.ticket_params is not None and payment.sender == ZERO_ADDRESS:
        count = len(payment.ticket_sender_params)
        msg = f"Could not find Sender for payment: {count} ticket(s)"
        raise PaymentError(msg)


@frozen
class Tickets:
    """The ticket part of a payment: everything is there and the price makes sense."""

    sender: bytes
    params: TicketParams
    expiration: ExpirationParams
    tickets: tuple[TicketSenderParams, ...]
    price: Fraction


def tickets_of(payment: Payment) -> Tickets | None:
    """Return the ticket part of a payment, None when it has no tickets.

    Raises:
        PaymentError: there are no expiration parameters, on which the reference crashes.
        PriceInvalid: see :func:`expected_price`.
    """
    params = payment.ticket_params
    if params is None or not payment.ticket_sender_params:
        return None
    price = expected_price(payment.expected_price)
    if payment.expiration_params is None:
        msg = "expiration params of tickets are missing"
        raise PaymentError(msg)
    tickets = payment.ticket_sender_params[:MAX_TICKETS]
    return Tickets(payment.sender, params, payment.expiration_params, tickets, price)


def proven_terms(
    offered: Tickets,
    *,
    funds: SenderFunds,
    current_round: int,
    recipient: bytes,
    rand: RandSource,
) -> TicketTerms:
    """Prove that tickets use terms of ours (steps 2 to 5 of one ticket, alike for all).

    Returns:
        The terms with our secret for them.

    Raises:
        TicketError: the payment is refused as a whole.
    """
    params = offered.params
    if unlocks_soon(funds, current_round):
        sender = checksum_address(offered.sender)
        msg = f"deposit and reserve for sender {sender} is set to unlock soon"
        raise TicketError(msg)
    if params.recipient != recipient:
        msg = "invalid ticket recipient"
        raise TicketError(msg)
    if offered.sender == ZERO_ADDRESS:
        msg = "invalid ticket sender"
        raise TicketError(msg)
    secret = rand.recipient_rand(
        Terms(
            seed=params.seed,
            sender=offered.sender,
            face_value=params.face_value,
            win_prob=params.win_prob,
            expiration_block=params.expiration_block,
            price=offered.price,
            expiration=offered.expiration,
        )
    )
    if rand_hash(secret) != params.recipient_rand_hash:
        raise TicketError(NOT_OURS)
    return TicketTerms(offered.sender, params, offered.expiration, secret)


@frozen
class Verdict:
    """What a payment's tickets come to.

    Attributes:
        credited: Tickets to credit: those before the first error.
        winners: Tickets that won, credited or not; all are redeemable.
        taken: Nonces that this payment took from the table.
        error: The last error, with which the payment is answered after all.
    """

    credited: int
    winners: tuple[TicketSenderParams, ...]
    taken: tuple[int, ...]
    error: TicketError | None = field(default=None, eq=False)


def judge(
    terms: TicketTerms,
    checked: Sequence[Checked],
    nonces: NonceTable,
    l1_block: int,
    *,
    revealed: bool = False,
) -> Verdict:
    """Decide on each ticket (steps 6 to 10) and take its nonce.

    No error here stops the loop: later tickets are not credited any more, but their nonces are
    used up and winners among them are kept.

    Args:
        terms: What the tickets share.
        checked: The tickets.
        nonces: Those seen.
        l1_block: The newest L1 block.
        revealed: The recipient's secret is known to the world: the parameters are over before
            their time.
    """
    nonces.clean(l1_block)
    credited, winners, taken = 0, [], []
    error: TicketError | None = None
    for item in checked:
        if item.wins:
            winners.append(item.ticket)
        problem = _ticket_problem(terms, item, nonces, l1_block, revealed=revealed)
        if problem is None:
            taken.append(item.ticket.nonce)
            credited += error is None
        else:
            error = TicketError(problem)
    return Verdict(credited, tuple(winners), tuple(taken), error)


def _ticket_problem(
    terms: TicketTerms, item: Checked, nonces: NonceTable, l1_block: int, *, revealed: bool
) -> str | None:
    """Return what is wrong with one ticket; where nothing is, its nonce is taken.

    Expiry comes before the nonce: the table forgets expired parameters, so an expired ticket's
    nonce is never in it and must not get in.
    """
    if not item.signed:
        return "invalid ticket signature"
    expiration_block = terms.params.expiration_block
    if revealed or expiration_block <= l1_block:
        return "TicketParams expired"
    key = (terms.recipient_rand, expiration_block, item.ticket.nonce)
    if nonces.seen(*key):
        reason = "already seen"
    elif not nonces.take(*key):
        reason = "too many values"
    else:
        return None
    sender = checksum_address(terms.sender)
    return f"invalid ticket senderNonce: {reason} sender={sender} nonce={item.ticket.nonce}"


def billed_price(
    payment: Payment,
    *,
    quoted: Fraction,
    fixed: Fraction | None,
    balance: Fraction | None,
    ticket_ev: int,
    units: int = 0,
) -> Fraction:
    """Decide what work under a payment costs, and that it is covered.

    Tickets prove the payment's expected price: their parameters are bound to it. Without tickets
    nothing does, and the reference would bill what the sender likes. So a ticketless payment has
    to name the price that an earlier ticket of the same key fixed.

    Args:
        payment: As received, its tickets already credited.
        quoted: What we ask this sender for this key now, wei per unit.
        fixed: The price fixed for the key, if any.
        balance: The sender's balance for the key, None without an account.
        ticket_ev: The balance that must be there, wei: one ticket's expected value.
        units: Work that must be covered too, where it costs more than that.

    Returns:
        Wei per unit to debit; 0 where nothing is charged.

    Raises:
        InsufficientBalance: the balance is not there.
        PriceInvalid: the expected price is not usable, or not the fixed one.
    """
    if payment.has_tickets:
        price = expected_price(payment.expected_price)
        if price > 0:
            _require(balance, max(Fraction(ticket_ev), price * units))
        return price
    if quoted <= 0 and not fixed:
        return Fraction(0)
    if payment.expected_price is None:
        return expected_price(None)
    _require(balance if fixed is not None else None, ticket_ev)
    price = expected_price(payment.expected_price)
    if price != fixed:
        raise PriceInvalid(f"price is {price}, not {fixed} as fixed for the session")
    _require(balance, price * units)
    return price


def _require(balance: Fraction | None, wei: Fraction | int) -> None:
    if balance is None or balance < wei:
        raise InsufficientBalance
