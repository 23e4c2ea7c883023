"""Admission: may this sender have this work?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from podium_hookspecs.money import Price


@frozen
class AdmitRequest:
    """Who wants in, for what.

    Attributes:
        sender: The gateway's 20-byte address (zeros off chain).
        stage: ``"discover"`` when it asks for our information, ``"job"`` when it sends work.
        session_id: The session, empty at discovery.
        capabilities: Network numbers asked for; None when the request names none.
        model: Model identifier, or None.
        attributes: Further labels of the request.
    """

    sender: bytes
    stage: str
    session_id: str = ""
    capabilities: frozenset[int] | None = None
    model: str | None = None
    attributes: Mapping[str, str] = field(factory=dict)


@frozen
class Admission:
    """The answer.

    Attributes:
        allow: Let it in.
        reason: Shown to the peer when it is refused.
        price: A price that holds for this sender instead of the usual one.
        ttl_s: How long the host may reuse the answer for this sender; 0: ask each time.
    """

    allow: bool
    reason: str = ""
    price: Price | None = None
    ttl_s: float = 0.0


@frozen
class PendingAdmission:
    """An answer that needs I/O: the host awaits ``decide`` for at most ``timeout_s``.

    A time-out or an error refuses. ``decide`` returning None lets the next plugin answer.
    """

    decide: Callable[[], Awaitable[Admission | None]]
    timeout_s: float = 5.0
