"""gRPC as a plain ASGI app, framed by hand.

A stock gRPC server cannot share its port with the node's HTTP routes. What
the node serves is small: unary calls, and streams from server to client.
"""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import aclosing
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

MAX_MESSAGE_BYTES = 4 * 1024 * 1024  # grpc-go's default receive limit
_PREFIX_BYTES = 5  # compressed flag, then the length as four bytes

logger = logging.getLogger("podium.web.grpc")


class Status(IntEnum):
    """The gRPC status codes used here."""

    OK = 0
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class GrpcError(Exception):
    """A call's answer when it is not OK.

    Attributes:
        status: Goes out as ``grpc-status``.
        message: Goes out as ``grpc-message``; clients compare it as text.
    """

    def __init__(self, status: Status | int, message: str) -> None:
        self.status = int(status)
        self.message = message
        super().__init__(message)


@frozen
class Context:
    """What a handler may want to know of a call.

    Attributes:
        path: ``/package.Service/Method``.
        headers: Request headers, names in lower case.
        client: Address and port of the peer.
    """

    path: str
    headers: tuple[tuple[bytes, bytes], ...]
    client: tuple[str, int] | None


if TYPE_CHECKING:
    Unary = Callable[[bytes, Context], Awaitable[bytes]]
    ServerStream = Callable[[bytes, Context], AsyncGenerator[bytes, None]]

