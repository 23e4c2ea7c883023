"""A plain HTTP service such as stands behind BYOC: it answers, streams, fails and stalls.

It knows nothing of the network. What it received is kept, so that a test can say what reached it.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JSON = "application/json"
EVENTS = "text/event-stream"
META = '{"model":"m1"}'
PNG = b"\x89PNGfake"
BLOCK = bytes(2**16)


@frozen
class Received:
    """A request as the container got it; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@define(eq=False)
class Container:
    """An ASGI application; the last part of the path says how it behaves.

    ``meta``, ``png``, ``created``, ``redirect``, ``redirect-away``, ``err<status>``, ``slow``,
    ``sse``, ``sse-nodone``, ``sse-long``, ``sse-idle``, ``sse-line``, ``hang``, ``huge``,
    ``broken``, ``health``; all else is an echo of path, method and length.

    Attributes:
        received: Requests, in order.
        slow_s: Before ``slow`` answers.
        step_s: Between the events of ``sse-long``; the others' come five times as fast.
        healthy: What ``health`` says.
        tokens: Values of ``Authorization`` that are let in; none: all.
        began: Set by each request.
        left: Set when a client went away before the answer's end.
        running: Requests that are being answered.
        most: The most of them at a time.
    """

    slow_s: float = 6.0
    step_s: float = 0.5
    healthy: bool = True
    tokens: set[str] = field(factory=set)
    received: list[Received] = field(factory=list)
    began: asyncio.Event = field(factory=asyncio.Event)
    left: asyncio.Event = field(factory=asyncio.Event)
    running: int = 0
    most: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request = await _read(scope, receive)
        what = request.path.rpartition("/")[2]
        if what != "health":
            self.received.append(request)
        self.running += 1
        self.most = max(self.most, self.running)
        self.began.set()
        gone = asyncio.create_task(self._watch(receive))
        work = asyncio.create_task(self._answer(what, request, send))
        try:
            await asyncio.wait({gone, work}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            work.cancel()
            gone.cancel()
            self.running -= 1

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()

    async def _answer(self, what: str, request: Received, send: Send) -> None:
        if self.tokens and request.headers.get("authorization") not in self.tokens:
            await _send(send, 401, b'{"error":"who are you"}')
        elif what.startswith("sse"):
            await self._events(what, send)
        elif what.startswith("err"):
            status = int(what.removeprefix("err"))
            await _send(send, status, b'{"error":"container says %d"}' % status)
        else:
            await self._plain(what, request, send)

    async def _plain(self, what: str, request: Received, send: Send) -> None:
        if what == "meta":
            await _send(send, 200, b'{"ok":true}', metadata=META)
        elif what == "png":
            await _send(send, 200, PNG, "image/png")
        elif what == "created":
            await _send(send, 201, b'{"created":true}')
        elif what == "slow":
            await asyncio.sleep(self.slow_s)
            await _send(send, 200, b'{"slow":true}')
        elif what == "hang":
            await asyncio.Event().wait()
        elif what == "huge":
            await _endless(send)
        elif what == "broken":
            await _head(send, 200, {"content-type": JSON, "content-length": "1000"})
            raise ConnectionAbortedError("as asked")
        elif what == "health":
            await _send(send, 200 if self.healthy else 503, b"")
        elif what.startswith("redirect"):
            away = what.endswith("away")
            host = "localhost" if away else request.headers["host"].split(":")[0]
            location = f"http://{host}:{request.headers['host'].split(':')[1]}/meta"
            await _head(send, 307, {"content-type": "text/plain", "location": location})
            await send({"type": "http.response.body", "body": b""})
        else:
            echo = {"path": request.path, "method": request.method, "length": len(request.body)}
            await _send(send, 200, json.dumps(echo).encode())

    async def _events(self, what: str, send: Send) -> None:
        long = what == "sse-long"
        headers = {"content-type": EVENTS} | ({} if long else {"x-metadata": "stream"})
        await _head(send, 200, headers)
        if what == "sse-idle":
            await asyncio.Event().wait()
        if what == "sse-line":
            await _event(send, b"data: " + b"x" * 2**21)
        for number in range(30 if long else 4):
            await _event(send, b'data: {"n":%d}\n\n' % number)
            await asyncio.sleep(self.step_s if long else self.step_s / 5)
        if what != "sse-nodone":
            await _event(send, b"data: [DONE]\n\n")
        await send({"type": "http.response.body", "body": b""})


async def _read(scope: Scope, receive: Receive) -> Received:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = {key.decode(): value.decode("latin-1") for key, value in scope["headers"]}
    return Received(scope["method"], scope["path"], headers, body)


async def _head(send: Send, status: int, headers: dict[str, str]) -> None:
    pairs = [(key.encode(), value.encode()) for key, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def _send(
    send: Send, status: int, body: bytes, content_type: str = JSON, metadata: str = ""
) -> None:
    headers = {"content-type": content_type, "content-length": str(len(body))}
    await _head(send, status, headers | ({"x-metadata": metadata} if metadata else {}))
    await send({"type": "http.response.body", "body": body})


async def _event(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})


async def _endless(send: Send) -> None:
    await _head(send, 200, {"content-type": "application/octet-stream"})
    while True:
        await _event(send, BLOCK)
        await asyncio.sleep(0)


@asynccontextmanager
async def serving(app: Any, port: int = 0) -> AsyncIterator[str]:
    """Serve an application on loopback, on this event loop; yield its address."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        # Without its own logging, which would change the whole process's.
        config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none")
        config.timeout_graceful_shutdown = 0
        server = uvicorn.Server(config)
        task = asyncio.create_task(server._serve([listening]))  # its signals are not ours
        while not server.started:  # noqa: ASYNC110  uvicorn tells no other way
            await asyncio.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = server.force_exit = True
            await task


@contextmanager
def serving_in_thread(app: Any, port: int = 0) -> Iterator[str]:
    """Serve an application on loopback, in a thread with a loop of its own; yield its address."""
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    begun = threading.Event()
    found: list[str] = []

    async def main() -> None:
        async with serving(app, port) as address:
            found.append(address)
            begun.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    begun.wait(10)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
