"""The executor's HTTP side: who may ask, how much at a time, how long, and how it went."""

from __future__ import annotations

import asyncio
import hmac
import inspect
import json
import logging
import time
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

from attrs import define, field

from podium_executor.errors import (
    BadRequest,
    ExecutorError,
    TimedOut,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from podium_executor.executor import Call, Executor, JobReport
from podium_executor.typed import JSON, TEXT, Payload, argument_kinds, make_reader, write
from podium_executor.typed import write_event as event

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from podium_executor.executor import Receive, Scope, Send

log = logging.getLogger("podium_executor")

HEALTH = "/healthz"
EVENTS = "text/event-stream"
DONE = b"data: [DONE]\n\n"
INTERNAL = "internal error"
CLIENT_LEFT = 499
OK = 200
BODY_STALL_S = 30.0


class ClientLeft(Exception):
    """Nobody waits for the answer any more."""


@define
class Answer:
    """What was sent so far."""

    _send: Send
    status: int = 0
    sent_bytes: int = 0

    async def start(self, status: int, content_type: str, metadata: dict[str, Any]) -> None:
        """Send status and headers."""
        self.status = status
        headers = [(b"content-type", content_type.encode("latin-1", "replace"))]
        if metadata:
            headers.append((b"x-metadata", json.dumps(metadata).encode()))
        if content_type == EVENTS:
            headers.append((b"cache-control", b"no-cache"))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def body(self, data: bytes, *, more: bool) -> None:
        """Send a piece of the body."""
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def whole(self, status: int, payload: Payload, metadata: dict[str, Any]) -> None:
        """Send an answer that is all there."""
        await self.start(status, payload.content_type, metadata)
        await self.body(payload.data, more=False)

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Pass a message on, and remember what it was."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self.sent_bytes += len(message.get("body", b""))
        await self._send(message)


@define
class Incoming:
    """A request's body on its way in, and whether its client is still there."""

    _receive: Receive
    _limit_bytes: int
    received_bytes: int = 0
    _ended: bool = False

    async def receive(self) -> MutableMapping[str, Any]:
        """Pass a message on, counted and bounded.

        Raises:
            TooLarge: the body exceeds the limit.
        """
        message = await self._receive()
        self.received_bytes += len(message.get("body", b""))
        if self.received_bytes > self._limit_bytes:
            raise TooLarge(f"the body exceeds {self._limit_bytes} bytes")
        self._ended = not message.get("more_body", False)
        return message

    async def read(self) -> bytes:
        """Read the whole body.

        Raises:
            ClientLeft: it never came to its end.
            TooLarge: it exceeds the limit.
            TimedOut: it stalled.
        """
        pieces = []
        while not self._ended:
            try:
                async with asyncio.timeout(BODY_STALL_S):
                    message = await self.receive()
            except TimeoutError as error:
                raise TimedOut("the body does not arrive") from error
            if message["type"] == "http.disconnect":
                raise ClientLeft
            pieces.append(message.get("body", b""))
        return b"".join(pieces)

    async def gone(self) -> None:
        """Return when the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


@define(eq=False)
class ExecutorApp:
    """The ASGI application of one executor.

    Attributes:
        executor: What it serves.
        token: What callers must show as a bearer token; empty: everybody may call.
        draining: No new requests are taken.
        running: Requests in flight.
    """

    executor: Executor
    token: str = field(default="", repr=False)
    draining: bool = False
    running: int = 0
    _read: Callable[[bytes], Any] = field(init=False, default=bytes)
    _arity: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        if self.executor.is_asgi:
            return
        kinds = argument_kinds(self.executor.handler)
        self._arity = len(kinds)
        if kinds:
            self._read = make_reader(kinds[0])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; the start and the end are an ASGI application's own to know of."""
        if scope["type"] != "http":
            if self.executor.is_asgi:
                await self.executor.handler(scope, receive, send)
            return
        if scope["path"] == HEALTH:
            await self._health(Answer(send))
            return
        incoming, answer = Incoming(receive, self.executor.max_body_bytes), Answer(send)
        began_s, outcome = time.monotonic(), "ok"
        try:
            self._check(scope)
            self.running += 1
            try:
                await self._serve(scope, incoming, answer)
            finally:
                self.running -= 1
        except ExecutorError as error:
            outcome = error.code
            await _refuse(answer, error.status, str(error))
        except (ClientLeft, asyncio.CancelledError) as error:
            outcome = "cancelled"
            if isinstance(error, asyncio.CancelledError):
                raise
        except Exception:
            outcome = "failed"
            log.exception("the handler of %s failed", self.executor.name)
            await _refuse(answer, 500, INTERNAL)
        finally:
            seconds = time.monotonic() - began_s
            self._report(scope, incoming, answer, outcome, seconds)

    async def _health(self, answer: Answer) -> None:
        name, capacity = self.executor.name, self.executor.capacity
        state = {"status": "draining" if self.draining else "ok", "capability": name}
        text = json.dumps({**state, "capacity": capacity, "running": self.running})
        await answer.whole(503 if self.draining else OK, Payload(text.encode(), JSON), {})

    def _check(self, scope: Scope) -> None:
        """Say whether a request may come in.

        Raises:
            ExecutorError: it may not.
        """
        given = dict(scope["headers"]).get(b"authorization", b"")
        if self.token and not hmac.compare_digest(given, b"Bearer " + self.token.encode()):
            raise Unauthorized("wrong or missing token")
        if not self.executor.is_asgi and scope["method"] != "POST":
            raise NotPost("use POST")
        if self.draining:
            raise Unavailable("the executor is about to end")
        if self.running >= self.executor.capacity:
            raise Unavailable(f"all {self.executor.capacity} slots are taken")

    async def _serve(self, scope: Scope, incoming: Incoming, answer: Answer) -> None:
        limit = asyncio.timeout(self.executor.timeout_s)
        try:
            async with limit:
                if self.executor.is_asgi:
                    await self.executor.handler(scope, incoming.receive, answer.send)
                else:
                    await self._call(scope, incoming, answer)
        except TimeoutError as error:
            if not limit.expired():
                raise  # the handler's own
            raise TimedOut(f"no end within {self.executor.timeout_s:g} s") from error

    async def _call(self, scope: Scope, incoming: Incoming, answer: Answer) -> None:
        """Run the handler while the client is there."""
        headers = dict(scope["headers"])
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        call = Call(scope["path"].lstrip("/"), content_type)
        request = self._read(await incoming.read())
        work = asyncio.ensure_future(self._work(request, call, answer))
        gone = asyncio.ensure_future(incoming.gone())
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise ClientLeft
            work.result()
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    async def _work(self, request: Any, call: Call, answer: Answer) -> None:
        handler = self.executor.handler
        arguments = (request, call)[: self._arity]
        if inspect.isasyncgenfunction(handler):
            await _stream(handler(*arguments), call, answer)
            return
        if inspect.iscoroutinefunction(handler):
            value = await handler(*arguments)
        else:
            value = await asyncio.to_thread(handler, *arguments)
        await answer.whole(OK, write(value), call.metadata)

    def _report(
        self, scope: Scope, incoming: Incoming, answer: Answer, outcome: str, seconds: float
    ) -> None:
        """Tell how it went; a hook's fault is not the request's."""
        if self.executor.on_job is None:
            return
        report = JobReport(
            capability=self.executor.name,
            path=scope["path"].lstrip("/"),
            status=answer.status or CLIENT_LEFT,
            outcome=outcome,
            seconds=seconds,
            received_bytes=incoming.received_bytes,
            sent_bytes=answer.sent_bytes,
        )
        try:
            self.executor.on_job(report)
        except Exception:
            log.exception("on_job failed")


class NotPost(BadRequest):
    """Executors are asked with POST."""

    code = "method"
    status = 405


async def _stream(values: Any, call: Call, answer: Answer) -> None:
    """Send what a generator yields; whatever happens, the stream ends with ``[DONE]``."""
    async with aclosing(values):
        try:
            async for value in values:
                if not answer.status:
                    await answer.start(OK, EVENTS, call.metadata)
                await answer.body(event(value), more=True)
        except Exception as error:
            if not answer.status:
                raise
            if not isinstance(error, ExecutorError):
                log.exception("a stream failed under way")
            text = str(error) if isinstance(error, ExecutorError) else INTERNAL
            await answer.body(b"event: error\n" + event({"error": text}), more=True)
    if not answer.status:
        await answer.start(OK, EVENTS, call.metadata)
    await answer.body(DONE, more=False)


async def _refuse(answer: Answer, status: int, text: str) -> None:
    """Answer with an error, unless an answer has begun: then it is cut off."""
    if answer.status:
        return
    with suppress(OSError):
        await answer.whole(status, Payload(f"{text}\n".encode(), TEXT), {})
