"""python-h2's server connection, with what a public port needs on top."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import (
    ConnectionInputs,
    ConnectionState,
    H2Connection,
    H2ConnectionStateMachine,
)
from h2.settings import SettingCodes, Settings
from hyperframe.frame import DataFrame

from podium.listener.headers import FieldDecoder, FieldEncoder

if TYPE_CHECKING:
    from h2.events import Event
    from h2.exceptions import StreamClosedError
    from h2.stream import H2Stream
    from hyperframe.frame import Frame

    from podium.listener.limits import Limits

_DEFAULT_WINDOW_BYTES = 65_535
_CLOSED_STREAMS_KEPT = 1024
_HEADERS, _CONTINUATION = 0x1, 0x9
_FRAME_HEAD = struct.Struct(">HBBBL")


class _StateMachine(H2ConnectionStateMachine):
    """GOAWAY in either direction ends new requests, not those in flight (RFC 9113, 6.8)."""

    _transitions = {  # noqa: RUF012  # overrides a plain dict of the base class
        **H2ConnectionStateMachine._transitions,
        (ConnectionState.IDLE, ConnectionInputs.SEND_GOAWAY): (None, ConnectionState.IDLE),
        (ConnectionState.IDLE, ConnectionInputs.RECV_GOAWAY): (None, ConnectionState.IDLE),
        (ConnectionState.SERVER_OPEN, ConnectionInputs.SEND_GOAWAY): (
            None,
            ConnectionState.SERVER_OPEN,
        ),
        (ConnectionState.SERVER_OPEN, ConnectionInputs.RECV_GOAWAY): (
            None,
            ConnectionState.SERVER_OPEN,
        ),
    }


class ServerConnection(H2Connection):
    """One client's HTTP/2 connection, seen from the server.

    Differs from its base: windows and limits from ``Limits``; header fields
    are checked by ``listener.headers`` instead, once per distinct head; the
    number of streams is enforced by the protocol class stream by stream (the
    base ends the connection); either side's GOAWAY leaves streams in flight
    alone; body bytes leave with one copy.
    """

    MAX_CLOSED_STREAMS = _CLOSED_STREAMS_KEPT

    def __init__(self, limits: Limits) -> None:
        super().__init__(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.state_machine = _StateMachine()
        self.encoder = FieldEncoder()
        self.decoder = FieldDecoder(limits.max_head_bytes, limits.max_fields)
        self.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: limits.max_streams,
                SettingCodes.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
                SettingCodes.MAX_HEADER_LIST_SIZE: limits.max_head_bytes,
            },
        )
        self.initiate_connection()
        self.increment_flow_control_window(limits.connection_window_bytes - _DEFAULT_WINDOW_BYTES)

    @property
    def open_inbound_streams(self) -> int:
        """None, so that the base class never ends a connection for one stream too many."""
        return 0

    @property
    def reading_head(self) -> bool:
        """Whether the client is in the middle of a request head."""
        buffer = self.incoming_buffer
        if buffer._preamble_len or buffer._headers_buffer:
            return True
        rest = buffer._data
        return bool(rest) and (len(rest) < 4 or rest[3] in (_HEADERS, _CONTINUATION))

    @property
    def has_output(self) -> bool:
        """Whether bytes wait to be written."""
        return bool(self._data_to_send)

    @property
    def output_bytes(self) -> int:
        """How many bytes wait to be written."""
        return len(self._data_to_send)

    def take_output(self) -> bytearray:
        """Hand over the bytes to write, uncopied."""
        output, self._data_to_send = self._data_to_send, bytearray()
        return output

    def clear_outbound_data_buffer(self) -> None:
        """Keep the output, which the base drops on the client's GOAWAY: replies are in it."""

    def write_body(self, stream: H2Stream, chunk: memoryview) -> None:
        """Send body bytes within the windows and the frame size, the stream staying open."""
        size = len(chunk)
        self._data_to_send += _FRAME_HEAD.pack(size >> 8, size & 0xFF, 0, 0, stream.stream_id)
        self._data_to_send += chunk
        stream.outbound_flow_control_window -= size
        self.outbound_flow_control_window -= size

    def forget(self, stream_id: int) -> None:
        """Drop the state of a closed stream."""
        stream = self.streams.pop(stream_id, None)
        if stream is not None:
            self._closed_streams[stream_id] = stream.closed_by

    def return_credit(self, size_bytes: int) -> None:
        """Give the connection, and no stream, window for dropped bytes."""
        increment = self._inbound_flow_control_window_manager.process_bytes(size_bytes)
        if increment:
            self.state_machine.process_input(ConnectionInputs.SEND_WINDOW_UPDATE)
            self._data_to_send += b"\x00\x00\x04\x08\x00\x00\x00\x00\x00"
            self._data_to_send += increment.to_bytes(4, "big")

    def _receive_frame(self, frame: Frame) -> list[Event]:
        """Skip the base's trace for body frames: it prints all bytes, to no one."""
        if frame.__class__ is not DataFrame:
            return super()._receive_frame(frame)
        frames, events = self._receive_data_frame(frame)
        self._prepare_for_sending(frames)
        return events

    def _handle_data_on_closed_stream(
        self, events: list[Event], exc: StreamClosedError, frame: DataFrame
    ) -> tuple[list[Frame], list[Event]]:
        """Body bytes that crossed our reset: credit them, without a second reset."""
        if self._stream_is_closed_by_reset(frame.stream_id):
            self.return_credit(frame.flow_controlled_length)
            return [], events
        return super()._handle_data_on_closed_stream(events, exc, frame)
