"""Small helpers over plain ASGI, for the routes where every microsecond counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import TYPE_CHECKING, Any, TypeVar

from podium.web.errors import BodyIncomplete, answer_to

if TYPE_CHECKING:
    from podium.errors import PodiumError

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
T = TypeVar("T")

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


async def read_body(
    receive: Receive, write: Callable[[bytes], Awaitable[None]], stall_timeout_s: float
) -> None:
    """Pass a request's body on, piece by piece.

    Args:
        receive: From ASGI.
        write: Awaited with each piece.
        stall_timeout_s: Longest wait for the next piece.

    Raises:
        BodyIncomplete: the peer went away or stalled.
    """
    loop = asyncio.get_running_loop()
    more = True
    try:
        async with asyncio.timeout(stall_timeout_s) as stall:
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise BodyIncomplete("the peer went away")
                if piece := message.get("body", b""):
                    await write(piece)
                    stall.reschedule(loop.time() + stall_timeout_s)
                more = message.get("more_body", False)
    except TimeoutError as error:
        raise BodyIncomplete(f"no data for {stall_timeout_s:g} s") from error


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """Return what ``work`` returns; None when the peer went away, which cancels it."""
    task = asyncio.current_task()
    assert task is not None

    def cancel_work(watch: asyncio.Task[None]) -> None:
        if not watch.cancelled():
            task.cancel()

    gone = asyncio.create_task(disconnected(receive))
    gone.add_done_callback(cancel_work)
    try:
        return await work
    except asyncio.CancelledError:
        if gone.done() and task.uncancel() == 0:
            return None
        raise
    finally:
        gone.remove_done_callback(cancel_work)
        gone.cancel()


async def disconnected(receive: Receive) -> None:
    """Return when the peer has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
