"""Small helpers over plain ASGI, for the routes where every microsecond counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from podium.web.errors import BodyIncomplete, answer_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from podium.errors import PodiumError

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PLAIN_TEXT = (
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"x-content-type-options", b"nosniff"),
)


def header(scope: Scope, name: bytes) -> str:
    """Return a header's value, empty when absent; the first one counts."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return ""


async def send_text(send: Send, status: int, text: str) -> None:
    """Answer with a line of plain text, as Go's ``http.Error`` does."""
    body = text.encode() + b"\n"
    headers = [*PLAIN_TEXT, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: PodiumError) -> None:
    """Answer with the status and text of an error."""
    await send_text(send, *answer_to(error))


async def read_body(receive: Receive, stall_timeout_s: float) -> AsyncIterator[bytes]:
    """Yield a request's body.

    Args:
        receive: From ASGI.
        stall_timeout_s: Longest wait for the next piece.

    Raises:
        BodyIncomplete: the peer went away or stalled.
    """
    while True:
        try:
            async with asyncio.timeout(stall_timeout_s):
                message = await receive()
        except TimeoutError as error:
            raise BodyIncomplete(f"no data for {stall_timeout_s:g} s") from error
        if message["type"] == "http.disconnect":
            raise BodyIncomplete("the peer went away")
        if piece := message.get("body", b""):
            yield piece
        if not message.get("more_body", False):
            return


async def disconnected(receive: Receive) -> None:
    """Return when the peer has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
