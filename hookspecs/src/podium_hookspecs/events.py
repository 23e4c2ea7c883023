"""What happened, as frozen values. Telemetry and observer plugins hear all of it.

Events carry no secrets, no tickets and no bodies. Amounts are exact; times are
seconds. New events and new defaulted fields are minor changes.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping


@frozen
class Event:
    """Base of all events."""


@frozen
class NodeStarted(Event):
    """The node serves."""

    version: str
    service_uri: str
    max_sessions: int


@frozen
class NodeStopping(Event):
    """The node has stopped taking new work and drains."""

    reason: str


@frozen
class SessionOpened(Event):
    """A session's first job was accepted."""

    session_id: str
    sender: bytes
    open_sessions: int


@frozen
class SessionClosed(Event):
    """A session ended: ``reason`` is ``"ended"``, ``"idle"`` or ``"stopping"``."""

    session_id: str
    sender: bytes
    reason: str
    jobs: int
    open_sessions: int


@frozen
class PriceQuoted(Event):
    """A price went out to a sender."""

    sender: bytes
    wei_per_unit: Fraction
    unit: str


@frozen
class TicketParamsIssued(Event):
    """Ticket parameters went out; wei."""

    sender: bytes
    face_value: int
    max_float: int


@frozen
class PaymentReceived(Event):
    """A payment's tickets were taken and credited; ``expected_value`` is exact wei."""

    sender: bytes
    session_id: str
    tickets: int
    winners: int
    expected_value: Fraction
    stream: str = ""


@frozen
class PaymentRefused(Event):
    """A payment was refused, with the text the sender got; ``ticket``: by the ticket checks."""

    sender: bytes
    session_id: str
    reason: str
    ticket: bool = True
    stream: str = ""


@frozen
class JobReceived(Event):
    """A job's header passed its checks; its body has yet to come.

    ``stream`` is the gateway's name of the stream (its manifest ID).
    """

    job_id: str
    session_id: str
    sender: bytes
    pipeline: str
    media_duration_s: float | None = None
    stream: str = ""


@frozen
class JobBodyRead(Event):
    """A job's body is here and is what its header said."""

    job_id: str
    session_id: str
    size_bytes: int
    seconds: float


@frozen
class JobFinished(Event):
    """A job is over, well or badly: what the canonical log line says.

    Attributes:
        outcome: ``"ok"``, or the error's code.
        detail: The error's text for the operator.
        units: What was billed.
        fee_wei: What was debited, exact.
        queued_s: From the body's end to the start of the run.
        run_s: The run.
        attributes: Facts from the pipeline's result (``profiles``, ``frames``, ...).
        account: Key of the balance it was taken from: as ``PaymentReceived.session_id`` has it.

    .. versionchanged:: 1.2
       ``account``.
    """

    job_id: str
    session_id: str
    sender: bytes
    pipeline: str
    capability: int
    model: str | None
    worker: str
    outcome: str
    detail: str = ""
    units: int = 0
    unit: str = ""
    fee_wei: Fraction = Fraction(0)
    queued_s: float = 0.0
    run_s: float = 0.0
    media_duration_s: float | None = None
    attributes: Mapping[str, str] = field(factory=dict)
    account: str = ""


@frozen
class WorkerChanged(Event):
    """A worker's health changed."""

    worker: str
    state: str
    reason: str
    slots: int


@frozen
class PluginChanged(Event):
    """A plugin's state changed: ``"ok"``, ``"degraded"``, ``"failed"`` or ``"not-enabled"``."""

    plugin: str
    state: str
    reason: str


@frozen
class RoundStarted(Event):
    """The protocol's round was initialized; ``active``: we are in its active set.

    .. versionadded:: 1.1
    """

    round_number: int
    active: bool


@frozen
class TicketRedeemed(Event):
    """A winning ticket was redeemed; wei.

    Attributes:
        sender: 20 bytes, who paid.
        face_value: What it was worth.
        paid: What it brought, less where the sender's funds did not cover it; None: unknown.
        tx_hash: 32 bytes.

    .. versionadded:: 1.1
    """

    sender: bytes
    face_value: int
    paid: int | None
    tx_hash: bytes


@frozen
class RedemptionFailed(Event):
    """A winning ticket could not be redeemed; ``final``: it never can be, its value is lost.

    .. versionadded:: 1.1
    """

    sender: bytes
    face_value: int
    reason: str
    final: bool = False


@frozen
class RewardCalled(Event):
    """The round's reward was minted; ``amount`` in the token's smallest unit, None: unknown.

    .. versionadded:: 1.1
    """

    round_number: int
    amount: int | None
    tx_hash: bytes


@frozen
class RewardFailed(Event):
    """A try to call the round's reward failed; another follows.

    .. versionadded:: 1.1
    """

    round_number: int
    reason: str


@frozen
class TransactionEnded(Event):
    """A transaction of this node ended.

    Attributes:
        purpose: ``"redeem"``, ``"reward"``, ``"initialize_round"``, ...
        outcome: ``"mined"``, ``"failed"``, ``"replaced"``: the next one took its place.
        gas_used: Units of gas; 0 while it is not mined.
        cost: Wei paid for them.

    .. versionadded:: 1.1
    """

    purpose: str
    outcome: str
    tx_hash: bytes
    gas_used: int = 0
    cost: int = 0
