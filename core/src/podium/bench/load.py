"""A lean HTTP/2 client that loads a server: frames by hand, one thread per connection.

A comfortable client would be slower than the server it measures and so hide it. This one encodes
heads with hpack, sends bodies in ready-made frames, and keeps to the server's flow control.
"""

from __future__ import annotations

import socket
import ssl
import statistics
import threading
import time
from typing import TYPE_CHECKING

import hpack
from attrs import define, field, frozen

from podium.errors import PodiumError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_BYTES = 16384
HEAD_BYTES = 9
DATA, HEADERS, RST_STREAM, SETTINGS, PING = 0, 1, 3, 4, 6
GOAWAY, WINDOW_UPDATE, CONTINUATION = 7, 8, 9
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
INITIAL_WINDOW_SETTING = 4
DEFAULT_WINDOW = 65535
OUR_WINDOW = 2**30


class LoadError(PodiumError):
    """The server did not answer as it should."""

    code = "load"


@frozen
class Request:
    """One request: path, extra headers, body."""

    path: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = field(default=b"", repr=False)


@frozen
class Answer:
    """What came back.

    Attributes:
        status: HTTP status.
        head_s: Seconds from the request's last byte sent to the answer's head.
        total_s: Seconds from the request's first byte to the answer's end.
        trailers: Where gRPC says how it went.
    """

    status: int
    body: bytes = field(repr=False)
    head_s: float
    total_s: float
    trailers: Mapping[bytes, bytes] = field(factory=dict)

    def require_ok(self) -> None:
        """Raise ``LoadError`` when this is not a 200."""
        if self.status != 200:
            raise LoadError(f"{self.status}: {self.body[:200]!r}")


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame."""
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
    return head + payload


def _framed_size(body_bytes: int) -> int:
    """Return what the first bytes of a body take in frames, all of them full but the last."""
    return body_bytes + HEAD_BYTES * -(-body_bytes // FRAME_BYTES)


@frozen(eq=False)
class FramedBody:
    """A body in DATA frames, made once for a connection that sends it again and again."""

    body: bytes = field(repr=False)
    frames: bytearray = field(repr=False)

    @classmethod
    def of(cls, body: bytes) -> FramedBody:
        """Cut a body into frames."""
        frames = bytearray()
        for start in range(0, len(body), FRAME_BYTES):
            piece = body[start : start + FRAME_BYTES]
            frames += frame(DATA, END_STREAM if start + len(piece) == len(body) else 0, 0, piece)
        return cls(body, frames)

    def for_stream(self, stream: int) -> memoryview:
        """Return the frames with a stream's number in each head; good until the next call."""
        number = stream.to_bytes(4, "big")
        for head in range(0, len(self.frames), HEAD_BYTES + FRAME_BYTES):
            self.frames[head + 5 : head + HEAD_BYTES] = number
        return memoryview(self.frames)


