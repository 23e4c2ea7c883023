"""One HTTP/2 request and its reply, as an ASGI app sees them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field
from h2.errors import ErrorCodes

from podium.listener.headers import response_fields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    from h2.stream import H2Stream

    from podium.listener.connection import ServerConnection
    from podium.listener.limits import Limits

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_QUANTUM_BYTES = 64 * 1024  # written at one go, then other streams have their turn
_SMALL_CHUNK_BYTES = 1024
_GRPC_UNAVAILABLE = b"14"

logger = logging.getLogger("podium.listener")


@define
class Turnstile:
    """Lets waiters through one at a time, first come first served.

    On a congested connection each stream writes one quantum in turn.
    """

    _waiting: deque[asyncio.Future[None]] = field(init=False, factory=deque)

    def join(self) -> asyncio.Future[None]:
        """Queue up; the future is done when it is the caller's turn."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        return turn

    def pass_on(self) -> None:
        """Let the next one through."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return


class Connection(Protocol):
    """What a stream needs of its connection.

    Attributes:
        limits: Bounds of the connection.
        conn: python-h2's side of it.
        write_paused: The client does not read.
        writable: Queue of streams for when it does.
        window: Queue of streams for the connection's window.
        window_opened_s: When the client last enlarged that window; loop time.
    """

    limits: Limits
    conn: ServerConnection
    write_paused: bool
    writable: Turnstile
    window: Turnstile
    window_opened_s: float

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """Fields of every response."""

    def flush_soon(self) -> None:
        """Write at the end of this turn of the loop."""

    def credit(self, stream: RequestStream) -> None:
        """The app took body bytes."""

    def finished(self, stream: RequestStream, reset: ErrorCodes | None) -> None:
        """The stream is over."""


@define(eq=False)
class RequestStream:
    """Request body in, response out; runs the app once.

    Attributes:
        protocol: The connection's protocol object.
        state: python-h2's state of this stream.
        scope: The ASGI scope.
        ended: The client has sent its last byte.
        gone: The client reset the stream or the connection was lost.
        done: The response is complete, or the stream was reset by us.
        unread_bytes: Received and not yet credited to the client.
    """

    protocol: Connection
    state: H2Stream
    scope: dict[str, Any]
    ended: bool = field(init=False, default=False)
    gone: bool = field(init=False, default=False)
    done: bool = field(init=False, default=False)
    unread_bytes: int = field(init=False, default=0)
    _body: list[bytes | bytearray] = field(init=False, factory=list)
    _end_delivered: bool = field(init=False, default=False)
    _arrival: asyncio.Event | None = field(init=False, default=None)
    _window: asyncio.Event | None = field(init=False, default=None)
    _turn: asyncio.Future[None] | None = field(init=False, default=None)
    _quantum_bytes: int = field(init=False, default=0)
    _started: bool = field(init=False, default=False)
    _trailers: list[tuple[bytes, bytes]] | None = field(init=False, default=None)
    _body_done: bool = field(init=False, default=False)

    # From the connection

    def feed(self, data: bytes, credit_bytes: int) -> None:
        """Body bytes arrived; ``credit_bytes`` of window go back when the app takes them."""
        if len(data) >= _SMALL_CHUNK_BYTES or not self._body:
            self._body.append(data)
        else:
            # A flood of one-byte frames must not cost an object each.
            last = self._body[-1]
            if not isinstance(last, bytearray):
                self._body[-1] = last = bytearray(last)
            last += data
        self.unread_bytes += credit_bytes
        self._wake()

    def end(self) -> None:
        """The request is complete."""
        self.ended = True
        self._wake()

    def lose(self) -> None:
        """The client is gone; the app hears it from ``receive``, and ``send`` drops."""
        self.gone = True
        self._body.clear()
        self._wake()
        self.window_opened()
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def window_opened(self) -> None:
        """The client takes more of this stream."""
        if self._window is not None:
            self._window.set()

    def _wake(self) -> None:
        if self._arrival is not None:
            self._arrival.set()

    # For the app

    async def run(self, app: App) -> None:
        """Run the app; whatever it does, the stream comes to an end."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:  # the edge between the app and the connection
            if not self.gone:
                logger.exception("app failed on %s", self.scope["path"])
        else:
            if not (self.done or self.gone):
                logger.error("app ended without a complete response: %s", self.scope["path"])
        finally:
            self._fail()

    async def receive(self) -> Message:
        """ASGI ``receive``: all body bytes at hand, then ``http.disconnect``.

        Handing bytes over returns their window to the client. A cut-off
        upload is a disconnect, never an end of body.
        """
        while not (self.gone or self.done):
            if self._body or (self.ended and not self._end_delivered):
                return self._take_body()
            if self._arrival is None:
                self._arrival = asyncio.Event()
                self._continue()
            self._arrival.clear()
            await self._arrival.wait()
        return {"type": "http.disconnect"}

    def _continue(self) -> None:
        """Tell a client that waits for it that its body is wanted."""
        expects = (b"expect", b"100-continue") in self.scope["headers"]
        if expects and not (self._started or self.ended):
            self.protocol.conn.send_headers(self.state.stream_id, [(b":status", b"100")])
            self.protocol.flush_soon()

    def _take_body(self) -> Message:
        chunks = self._body
        body = chunks[0] if len(chunks) == 1 and isinstance(chunks[0], bytes) else b"".join(chunks)
        chunks.clear()
        self._end_delivered = self.ended
        if self.unread_bytes:
            self.protocol.credit(self)
        return {"type": "http.request", "body": body, "more_body": not self.ended}

    async def send(self, message: Message) -> None:
        """ASGI ``send``: waits for the client's windows and the socket.

        Dropped without an error once the client is gone.

        Raises:
            RuntimeError: The message does not fit the state.
            MalformedFields: A header field is illegal.
        """
        if self.protocol.write_paused:
            await self._turn_at(self.protocol.writable)
        if self.gone:
            await asyncio.sleep(0)  # an app that streams to nobody must not hold the loop
            return
        kind = message["type"]
        if kind == "http.response.body" and self._started and not self._body_done:
            await self._send_body(message)
        elif kind == "http.response.start" and not (self._started or self.done):
            self._send_head(message)
        elif kind == "http.response.trailers" and self._body_done and not self.done:
            self._send_trailers(message)
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r}")

    def _send_head(self, message: Message) -> None:
        fields = response_fields(message.get("headers", ()))
        self._write_fields(message["status"], fields)
        if message.get("trailers"):
            self._trailers = []

    def _write_fields(
        self, status: int, fields: Iterable[tuple[bytes, bytes]], end: bool = False
    ) -> None:
        protocol = self.protocol
        head = [(b":status", b"%d" % status), *protocol.default_headers, *fields]
        protocol.conn.send_headers(self.state.stream_id, head, end_stream=end)
        self._started = True
        protocol.flush_soon()

    async def _send_body(self, message: Message) -> None:
        body = message.get("body", b"")
        last = not message.get("more_body", False)
        end = last and self._trailers is None
        if body and self.scope["method"] != "HEAD":
            await self._write_body(memoryview(body), end)
        elif end:
            self.protocol.conn.end_stream(self.state.stream_id)
        if last and not self.gone:
            self._body_done = True
            if end:
                self._finish()

    async def _write_body(self, rest: memoryview, end: bool) -> None:
        protocol = self.protocol
        while rest and not self.gone:
            if protocol.write_paused:
                await self._turn_at(protocol.writable)
            elif self.state.outbound_flow_control_window <= 0:
                await self._await_window()
            elif protocol.conn.outbound_flow_control_window <= 0:
                await self._await_connection_window()
            else:
                before_bytes = len(rest)
                rest = self._write_quantum(rest, end)
                self._quantum_bytes += before_bytes - len(rest)
                if self._quantum_bytes >= _QUANTUM_BYTES:
                    self._quantum_bytes = 0
                    await asyncio.sleep(0)

    async def _await_window(self) -> None:
        self._window = self._window or asyncio.Event()
        self._window.clear()
        try:
            async with asyncio.timeout(self.protocol.limits.write_stall_timeout_s):
                await self._window.wait()
        except TimeoutError:
            self._give_up()

    async def _await_connection_window(self) -> None:
        limit_s = self.protocol.limits.write_stall_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                await self._turn_at(self.protocol.window)
        except TimeoutError:
            # With many streams a turn may take longer than the client does.
            idle_s = asyncio.get_running_loop().time() - self.protocol.window_opened_s
            if idle_s >= limit_s:
                self._give_up()

    def _give_up(self) -> None:
        if not self.gone:
            self.lose()
            self.protocol.finished(self, ErrorCodes.INTERNAL_ERROR)

    async def _turn_at(self, turnstile: Turnstile) -> None:
        self._turn = turnstile.join()
        try:
            await self._turn
        finally:
            self._turn = None
            self.protocol.flush_soon()  # hands the turn on, even if this stream writes nothing

    def _write_quantum(self, rest: memoryview, end: bool) -> memoryview:
        """Write as much as fits into the windows and one quantum; what is left."""
        conn, state = self.protocol.conn, self.state
        budget = min(
            _QUANTUM_BYTES, state.outbound_flow_control_window, conn.outbound_flow_control_window
        )
        while budget > 0 and rest:
            size = min(budget, conn.max_outbound_frame_size, len(rest))
            if end and size == len(rest):
                conn.send_data(state.stream_id, rest, end_stream=True)
            else:
                conn.write_body(state, rest[:size])
            rest = rest[size:]
            budget -= size
        self.protocol.flush_soon()
        return rest

    def _send_trailers(self, message: Message) -> None:
        if self._trailers is None:
            raise RuntimeError("trailers were not announced")
        self._trailers += response_fields(message.get("headers", ()))
        if message.get("more_trailers"):
            return
        stream_id = self.state.stream_id
        if self._trailers:
            self.protocol.conn.send_headers(stream_id, self._trailers, end_stream=True)
        else:
            self.protocol.conn.end_stream(stream_id)
        self._finish()

    def _finish(self) -> None:
        """The response is complete: let go of the rest of the request."""
        self.done = True
        self.protocol.finished(self, None if self.ended else ErrorCodes.NO_ERROR)

    def _fail(self) -> None:
        """End the stream if the app did not."""
        if self.done or self.gone:
            return
        if self._is_grpc:
            self._fail_grpc()
        elif not self._started:
            self._write_fields(500, [(b"content-length", b"0")], end=True)
            self._finish()
        else:
            self.done = True
            self.protocol.finished(self, ErrorCodes.INTERNAL_ERROR)

    @property
    def _is_grpc(self) -> bool:
        return any(
            name == b"content-type" and value.startswith(b"application/grpc")
            for name, value in self.scope["headers"]
        )

    def _fail_grpc(self) -> None:
        if not self._started:
            self._write_fields(200, [(b"content-type", b"application/grpc")])
        trailers = [(b"grpc-status", _GRPC_UNAVAILABLE), (b"grpc-message", b"call aborted")]
        self.protocol.conn.send_headers(self.state.stream_id, trailers, end_stream=True)
        self._finish()
