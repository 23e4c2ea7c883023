"""A container that does nothing, quickly: ``python -m podium.bench.container``.

``/echo`` answers with the body, ``/events`` streams as many events as the body says, ``/idle``
begins a stream and is silent until its client leaves. Bare ASGI behind uvicorn, so that all that
is measured beside it is the node's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from podium.bench.runner import serve

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

CAPABILITY = "bench"
EVENT = b'data: {"choices": [{"index": 0, "delta": {"content": " hello"}}]}\n\n'
DONE = b"data: [DONE]\n\n"


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answer one request."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if scope["path"] == "/echo":
        await _head(send, b"application/json", len(body))
        await send({"type": "http.response.body", "body": body})
        return
    await _head(send, b"text/event-stream")
    if scope["path"] == "/idle":
        await _piece(send, EVENT)
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    for _ in range(int(body)):
        await _piece(send, EVENT)
        await asyncio.sleep(0)  # each event leaves by itself, as those of a model do
    await send({"type": "http.response.body", "body": DONE})


async def _head(send: Send, content_type: bytes, size: int | None = None) -> None:
    headers = [(b"content-type", content_type)]
    if size is not None:
        headers.append((b"content-length", str(size).encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _piece(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})


if __name__ == "__main__":
    asyncio.run(serve(app))
