"""POST /capability/register and /capability/unregister (byoc 1.1, 1.3).

Clients take 400 for "wrong secret, give up" and try again on everything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from attrs import frozen
from podium_hookspecs import PluginError

from podium_byoc.executor import registered

if TYPE_CHECKING:
    from podium_hookspecs import Secret

    from podium_byoc.registry import Registry

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

REGISTER = "/capability/register"
UNREGISTER = "/capability/unregister"
PATHS = (REGISTER, UNREGISTER)
MAX_BODY_BYTES = 64 * 2**10
BODY_TIMEOUT_S = 10.0
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
NOT_ALLOWED = "Method not allowed"
NOT_YOU = "invalid authorization"
NO_BODY = "Error reading request body"


class BodyError(Exception):
    """The body did not come whole."""


@frozen
class Door:
    """What both paths ask of a request.

    Args:
        secret: Who has it comes in; without one nobody does.
        registry: The executors.
    """

    secret: Secret | None
    registry: Registry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["path"] not in PATHS:
            await answer(send, 404, "404 page not found")
        elif scope["method"] != "POST":
            await answer(send, 405, NOT_ALLOWED)
        elif self.secret is None or not self.secret.matches(_authorization(scope)):
            await answer(send, 400, NOT_YOU)
        else:
            try:
                body = await read(receive)
            except (BodyError, TimeoutError):
                await answer(send, 400, NO_BODY)
                return
            await self.take(body, send)

    async def take(self, body: bytes, send: Send) -> None:
        """Do what the path is for."""
        raise NotImplementedError


class Register(Door):
    """Takes an executor in, or takes note of what has changed of it."""

    async def take(self, body: bytes, send: Send) -> None:
        """Register."""
        try:
            await self.registry.register(registered(body))
        except PluginError as error:
            text = f"Error registering capability: {error.public}"
            await answer(send, 400, text, JSON, newline=False)
        else:
            await answer(send, 200, "ok", JSON, newline=False)


class Unregister(Door):
    """Removes all executors of a name, or the one of an address that is given behind it."""

    async def take(self, body: bytes, send: Send) -> None:
        """Unregister; what is not known is gone already."""
        await self.registry.unregister(body.decode(errors="replace"))
        await answer(send, 200, "ok", JSON, newline=False)


async def read(receive: Receive) -> bytes:
    """Return a request's body.

    Raises:
        BodyError: it is too long, or its sender went away.
        TimeoutError: it did not come in time.
    """
    body: bytes = b""
    async with asyncio.timeout(BODY_TIMEOUT_S):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise BodyError
            body += bytes(message.get("body", b""))
            if len(body) > MAX_BODY_BYTES:
                raise BodyError
            if not message.get("more_body", False):
                return body


async def answer(
    send: Send, status: int, text: str, content_type: str = TEXT, *, newline: bool = True
) -> None:
    """Answer with a text."""
    body = text.encode() + (b"\n" if newline else b"")
    headers = [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    if content_type == TEXT:
        headers.append((b"x-content-type-options", b"nosniff"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _authorization(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"authorization":
            return str(value, "latin-1")
    return ""