@define
class Connection:
    """One HTTP/2 connection over TLS, one request at a time, blocking."""

    sock: ssl.SSLSocket
    encoder: hpack.Encoder = field(factory=hpack.Encoder)
    decoder: hpack.Decoder = field(factory=hpack.Decoder)
    window: int = DEFAULT_WINDOW
    stream_window: int = DEFAULT_WINDOW
    initial_window: int = DEFAULT_WINDOW
    next_stream: int = 1
    buffer: bytearray = field(factory=bytearray)
    _framed: FramedBody | None = None

    @classmethod
    def open(cls, host: str, port: int) -> Connection:
        """Connect; the certificate is not verified, as gateways do."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        raw = socket.create_connection((host, port), timeout=30)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = cls(context.wrap_socket(raw))
        window = frame(WINDOW_UPDATE, 0, 0, OUR_WINDOW.to_bytes(4, "big"))
        settings = INITIAL_WINDOW_SETTING.to_bytes(2, "big") + OUR_WINDOW.to_bytes(4, "big")
        connection.sock.sendall(PREFACE + frame(SETTINGS, 0, 0, settings) + window)
        while connection._read_frame()[0] != SETTINGS:
            pass
        return connection

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()

    def request(self, request: Request) -> Answer:
        """Send a request and wait for the whole answer."""
        started_s = time.perf_counter()
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        self.stream_window = self.initial_window
        head = self.encoder.encode(
            [
                (":method", "POST"),
                (":scheme", "https"),
                (":authority", "127.0.0.1"),
                (":path", request.path),
                *request.headers,
            ],
            huffman=False,
        )
        self._send_head(stream, head, end=not request.body)
        if request.body:
            self._send_body(stream, request.body)
        return self._answer(stream, started_s)

    def _send_head(self, stream: int, head: bytes, *, end: bool) -> None:
        pieces = [head[i : i + FRAME_BYTES] for i in range(0, len(head), FRAME_BYTES)]
        out = bytearray()
        for index, piece in enumerate(pieces):
            flags = END_HEADERS if index == len(pieces) - 1 else 0
            if index == 0:
                flags |= END_STREAM if end else 0
            out += frame(HEADERS if index == 0 else CONTINUATION, flags, stream, piece)
        self.sock.sendall(out)

    def _send_body(self, stream: int, body: bytes) -> None:
        if self._framed is None or self._framed.body is not body:
            self._framed = FramedBody.of(body)
        frames = self._framed.for_stream(stream)
        sent = 0
        while sent < len(body):
            room = min(self.window, self.stream_window, len(body) - sent)
            if room < len(body) - sent:
                room -= room % FRAME_BYTES
            if room <= 0:
                self._read_frame()
                continue
            self.sock.sendall(frames[_framed_size(sent) : _framed_size(sent + room)])
            sent += room
            self.window -= room
            self.stream_window -= room

    def _answer(self, stream: int, started_s: float) -> Answer:
        sent_s = time.perf_counter()
        status, head_s, body = 0, 0.0, bytearray()
        trailers: dict[bytes, bytes] = {}
        while True:
            kind, flags, number, payload = self._read_frame()
            if kind == HEADERS and number == stream:
                fields = dict(self.decoder.decode(payload, raw=True))
                if b":status" in fields:
                    status, head_s = int(fields[b":status"]), time.perf_counter() - sent_s
                else:
                    trailers = fields
            elif kind == DATA and number == stream:
                body += payload
            elif kind == GOAWAY or (kind == RST_STREAM and number == stream):
                raise LoadError(f"the server ended the stream: frame {kind}, {payload.hex()}")
            if number == stream and kind in (HEADERS, DATA) and flags & END_STREAM:
                total_s = time.perf_counter() - started_s
                return Answer(status, bytes(body), head_s, total_s, trailers)

    def _read_frame(self) -> tuple[int, int, int, bytes]:
        while len(self.buffer) < HEAD_BYTES:
            self._fill()
        size = int.from_bytes(self.buffer[:3], "big")
        while len(self.buffer) < HEAD_BYTES + size:
            self._fill()
        kind, flags = self.buffer[3], self.buffer[4]
        number = int.from_bytes(self.buffer[5:HEAD_BYTES], "big")
        payload = bytes(self.buffer[HEAD_BYTES : HEAD_BYTES + size])
        del self.buffer[: HEAD_BYTES + size]
        self._handle(kind, flags, number, payload)
        return kind, flags, number, payload

    def _fill(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise LoadError("the server closed the connection")
        self.buffer += data

    def _handle(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE:
            step = int.from_bytes(payload, "big")
            if number == 0:
                self.window += step
            elif number == self.next_stream - 2:
                self.stream_window += step
        elif kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                if int.from_bytes(payload[at : at + 2], "big") == INITIAL_WINDOW_SETTING:
                    self.initial_window = int.from_bytes(payload[at + 2 : at + 6], "big")
            self.sock.sendall(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self.sock.sendall(frame(PING, ACK, 0, payload))


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value below which ``percent`` of the values stay."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


@frozen
class LoadResult:
    """What a load found.

    Attributes:
        seconds: Wall-clock time of all requests.
        latencies_s: Of each request, in no order.
    """

    seconds: float
    latencies_s: Sequence[float] = field(repr=False)

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.latencies_s) / self.seconds

    def percentile_s(self, percent: int) -> float:
        """Latency in seconds below which ``percent`` of the requests stay."""
        return percentile(self.latencies_s, percent)


def run_load(
    work: Sequence[tuple[Connection, Iterable[Request]]],
    check: Callable[[bytes], None] | None = None,
) -> LoadResult:
    """Send lists of requests, each list over its own connection, side by side.

    Args:
        work: Connections, and what to send over each.
        check: Raises ``LoadError`` for a body that is no success; called when all is timed.

    Raises:
        LoadError: an answer was not a 200, or none came.
    """
    answers: list[Answer] = []
    errors: list[Exception] = []

    def one(connection: Connection, requests: Iterable[Request]) -> None:
        try:
            answers.extend(connection.request(request) for request in requests)
        except (LoadError, OSError) as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=pair) for pair in work]
    started_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started_s
    if errors:
        raise LoadError(str(errors[0])) from errors[0]
    for answer in answers:
        answer.require_ok()
        if check is not None:
            check(answer.body)
    return LoadResult(seconds, [answer.total_s for answer in answers])