_CONTENT_TYPE = (b"content-type", b"application/grpc")
_ANNOUNCED = (b"Grpc-Status", b"Grpc-Message", b"Grpc-Status-Details-Bin")
_START: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [_CONTENT_TYPE, *((b"trailer", name) for name in _ANNOUNCED)],
    "trailers": True,
}
_END_OF_BODY: Message = {"type": "http.response.body", "body": b"", "more_body": False}
_OK: Message = {"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]}
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_TIMEOUT_UNIT_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_UNSAFE = re.compile(rb"[^\x20-\x24\x26-\x7e]")


def is_grpc(scope: Mapping[str, Any]) -> bool:
    """Whether a request is for gRPC: HTTP/2, and the content type says so.

    Source: go-livepeer server/rpc.go.
    """
    if scope["type"] != "http" or scope["http_version"] != "2":
        return False
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    return any(n == b"content-type" and v.startswith(b"application/grpc") for n, v in headers)


class _Gone(Exception):  # no error: the client left
    """The client cancelled the call or its connection broke."""


@define
class GrpcApp:
    """Serves gRPC methods; mount it where ``is_grpc`` is true.

    Status goes in real trailers always: clients report UNKNOWN for one in
    opening headers. A stream ends with UNAVAILABLE when the server stops,
    and the client then looks for another.

    Attributes:
        unary: Handlers by path; the reply's bytes come back.
        server_streams: Handlers by path; each yielded item is one message.
        stopping: Set when the server stops.
        max_message_bytes: Largest request.
    """

    unary: Mapping[str, Unary]
    stopping: asyncio.Event
    server_streams: Mapping[str, ServerStream] = field(factory=dict)
    max_message_bytes: int = MAX_MESSAGE_BYTES

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one call."""
        call = _Call(self, scope, receive, send)
        try:
            trailers = await call.run()
        except _Gone:
            return
        if not call.started:
            await send(_START)
        await send(_END_OF_BODY)
        await send(trailers)


@define
class _Call:
    """One call on its way."""

    app: GrpcApp
    scope: Mapping[str, Any]
    receive: Receive
    send: Send
    started: bool = False

    async def run(self) -> Message:
        """Everything but the end; returns the trailers."""
        headers = self.scope["headers"]
        deadline = None
        try:
            timeout_s = _timeout_s(headers)
            if timeout_s is None:
                await self._answer()
            else:
                async with asyncio.timeout(timeout_s) as deadline:
                    await self._answer()
        except GrpcError as error:
            return _trailers(error)
        except Exception as error:
            if isinstance(error, _Gone):
                raise
            if isinstance(error, TimeoutError) and deadline is not None and deadline.expired():
                return _trailers(GrpcError(Status.DEADLINE_EXCEEDED, "deadline exceeded"))
            logger.exception("gRPC handler failed: %s", self.scope["path"])
            return _trailers(GrpcError(Status.INTERNAL, "internal error"))
        return _OK

    async def _answer(self) -> None:
        app, path = self.app, self.scope["path"]
        unary = app.unary.get(path)
        stream = None if unary is not None else app.server_streams.get(path)
        if unary is None and stream is None:
            raise GrpcError(Status.UNIMPLEMENTED, f"unknown method {path}")
        request = await self._request()
        context = Context(path, self.scope["headers"], self.scope["client"])
        if unary is not None:
            await self._reply(await unary(request, context))
        elif stream is not None:
            await self._stream(stream(request, context))

    async def _request(self) -> bytes:
        """The request's one message; chunks do not align with it."""
        message = await self.receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body", False) or message["type"] == "http.disconnect":
            body = await self._rest(message, bytearray(body))
        elif len(body) < _PREFIX_BYTES:
            raise GrpcError(Status.INTERNAL, "request without a message")
        size = self._size(body)
        if len(body) != _PREFIX_BYTES + size:
            raise GrpcError(Status.INTERNAL, "request is not exactly one message")
        return body[_PREFIX_BYTES:]

    async def _rest(self, message: Message, body: bytearray) -> bytes:
        while message.get("more_body", False):
            if len(body) >= _PREFIX_BYTES and len(body) > _PREFIX_BYTES + self._size(body):
                raise GrpcError(Status.INTERNAL, "request is not exactly one message")
            message = await self.receive()
            body += message.get("body", b"")
        if message["type"] == "http.disconnect":
            raise _Gone
        if len(body) < _PREFIX_BYTES:
            raise GrpcError(Status.INTERNAL, "request without a message")
        return bytes(body)

    def _size(self, body: bytes | bytearray) -> int:
        """Size of the message by its prefix, refused as soon as it is known."""
        if body[0]:
            raise GrpcError(Status.UNIMPLEMENTED, "compressed messages are not supported")
        size = int.from_bytes(body[1:_PREFIX_BYTES], "big")
        if size > self.app.max_message_bytes:
            limit = self.app.max_message_bytes
            text = f"received message larger than max ({size} vs. {limit})"
            raise GrpcError(Status.RESOURCE_EXHAUSTED, text)
        return size

    async def _reply(self, message: bytes) -> None:
        if not self.started:
            self.started = True
            await self.send(_START)
        framed = b"\0" + len(message).to_bytes(4, "big") + message
        await self.send({"type": "http.response.body", "body": framed, "more_body": True})

    async def _stream(self, messages: AsyncGenerator[bytes, None]) -> None:
        """Send messages until they end, the client leaves or the server stops."""
        self.started = True
        await self.send(_START)
        gone = asyncio.ensure_future(self._disconnected())
        stopping = asyncio.ensure_future(self.app.stopping.wait())
        waiting: list[asyncio.Future[Any]] = [gone, stopping]
        async with aclosing(messages):
            try:
                while True:
                    pump = asyncio.ensure_future(anext(messages, None))
                    waiting[2:] = [pump]
                    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    if pump.done():
                        if (message := pump.result()) is None:
                            return
                        await self._reply(message)
                    elif gone.done():
                        raise _Gone
                    else:
                        raise GrpcError(Status.UNAVAILABLE, "server is stopping")
            finally:
                for future in waiting:
                    future.cancel()
                await asyncio.wait(waiting)

    async def _disconnected(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass


def _timeout_s(headers: list[tuple[bytes, bytes]]) -> float | None:
    """The caller's deadline in seconds from now, if it set one."""
    for name, value in headers:
        if name == b"grpc-timeout":
            match = _TIMEOUT.fullmatch(value)
            if match is None:
                raise GrpcError(Status.INTERNAL, "malformed grpc-timeout")
            if not int(match[1]):
                raise GrpcError(Status.DEADLINE_EXCEEDED, "deadline exceeded")
            return int(match[1]) * _TIMEOUT_UNIT_S[match[2]]
    return None


def _trailers(error: GrpcError) -> Message:
    fields = [(b"grpc-status", b"%d" % error.status)]
    if error.message:
        fields.append((b"grpc-message", _percent_encoded(error.message)))
    return {"type": "http.response.trailers", "headers": fields}


def _percent_encoded(text: str) -> bytes:
    """Printable ASCII as it is, all else and ``%`` as ``%XX`` of its UTF-8."""
    return _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], text.encode())
