"""HTTP/1.1: uvicorn's httptools protocol, with limits for request heads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from podium.listener.stall import StallWatch

if TYPE_CHECKING:
    from podium.listener.config import ListenerConfig, ListenerState
    from podium.listener.stream import App, Message, Receive, Send

_FIELD_OVERHEAD_BYTES = 4  # colon, space, CR, LF
_SLICE_BYTES = 64 * 1024


class H1Protocol(HttpToolsProtocol):
    """One HTTP/1.1 connection.

    Adds to its base: 431 for a head over the limits, 408 for one that comes
    too slowly, bodies that leave as the client reads them, and answers that
    survive an upload nobody reads.
    """

    def __init__(
        self,
        config: ListenerConfig,
        server_state: ListenerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = config.limits
        self._gate = server_state.gate
        self.app = cast("Any", _sliced(cast("App", self.app)))
        self._head_bytes = 0
        self._field_bytes = 0
        self._fields = 0
        self._reading_head = False
        self._refusal: int | None = None
        self._draining = False
        self._head_timer: asyncio.TimerHandle | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Watch that the client reads."""
        super().connection_made(transport)
        self._stall = StallWatch(transport, self._limits.write_stall_timeout_s)

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._stall.paused(self.loop)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._stall.resumed()

    def data_received(self, data: bytes) -> None:
        """Feed the parser within the limits."""
        if self._draining:
            return
        was_reading = self._reading_head
        self._unset_keepalive_if_required()
        self._feed(data)
        if self._draining or self.transport.is_closing():
            return
        if self._reading_head:
            # The parser does not report an unfinished line: count what it was fed.
            self._head_bytes += len(data) if was_reading else 0
            if self._head_bytes > self._limits.max_head_bytes:
                self._refusal = 431
            elif self._head_timer is None:
                self._head_timer = self.loop.call_later(self._limits.head_timeout_s, self._late)
        if self._refusal is not None:
            self._refuse(self._refusal)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self.logger.debug("invalid HTTP/1.1 request: %s", error)
            self._refusal = self._refusal or 400

    def _decline_upgrade(self, rest: bytes) -> None:
        """Serve a request that offers an upgrade (such as curl's to h2c) as if it did not.

        The parser stops behind such a head and loses the body, so another one
        reads the request without the offer.
        """
        method = self.parser.get_method()
        if method == b"CONNECT" or self._refusal is not None:
            self._refusal = self._refusal or 400
            return
        head = [method, b" ", self.url, b" HTTP/1.1\r\n"]
        for name, value in self.headers:
            if name != b"upgrade":
                head += [name, b": ", value, b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self._feed(b"".join([*head, b"\r\n", rest]))

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock, tell the app."""
        self._stop_clock()
        self._stall.resumed()
        self._gate.ended(self.transport)
        super().connection_lost(exc)

    # Parser callbacks

    def on_message_begin(self) -> None:
        """A request's first byte."""
        super().on_message_begin()
        self._reading_head = True
        self._head_bytes = self._field_bytes = self._fields = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a field of the head or of chunked trailers."""
        self._field_bytes += len(name) + len(value) + _FIELD_OVERHEAD_BYTES
        self._fields += 1
        limits = self._limits
        if self._field_bytes > limits.max_head_bytes or self._fields > limits.max_fields:
            self._refusal = 431
        elif self._reading_head:  # trailers would otherwise change the app's headers
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: hand it to the app, or refuse it."""
        self._reading_head = False
        self._stop_clock()
        if self._refusal is not None or len(self.url) > self._limits.max_head_bytes:
            self._refusal = 431
            return
        if self.parser.should_upgrade():
            return
        self._gate.busy(self.transport)
        super().on_headers_complete()
        self.cycle.transport = cast("asyncio.Transport", _LingeringTransport(self))

    def on_body(self, body: bytes) -> None:
        """Body bytes, unless the head was refused."""
        if self._refusal is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request's end."""
        if self._refusal is None and not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """A reply is whole."""
        super().on_response_complete()
        if self.cycle.response_complete:  # else pipelined requests wait
            self._gate.idle(self.transport)

    # Refusals

    def _late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing() and not self._draining:
            self._refuse(408)

    def _refuse(self, status: int) -> None:
        self._stop_clock()
        busy = self.cycle is not None and not self.cycle.response_complete
        if not busy:  # else the answer would land inside another one
            self.transport.write(
                STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n"
            )
        self.drain_and_close()

    def drain_and_close(self) -> None:
        """Close, but read on for a moment.

        Closing under data that the client still sends resets the connection,
        and the client may never see the answer.
        """
        if not self._draining:
            self._draining = True
            self.flow.resume_reading()
            self.loop.call_later(self._limits.linger_s, self.transport.close)

    def _stop_clock(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def _sliced(app: App) -> App:
    """An app whose bodies leave in slices: the base would buffer each message whole."""

    async def run(scope: Message, receive: Receive, send: Send) -> None:
        async def send_slices(message: Message) -> None:
            body = message.get("body", b"")
            if len(body) > _SLICE_BYTES:
                rest = memoryview(body)
                while len(rest) > _SLICE_BYTES:
                    piece = rest[:_SLICE_BYTES]
                    await send({"type": message["type"], "body": piece, "more_body": True})
                    rest = rest[_SLICE_BYTES:]
                message = {**message, "body": rest}
            await send(message)

        await app(scope, receive, send_slices)

    return run


class _LingeringTransport:
    """The transport as a response sees it: closing waits for an unread upload."""

    def __init__(self, protocol: H1Protocol) -> None:
        self._protocol = protocol
        self._transport = protocol.transport
        self.write = self._transport.write
        self.is_closing = self._transport.is_closing

    def close(self) -> None:
        if self._protocol.cycle is not None and self._protocol.cycle.more_body:
            self._protocol.drain_and_close()
        else:
            self._transport.close()
