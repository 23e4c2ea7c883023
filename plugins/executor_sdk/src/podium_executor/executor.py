"""An executor: a handler, and what the orchestrator is told of it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from attrs import define, field, frozen

from podium_executor.errors import SetupError
from podium_executor.price import Price

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY_BYTES = 64 * 2**20
TIMEOUT_S = 600.0
_NAME = re.compile(r"[^\s/][^\r\n/]{0,127}")


@define
class Call:
    """What a handler may know of a request beside its body; take it as second argument.

    Attributes:
        path: What followed the executor's address, without a leading slash.
        content_type: As sent; empty when absent.
        metadata: What goes back to the client in ``X-Metadata``, as JSON; set it before the first
            event of a stream.
    """

    path: str
    content_type: str = ""
    metadata: dict[str, Any] = field(factory=dict)


@frozen
class JobReport:
    """How one request went, for metering and logs.

    Attributes:
        capability: The executor's name.
        path: As in :class:`Call`.
        status: Of the answer; 499 when the client left before it began.
        outcome: ``ok``, ``cancelled``, or the code of the error.
        seconds: From the request's first byte to the answer's last.
        received_bytes: Of the request's body.
        sent_bytes: Of the answer's body.
    """

    capability: str
    path: str
    status: int
    outcome: str
    seconds: float
    received_bytes: int
    sent_bytes: int


@define(eq=False)
class Executor:
    """A handler with a name, a capacity and a price; calling it calls the handler.

    Attributes:
        handler: A function, an async function, an async generator, or an ASGI application.
        name: The capability's name; what clients ask gateways for.
        capacity: Requests at a time; further ones get 503.
        price: Of a second.
        description: For people.
        is_asgi: The handler is an ASGI application.
        max_body_bytes: Largest body; a larger one gets 413.
        timeout_s: Longest a request may take.
        on_job: Told how each request went.
    """

    handler: Callable[..., Any]
    name: str
    capacity: int = 1
    price: Price = field(factory=Price)
    description: str = ""
    is_asgi: bool = False
    max_body_bytes: int = MAX_BODY_BYTES
    timeout_s: float = TIMEOUT_S
    on_job: Callable[[JobReport], None] | None = None

    def __attrs_post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None:
            raise SetupError(f"{self.name!r} is no name of a capability")
        if self.capacity < 1:
            raise SetupError("the capacity must be 1 or more")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the handler, as a test would."""
        return self.handler(*args, **kwargs)


def executor(
    name: str,
    *,
    capacity: int = 1,
    price: str | Price = "0",
    description: str = "",
    asgi: bool = False,
    max_body_bytes: int = MAX_BODY_BYTES,
    timeout_s: float = TIMEOUT_S,
    on_job: Callable[[JobReport], None] | None = None,
) -> Callable[[Callable[..., Any]], Executor]:
    """Make an executor of a function or, with ``asgi=True``, of an ASGI application.

    Args:
        name: The capability's name.
        capacity: Requests at a time.
        price: Of a second: ``"0.00001 eth"``, ``"1000 wei"``, ``"0.002 USD"``.
        description: For people.
        asgi: The handler is an ASGI application.
        max_body_bytes: Largest body.
        timeout_s: Longest a request may take.
        on_job: Told how each request went.

    Raises:
        SetupError: one of these cannot be.
    """
    cost = Price.parse(price) if isinstance(price, str) else price

    def decorate(handler: Callable[..., Any]) -> Executor:
        return Executor(
            handler,
            name,
            capacity,
            cost,
            description,
            asgi,
            max_body_bytes,
            timeout_s,
            on_job,
        )

    return decorate
