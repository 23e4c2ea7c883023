"""HTTP/2 for uvicorn: ASGI over python-h2, built for a public port."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, ClassVar, cast

from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingReceived,
    PriorityUpdated,
    RemoteSettingsChanged,
    RequestReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    UnknownFrameReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from podium.listener.connection import ServerConnection
from podium.listener.headers import (
    MalformedFields,
    RequestHead,
    check_trailers,
    request_head,
)
from podium.listener.limits import TokenBucket
from podium.listener.stall import StallWatch
from podium.listener.stream import RequestStream, Turnstile

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium.listener.config import ListenerConfig, ListenerState
    from podium.listener.stream import App

_ANY_STREAM = 2**31 - 1
_FLUSH_BYTES = 64 * 1024
_CACHED_HEADS = 64
_CACHED_HEAD_BYTES = 2048
_SMALL_WINDOW_UPDATE = 1024
_CLOSE_TIMEOUT_S = 5.0

logger = logging.getLogger("podium.listener")


class H2Protocol(asyncio.Protocol):
    """One HTTP/2 connection.

    Every request runs as one task. Output of one turn of the event loop
    leaves in one write. Requests are told apart only by their streams: a
    slow reader, an unread upload or a failing app holds up no other stream.
    """

    def __init__(
        self,
        config: ListenerConfig,
        server_state: ListenerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.loop = _loop or asyncio.get_running_loop()
        self.limits = config.limits
        self.server_state = server_state
        self.app = cast("App", config.loaded_app)
        self.app_state = app_state
        self.conn = ServerConnection(self.limits)
        self.streams: dict[int, RequestStream] = {}
        self.write_paused = False
        self.writable = Turnstile()
        self.window = Turnstile()
        self._heads: dict[tuple[tuple[bytes, bytes], ...], RequestHead] = {}
        self._flush_scheduled = False
        self._stopping = False
        self._closing = False
        self._settings_acknowledged = False
        now_s = self.loop.time()
        self._resets = TokenBucket(self.limits.reset_burst, self.limits.reset_rate, now_s)
        self._control = TokenBucket(self.limits.control_burst, self.limits.control_rate, now_s)
        self._active_s = now_s
        self.window_opened_s = now_s
        self._head_timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """Fields of every response (``date``), kept current by the server."""
        return self.server_state.default_headers

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client."""
        self.transport = cast("asyncio.Transport", transport)
        self._stall = StallWatch(self.transport, self.limits.write_stall_timeout_s)
        self.server_state.connections.add(self)  # type: ignore[arg-type]  # a closed union of uvicorn's
        self._scope_base: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "2",
            "server": get_local_addr(self.transport),
            "client": get_remote_addr(self.transport),
            "scheme": "https" if is_ssl(self.transport) else "http",
            "root_path": "",
        }
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Read frames; act on each."""
        if self._closing:
            return
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.limits.idle_timeout_s, self._check_idle)
        try:
            events = self.conn.receive_data(data)
        except ProtocolError as error:
            logger.debug("HTTP/2 connection ended: %s", error)
            self._close()
            return
        for event in events:
            act = self._actions.get(type(event))
            if act is not None:
                act(self, event)
                if self._closing:
                    return
        self._watch_head()
        if self.conn.has_output:
            self.flush_soon()

    def eof_received(self) -> None:
        """Nothing can be answered after the client's end: let the transport close."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every app."""
        self._closing = True
        self.write_paused = False
        self.server_state.connections.discard(self)
        self.server_state.gate.ended(self.transport)
        self._stall.resumed()
        for timer in (self._head_timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        for stream in list(self.streams.values()):
            stream.lose()
        self.streams.clear()

    def pause_writing(self) -> None:
        """The client does not read."""
        self.write_paused = True
        self._stall.paused(self.loop)

    def resume_writing(self) -> None:
        """The client reads again."""
        self.write_paused = False
        self._stall.resumed()
        self.next_turn()

    # Server

    def shutdown(self) -> None:
        """Stop gracefully: no new streams, close behind the last one."""
        if self._stopping or self._closing:
            return
        self._stopping = True
        self.conn.close_connection(last_stream_id=_ANY_STREAM)
        self._flush()
        self._close_if_drained()

    def abort(self) -> None:
        """Drop the connection now."""
        self.transport.abort()

    # For streams

    def flush_soon(self) -> None:
        """Write at the end of this turn of the loop, or now if it is much."""
        if self.conn.output_bytes >= _FLUSH_BYTES:
            self._flush()
        elif not self._flush_scheduled:
            self._flush_scheduled = True
            self.loop.call_soon(self._flush_scheduled_output)

    def next_turn(self) -> None:
        """Let the next waiting stream write, if the connection takes bytes.

        Follows every flush, so each stream that wrote hands the turn on.
        """
        if not self.write_paused:
            self.writable.pass_on()
            if self.conn.outbound_flow_control_window > 0:
                self.window.pass_on()

    def credit(self, stream: RequestStream) -> None:
        """The app took body bytes: the client may send as many."""
        size, stream.unread_bytes = stream.unread_bytes, 0
        if stream.ended:
            self.conn.return_credit(size)
        else:
            self.conn.acknowledge_received_data(size, stream.state.stream_id)
        if self.conn.has_output:
            self.flush_soon()

    def finished(self, stream: RequestStream, reset: ErrorCodes | None) -> None:
        """A response is complete or given up; ``reset`` ends what is still open."""
        stream_id = stream.state.stream_id
        if reset is not None:
            self.conn.reset_stream(stream_id, reset)
        self._drop(stream)
        self.flush_soon()
        self._close_if_drained()

    def _drop(self, stream: RequestStream) -> None:
        self.streams.pop(stream.state.stream_id, None)
        if stream.unread_bytes:
            self.conn.return_credit(stream.unread_bytes)
            stream.unread_bytes = 0
        self.conn.forget(stream.state.stream_id)
        if not self.streams:
            self._active_s = self.loop.time()
            self.server_state.gate.idle(self.transport)

    # Output

    def _flush_scheduled_output(self) -> None:
        self._flush_scheduled = False
        self._flush()

    def _flush(self) -> None:
        if self.conn.has_output and not self.transport.is_closing():
            self.transport.write(self.conn.take_output())
        self.next_turn()

    def _close_if_drained(self) -> None:
        if self._stopping and not self.streams and not self._closing:
            self._goaway(ErrorCodes.NO_ERROR)

    def _goaway(self, code: ErrorCodes) -> None:
        self.conn.close_connection(code)
        self._close()

    def _close(self) -> None:
        """Write what is left and close.

        After an error the client is likely still sending; closing under its
        data would have TCP drop our GOAWAY, so that is read for a moment.
        """
        self._closing = True
        self._flush()
        for stream in list(self.streams.values()):
            stream.lose()
        self.streams.clear()
        self.server_state.gate.idle(self.transport)
        if self._stopping:
            self.transport.close()
        else:
            self.loop.call_later(self.limits.linger_s, self.transport.close)
        self.loop.call_later(self.limits.linger_s + _CLOSE_TIMEOUT_S, self.transport.abort)

    # Clocks

    def _watch_head(self) -> None:
        """Run a clock while a request head is half read."""
        if not self.conn.reading_head:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.limits.head_timeout_s, self._head_late)

    def _head_late(self) -> None:
        self._head_timer = None
        if not self._closing:
            self._goaway(ErrorCodes.ENHANCE_YOUR_CALM)

    def _check_idle(self) -> None:
        idle_s = self.loop.time() - self._active_s
        limit_s = self.limits.idle_timeout_s
        if self.streams or idle_s < limit_s:
            wait_s = limit_s if self.streams else limit_s - idle_s
            self._idle_timer = self.loop.call_later(wait_s, self._check_idle)
        elif not self._closing:
            self._goaway(ErrorCodes.NO_ERROR)

    # Events

    def _on_request(self, event: RequestReceived) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        self._control.earn(self.limits.control_per_request)
        stream_id = event.stream_id
        if self._stopping:
            self._refuse(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        if len(self.streams) >= self.limits.max_streams:
            # Before our settings arrive, no limit binds the client.
            self._refuse(stream_id, ErrorCodes.REFUSED_STREAM, self._settings_acknowledged)
            return
        try:
            head = self._head(event.headers)
        except MalformedFields as error:
            logger.debug("malformed request: %s", error)
            self._refuse(stream_id, ErrorCodes.PROTOCOL_ERROR, charged=True)
            return
        self._start(stream_id, head)

    def _head(self, received: list[tuple[bytes, bytes]]) -> RequestHead:
        """Check a head, or recall that it was."""
        key = tuple(received)
        head = self._heads.get(key)
        if head is None:
            head = request_head(received)
            if sum(len(value) for _, value in key) <= _CACHED_HEAD_BYTES:
                if len(self._heads) >= _CACHED_HEADS:
                    self._heads.clear()
                self._heads[key] = head
        return head

    def _start(self, stream_id: int, head: RequestHead) -> None:
        scope: dict[str, Any] = {
            **self._scope_base,
            "method": head.method,
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
            "headers": list(head.fields),
            "state": self.app_state.copy(),
            "extensions": {"http.response.trailers": {}},
        }
        stream = RequestStream(self, self.conn.streams[stream_id], scope)
        self.server_state.gate.busy(self.transport)
        self.streams[stream_id] = stream
        task = self.loop.create_task(stream.run(self.app))
        self.server_state.tasks.add(task)
        task.add_done_callback(self.server_state.tasks.discard)

    def _refuse(self, stream_id: int, code: ErrorCodes, charged: bool = False) -> None:
        self.conn.reset_stream(stream_id, code)
        self.conn.forget(stream_id)
        if charged:
            self._charge(self._resets)

    def _on_trailers(self, event: TrailersReceived) -> None:
        stream = self.streams.get(event.stream_id)
        try:
            check_trailers(event.headers)
        except MalformedFields:
            if stream is not None:
                stream.lose()
                self.conn.reset_stream(stream.state.stream_id, ErrorCodes.PROTOCOL_ERROR)
                self._drop(stream)
            self._charge(self._resets)

    def _on_data(self, event: DataReceived) -> None:
        stream = self.streams.get(event.stream_id)
        credit_bytes = event.flow_controlled_length
        if stream is None:
            self.conn.return_credit(credit_bytes)
        elif event.data:
            stream.feed(event.data, credit_bytes)
        elif event.stream_ended is None:
            self._on_control(event)
            stream.unread_bytes += credit_bytes

    def _on_end(self, event: StreamEnded) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            stream.end()

    def _on_reset(self, event: StreamReset) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            stream.lose()
            self._drop(stream)
            self._close_if_drained()
        self._charge(self._resets)

    def _on_window(self, event: WindowUpdated) -> None:
        if not event.stream_id:
            self.window_opened_s = self.loop.time()
            self.next_turn()
        elif (stream := self.streams.get(event.stream_id)) is not None:
            stream.window_opened()
        if event.delta < _SMALL_WINDOW_UPDATE:
            self._on_control(event)

    def _on_settings(self, event: RemoteSettingsChanged) -> None:
        if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
            for stream in self.streams.values():
                stream.window_opened()
        self._on_control(event)

    def _on_settings_acknowledged(self, event: SettingsAcknowledged) -> None:
        self._settings_acknowledged = True
        self._on_control(event)

    def _on_goaway(self, _event: ConnectionTerminated) -> None:
        """The client opens no more streams; it still wants its replies."""
        if not self.streams:
            self._stopping = True
            self._close_if_drained()

    def _on_control(self, _event: Event) -> None:
        self._charge(self._control)

    def _charge(self, bucket: TokenBucket) -> None:
        if not bucket.take(self.loop.time()) and not self._closing:
            logger.warning("HTTP/2 client closed for too many resets or control frames")
            self._goaway(ErrorCodes.ENHANCE_YOUR_CALM)

    _actions: ClassVar[dict[type[Event], Callable[[H2Protocol, Any], None]]] = {
        RequestReceived: _on_request,
        DataReceived: _on_data,
        StreamEnded: _on_end,
        StreamReset: _on_reset,
        WindowUpdated: _on_window,
        TrailersReceived: _on_trailers,
        RemoteSettingsChanged: _on_settings,
        SettingsAcknowledged: _on_settings_acknowledged,
        PingReceived: _on_control,
        PriorityUpdated: _on_control,
        UnknownFrameReceived: _on_control,
        ConnectionTerminated: _on_goaway,
    }
