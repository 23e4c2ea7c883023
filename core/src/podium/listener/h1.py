"""HTTP/1.1: uvicorn's httptools protocol, with limits for request heads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

if TYPE_CHECKING:
    from podium.listener.config import ListenerConfig, ListenerState

_FIELD_OVERHEAD_BYTES = 4  # colon, space, CR, LF


class H1Protocol(HttpToolsProtocol):
    """One HTTP/1.1 connection.

    Adds to its base: 431 for a head over the limit, 408 for one that comes
    too slowly, and answers that survive an upload nobody reads.
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
        self._head_bytes = 0
        self._field_bytes = 0
        self._reading_head = False
        self._refusal: int | None = None
        self._draining = False
        self._head_timer: asyncio.TimerHandle | None = None

    # asyncio.Protocol

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
        self._gate.spoke(self.transport)
        super().connection_lost(exc)

    # Parser callbacks

    def on_message_begin(self) -> None:
        """A request's first byte."""
        super().on_message_begin()
        self._reading_head = True
        self._head_bytes = self._field_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a field of the head or of chunked trailers."""
        self._field_bytes += len(name) + len(value) + _FIELD_OVERHEAD_BYTES
        if self._field_bytes > self._limits.max_head_bytes:
            self._refusal = 431
        elif self._reading_head:  # trailers would otherwise change the app's headers
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: hand it to the app, or refuse it."""
        self._reading_head = False
        self._stop_clock()
        self._gate.spoke(self.transport)
        if self._refusal is not None or len(self.url) > self._limits.max_head_bytes:
            self._refusal = 431
            return
        if self.parser.should_upgrade():
            return
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
