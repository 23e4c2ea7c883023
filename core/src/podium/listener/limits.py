"""What one client may ask of the listener."""

from __future__ import annotations

from attrs import define, field, frozen

KIB = 1024
MIB = 1024 * KIB


@frozen(kw_only=True)
class Limits:
    """Bounds of the listener; the defaults suit gateways 100 ms away.

    A 1 MiB stream window would make a 20 MB upload at 100 ms three times as
    slow; go-livepeer's payment headers grow to hundreds of KiB.

    Attributes:
        stream_window_bytes: Body bytes one HTTP/2 request may have unread.
        connection_window_bytes: The same for all requests of a connection.
        max_streams: Requests at once on one HTTP/2 connection.
        max_head_bytes: Size of a request head, either protocol.
        max_fields: Header fields of one request, either protocol. Decoding a
            field can cost a client one byte and the server much more.
        head_timeout_s: Time for a request head, from its first byte.
        handshake_timeout_s: Time for a TLS handshake.
        idle_timeout_s: A connection without requests is closed after this.
        graceful_timeout_s: A stopping server waits this long for requests.
        write_stall_timeout_s: A client that reads less than a write buffer
            (64 KiB) of its replies in this time is dropped; an HTTP/2 request
            whose window stays shut is reset.
        max_connections: Connections at a time. A further one takes the place of
            the one longest without a request; it is dropped if there is none.
        silent_per_address: Connections of one client address that have not
            sent a request yet. Clients open some ahead of need, so these are
            bounded by number, not by time; the oldest goes first.
        reset_burst: Cancelled requests accepted at once per connection.
        reset_rate: ... and per second after that.
        control_burst: PING, SETTINGS and similar frames accepted at once.
        control_rate: ... and per second after that.
        control_per_request: Frames each request adds (gRPC clients ping
            to measure the path, about once per reply).
        linger_s: How long an unread upload is drained behind a final answer.
    """

    stream_window_bytes: int = 4 * MIB
    connection_window_bytes: int = 16 * MIB
    max_streams: int = 500
    max_head_bytes: int = MIB
    max_fields: int = 256
    head_timeout_s: float = 10.0
    handshake_timeout_s: float = 10.0
    idle_timeout_s: float = 600.0
    graceful_timeout_s: float = 30.0
    write_stall_timeout_s: float = 60.0
    max_connections: int = 4096
    silent_per_address: int = 256
    reset_burst: int = 400
    reset_rate: float = 50.0
    control_burst: int = 1000
    control_rate: float = 200.0
    control_per_request: int = 8
    linger_s: float = 2.0


@define
class TokenBucket:
    """Allows a burst, then a rate.

    Attributes:
        burst: Most tokens it holds.
        rate: Tokens that return per second.
        tokens: What is left.
        updated_s: Monotonic time of the last look.
    """

    burst: float
    rate: float
    updated_s: float
    tokens: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.tokens = self.burst

    def earn(self, count: int) -> None:
        """Put tokens back, up to the burst."""
        self.tokens = min(self.burst, self.tokens + count)

    def take(self, now_s: float, count: int = 1) -> bool:
        """Take tokens; False when the peer has been too eager."""
        refilled = self.tokens + (now_s - self.updated_s) * self.rate
        self.tokens = min(self.burst, refilled) - count
        self.updated_s = now_s
        return self.tokens >= 0
