"""Hostile and clumsy clients: refused one by one, while others are served."""

import asyncio
import contextlib

import hyperframe.frame as frames
import pytest
from h2.errors import ErrorCodes
from podium.listener.gate import ConnectionGate, client_site
from podium.listener.limits import TokenBucket

KIB, MIB = 1024, 1024 * 1024


async def served(connect, port, tls=True):
    """A fresh client is answered."""
    client = await connect(port, tls=tls)
    assert await client.answer(client.request()) == 200


async def calmed(client):
    """The client is sent away with ENHANCE_YOUR_CALM."""
    await client.read_until(lambda: client.goaways)
    assert client.goaways[-1] == ErrorCodes.ENHANCE_YOUR_CALM


@pytest.mark.parametrize("tls", [True, False])
async def test_a_head_of_900_kb_on_http2(serve, apps, connect, tls):
    server = await serve(apps.echo_size, tls=tls)
    client = await connect(server.port, tls=tls)
    await client.read_until(client.acks_settings)
    for headers in ([("livepeer-payment", "p" * 900_000)], [("a", "v" * 4000)] * 150):
        stream = client.request(headers=headers)
        assert await client.answer(stream) == 200
        size = int(client.bodies[stream].split()[1])
        assert size >= sum(len(value) for _, value in headers)


async def test_a_head_over_a_mebibyte_on_http2_ends_the_connection(serve, apps, connect):
    server = await serve(apps.echo_size)
    client = await connect(server.port)
    await client.read_until(client.acks_settings)
    client.request(headers=[("a", "v" * 4000)] * 200 + [("b", "v" * 100_000)] * 3)
    await calmed(client)
    await served(connect, server.port)


async def test_a_head_of_many_fields_on_http2_ends_the_connection(serve, apps, connect):
    """One byte each, so far below the limit of size."""
    server = await serve(apps.echo_size)
    client = await connect(server.port)
    assert await client.answer(client.request(headers=[("a", "b")] * 250)) == 200
    client.request(headers=[("a", "b")] * 29_000)
    await calmed(client)
    await served(connect, server.port)


async def test_endless_continuation_frames_end_the_connection(serve, apps, connect):
    server = await serve(apps.echo_size)
    client = await connect(server.port)
    head = frames.HeadersFrame(1, data=b"\x82")
    more = frames.ContinuationFrame(1, data=b"")
    client.writer.write(head.serialize() + more.serialize() * 1000)
    await client.read_until(lambda: client.goaways)
    await served(connect, server.port)


async def http11(port, dial, request):
    """First line of the answer to raw bytes."""
    reader, writer = await dial(port)
    writer.write(request)
    async with asyncio.timeout(10):
        return await reader.readline()


async def test_a_head_of_100_kb_on_http11(serve, apps, dial):
    server = await serve(apps.echo_size)
    head = b"POST / HTTP/1.1\r\nhost: x\r\nlivepeer-payment: %s\r\ncontent-length: 0\r\n\r\n"
    for size in (100_000, 900_000):
        line = await http11(server.port, dial, head % (b"p" * size))
        assert line.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"v" * (2 * MIB),  # one line without an end
        b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"v" * (MIB + 10) + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a: vvvvvvvvvvvvvvvv\r\n" * 60_000,
        b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a:\r\n" * 257 + b"\r\n",
        b"GET /" + b"v" * (MIB + 10) + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
    ids=["endless line", "long line", "many lines", "many fields", "long target"],
)
async def test_a_head_over_the_limits_on_http11_is_431(serve, apps, dial, connect, request_):
    server = await serve(apps.echo_size)
    assert (await http11(server.port, dial, request_)).startswith(b"HTTP/1.1 431 ")
    await served(connect, server.port)


async def test_endless_chunked_trailers_are_cut_off(serve, apps, dial, connect):
    server = await serve(apps.echo_size, max_head_bytes=64 * KIB)
    head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"
    reader, writer = await dial(server.port)
    writer.write(head + b"a: vvvvvvvvvvvvvvvv\r\n" * 60_000)
    async with asyncio.timeout(10):
        assert b" 200 " not in await reader.read()
    await served(connect, server.port)


async def test_not_http_is_400(serve, apps, dial):
    server = await serve(apps.echo_size)
    assert (await http11(server.port, dial, b"\0\1\2\3\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    line = await http11(server.port, dial, b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n")
    assert line.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("version", ["h1", "h2", "plain"])
async def test_a_head_that_trickles_is_given_up(serve, apps, connect, dial, version):
    server = await serve(apps.echo_size, tls=version != "plain", head_timeout_s=0.2, linger_s=0.1)
    if version == "h2":
        client = await connect(server.port)
        reader, writer = client.reader, client.writer
        drip = frames.HeadersFrame(1, data=bytes(100)).serialize()
    else:
        reader, writer = await dial(server.port, tls=version == "h1")
        drip = (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"
            if version == "plain"
            else b"GET / HTTP/1.1\r\nh: " + b"x" * 30
        )

    async def trickle():
        for byte in drip:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(trickle())
    async with asyncio.timeout(5):
        answer = await reader.read()
    assert not dripping.done()
    if version == "h1":
        assert answer.startswith(b"HTTP/1.1 408 ")
    dripping.cancel()


async def test_many_quick_heads_never_run_out_the_clock(serve, apps, connect):
    """The clock is for one head, even when reads always end inside the next one."""
    server = await serve(apps.echo_size, head_timeout_s=0.3)
    client = await connect(server.port)
    held = b""
    for _ in range(12):
        stream = client.conn.get_next_available_stream_id()
        head = [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/")]
        client.conn.send_headers(stream, head, end_stream=True)
        data = held + client.conn.data_to_send()
        client.writer.write(data[:-3])
        held = data[-3:]
        await asyncio.sleep(0.05)
    client.writer.write(held)
    assert await client.answer(stream) == 200


async def test_a_slow_upload_is_no_slow_head(serve, apps, connect):
    server = await serve(apps.echo_size, head_timeout_s=0.1)
    client = await connect(server.port)
    stream = client.request(end=False)
    frame = frames.DataFrame(stream, data=bytes(20), flags=["END_STREAM"]).serialize()
    for byte in frame:
        client.writer.write(bytes([byte]))
        await asyncio.sleep(0.01)
    assert await client.answer(stream) == 200


@pytest.mark.parametrize("reading", [True, False])
async def test_rapid_resets_are_sent_away(serve, apps, connect, reading):
    running = 0

    async def app(scope, receive, send):
        nonlocal running
        if scope["path"] == "/":
            await apps.echo_size(scope, receive, send)
            return
        running += 1
        while (await receive())["type"] != "http.disconnect":
            pass
        running -= 1

    server = await serve(app)
    client = await connect(server.port)
    other = await connect(server.port)
    for number in range(1000):
        stream = client.request("/wait", end=False)
        client.conn.reset_stream(stream, ErrorCodes.CANCEL)
        client.flush()
        if reading and number % 50 == 0:
            assert await other.answer(other.request()) == 200
    await calmed(client)
    assert await other.answer(other.request()) == 200
    await apps.eventually(lambda: not (running or server.server_state.tasks))


@pytest.mark.parametrize(
    "frame",
    [
        frames.PingFrame(0, opaque_data=b"12345678"),
        frames.SettingsFrame(0, settings={3: 100}),
        frames.PriorityFrame(1, depends_on=0, stream_weight=1),
        frames.ExtensionFrame(0xAA, 0),
        frames.WindowUpdateFrame(0, window_increment=1),
        frames.DataFrame(1, data=b""),
    ],
    ids=lambda frame: type(frame).__name__,
)
async def test_control_floods_are_sent_away(serve, apps, connect, frame):
    server = await serve(apps.echo_size)
    client = await connect(server.port)
    client.request(end=False)
    client.writer.write(frame.serialize() * 3000)
    await calmed(client)
    await served(connect, server.port)


async def test_a_ping_per_request_is_fine(serve, apps, connect):
    """gRPC clients measure the path so."""
    server = await serve(apps.echo_size, control_burst=50, control_rate=1)
    client = await connect(server.port)
    for number in range(300):
        client.conn.ping(b"12345678")
        assert await client.answer(client.request()) == 200
        await client.read_until(lambda number=number: client.acknowledged > number)
    assert not client.goaways


async def test_streams_beyond_the_limit_are_refused_one_by_one(serve, apps, connect):
    release = asyncio.Event()

    async def app(scope, receive, send):
        await release.wait()
        await apps.echo_size(scope, receive, send)

    server = await serve(app, max_streams=5)
    client = await connect(server.port)
    streams = [client.request() for _ in range(8)]
    await client.read_until(lambda: len(client.resets) == 3)
    assert client.resets == dict.fromkeys(streams[5:], ErrorCodes.REFUSED_STREAM)
    release.set()
    for stream in streams[:5]:
        assert await client.answer(stream) == 200
    assert await client.answer(client.request()) == 200


@pytest.mark.parametrize(
    "headers",
    [
        [(":method", "GET"), (":scheme", "https"), (":authority", "x")],
        [(":method", "GET"), (":scheme", "https"), (":path", "/")],
        [(":method", "GET"), (":path", "/"), (":authority", "x")],
        [(":method", "GET"), (":scheme", "s"), (":path", "/"), (":authority", "x"), ("A", "b")],
        [(":method", "GET"), (":scheme", "s"), (":path", "/"), (":authority", "x"), ("a", "b\nc")],
        [(":method", "GET"), (":scheme", "s"), (":path", "/"), (":authority", "x"), ("a", " b")],
        [(":method", "GET"), (":scheme", "s"), (":path", "/"), (":authority", "x"), ("te", "gzip")],
        [(":method", "GET"), (":scheme", "s"), (":path", "/"), ("a", "b"), (":authority", "x")],
        [(":method", "GET"), (":method", "GET"), (":scheme", "s"), (":path", "/"), ("host", "x")],
        [(":method", "GET"), (":scheme", "s"), (":path", "/"), (":authority", "x"), ("host", "y")],
        [(":method", "CONNECT"), (":authority", "x")],
        [
            (":method", "GET"),
            (":scheme", "s"),
            (":path", "/"),
            (":authority", "x"),
            ("connection", "close"),
        ],
    ],
)
async def test_a_malformed_head_ends_its_stream_only(serve, apps, connect, headers):
    server = await serve(apps.echo_size)
    client = await connect(server.port)
    before = client.request(end=False)
    client.conn.config.normalize_outbound_headers = False
    stream = client.conn.get_next_available_stream_id()
    client.conn.send_headers(stream, headers, end_stream=True)
    client.flush()
    await client.read_until(lambda: stream in client.resets)
    assert client.resets[stream] == ErrorCodes.PROTOCOL_ERROR
    await client.upload(before, b"x")
    assert await client.answer(before) == 200


async def test_not_http2_behind_alpn_h2_is_dropped(serve, apps, connect, dial):
    server = await serve(apps.echo_size, linger_s=0.1)
    reader, writer = await dial(server.port, "h2")
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    async with asyncio.timeout(5):
        await reader.read()
    await served(connect, server.port)


@pytest.mark.parametrize("tls", [True, False])
async def test_silent_connections_are_bounded_by_number(serve, apps, dial, connect, tls):
    server = await serve(apps.echo_size, tls=tls, silent_per_address=3)
    talker = await connect(server.port, tls=tls)
    assert await talker.answer(talker.request()) == 200  # has spoken: not counted
    silent = [await dial(server.port, tls=tls) for _ in range(5)]
    async with asyncio.timeout(5):
        for reader, _ in silent[:2]:
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
    for reader, writer in silent[2:]:  # silent for as long as they like
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    assert await talker.answer(talker.request()) == 200


async def test_idle_connections_end(serve, apps, connect):
    server = await serve(apps.echo_size, idle_timeout_s=1)
    client = await connect(server.port)
    assert await client.answer(client.request()) == 200
    await client.read_until(lambda: client.goaways == [ErrorCodes.NO_ERROR], timeout_s=5)


async def test_handshakes_end(serve, apps, dial):
    server = await serve(apps.echo_size, handshake_timeout_s=0.2)
    reader, _ = await dial(server.port, tls=False)
    async with asyncio.timeout(5):
        assert await reader.read() == b""


class Peer:
    def __init__(self, address):
        self.address = address
        self.aborted = False

    def get_extra_info(self, name):
        return {"peername": (self.address, 1)}[name]

    def abort(self):
        self.aborted = True


def test_the_gate_counts_ipv6_clients_by_their_64():
    assert client_site(Peer("2001:db8::1")) == client_site(Peer("2001:db8::ffff:1"))
    assert client_site(Peer("2001:db8::1")) != client_site(Peer("2001:db8:0:1::1"))
    assert client_site(Peer("fe80::1%eth0"))
    gate = ConnectionGate(max_connections=9, silent_per_address=1)
    one, two, other = Peer("192.0.2.1"), Peer("192.0.2.1"), Peer("192.0.2.2")
    for peer in (one, other, two):
        gate.admit(peer)
    assert (one.aborted, two.aborted, other.aborted) == (True, False, False)
    for peer in (one, two, other):
        gate.ended(peer)
    assert [*gate._silent, *gate._silent_sites, *gate._idle, *gate._open] == []


def test_the_gate_gives_a_newcomer_the_place_idle_for_longest():
    gate = ConnectionGate(max_connections=3, silent_per_address=9)
    peers = [Peer("192.0.2.1") for _ in range(6)]
    first, second, third, fourth, fifth, sixth = peers
    for peer in (first, second, third):
        assert gate.admit(peer)
    for peer in (first, second):
        gate.busy(peer)
    gate.idle(first)
    assert gate.admit(fourth)
    assert gate.admit(fifth)
    assert [peer.aborted for peer in peers] == [True, False, True, False, False, False]
    for peer in (fourth, fifth):
        gate.busy(peer)
    gate.idle(first)  # its end is still to come
    assert not gate.admit(sixth)
    gate.ended(second)
    assert gate.admit(sixth)


def test_a_bucket_allows_a_burst_then_a_rate():
    bucket = TokenBucket(3, 2.0, 0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    bucket = TokenBucket(3, 2.0, 0.0)
    assert all(bucket.take(now_s / 2) for now_s in range(100))
    bucket.earn(100)
    assert [bucket.take(49.5) for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize("http2", [True, False])
async def test_connections_at_work_keep_their_places(serve, apps, connect, dial, http2):
    release = asyncio.Event()

    async def app(scope, receive, send):
        await release.wait()
        await apps.echo_size(scope, receive, send)

    server = await serve(app, max_connections=2)
    if http2:
        clients = [await connect(server.port) for _ in range(2)]
        streams = [client.request() for client in clients]
    else:
        pairs = [await dial(server.port) for _ in range(2)]
        for _, writer in pairs:
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await apps.eventually(lambda: len(server.server_state.tasks) == 2)
    with pytest.raises((OSError, AssertionError, EOFError)):
        await served(connect, server.port)
    release.set()
    if http2:
        for client, stream in zip(clients, streams, strict=True):
            assert await client.answer(stream) == 200
    else:
        for reader, _ in pairs:
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    await served(connect, server.port)


@pytest.mark.parametrize("http2", [True, False])
async def test_idle_connections_shut_nobody_out(serve, apps, connect, dial, http2):
    server = await serve(apps.echo_size, max_connections=10, silent_per_address=5)
    held = []
    for _ in range(10):
        if http2:
            held.append(await connect(server.port))
            assert await held[-1].answer(held[-1].request()) == 200
        else:
            reader, writer = await dial(server.port)
            held.append(reader)
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            await reader.readuntil(b"1.1 1 0")
    for _ in range(3):
        await served(connect, server.port)
    await apps.eventually(lambda: len(server.server_state.connections) == 10)
    if http2:
        assert await held[3].answer(held[3].request()) == 200
