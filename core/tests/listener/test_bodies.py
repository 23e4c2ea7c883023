"""Bodies, windows and credit: nobody waits for anybody else's."""

import asyncio

import pytest
from h2.errors import ErrorCodes

KIB, MIB = 1024, 1024 * 1024
ONE_WAY_S = 0.05


class DelayProxy:
    """Forwards to a port, each byte ``ONE_WAY_S`` later; bandwidth is not limited."""

    def __init__(self, target):
        self.target = target
        self.tasks, self.sinks = [], []

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for sink in self.sinks:
            sink.transport.abort()

    async def accept(self, reader, writer):
        upstream = await asyncio.open_connection("127.0.0.1", self.target)
        for source, sink in ((reader, upstream[1]), (upstream[0], writer)):
            self.sinks.append(sink)
            self.tasks.append(asyncio.create_task(self.forward(source, sink)))

    async def forward(self, source, sink):
        loop = asyncio.get_running_loop()
        while data := await source.read(MIB):
            loop.call_later(ONE_WAY_S, sink.write, data)
        loop.call_later(ONE_WAY_S, sink.close)


async def test_a_megabyte_at_100_ms_takes_at_most_four_round_trips(serve, apps, connect):
    server = await serve(apps.echo_size)
    loop = asyncio.get_running_loop()
    taken_s, stalls = [], []
    async with DelayProxy(server.port) as proxy:
        for _ in range(3):  # the machine may hiccup; the protocol may not
            client = await connect(proxy.port)
            start_s = loop.time()
            stream = client.request(end=False)
            await client.upload(stream, bytes(MIB))
            assert await client.answer(stream) == 200
            taken_s.append(loop.time() - start_s)
            stalls.append(client.stalls)
    # One stall: HTTP/2 starts with 64 KiB until our settings arrive. A server
    # that kept that window would take sixteen.
    assert max(stalls) == 1
    assert min(taken_s) <= 4 * 2 * ONE_WAY_S


async def test_large_uploads_do_not_stall_while_the_app_reads(serve, apps, connect):
    server = await serve(apps.echo_size)
    client = await connect(server.port)
    await client.read_until(client.acks_settings)
    streams = [client.request(end=False) for _ in range(3)]
    await asyncio.gather(*(client.upload(stream, bytes(3 * MIB)) for stream in streams))
    assert client.stalls == 0
    for stream in streams:
        assert await client.answer(stream) == 200


async def test_an_unread_upload_does_not_stop_other_streams(serve, apps, connect):
    release = asyncio.Event()

    async def app(scope, receive, send):
        if scope["path"] == "/unread":
            await release.wait()
        await apps.echo_size(scope, receive, send)

    server = await serve(app, stream_window_bytes=256 * KIB, connection_window_bytes=MIB)
    client = await connect(server.port)
    await client.read_until(client.acks_settings)
    unread = client.request("/unread", end=False)
    await client.upload(unread, bytes(256 * KIB), end=False)
    assert client.conn.local_flow_control_window(unread) == 0
    for _ in range(8):  # more than the connection's window in all
        stream = client.request("/", end=False)
        await client.upload(stream, bytes(256 * KIB))
        assert await client.answer(stream) == 200
    release.set()
    await client.upload(unread, b"x")
    assert await client.answer(unread) == 200
    assert client.bodies[unread].endswith(b" %d" % (256 * KIB + 1))


@pytest.mark.parametrize("how", ["cancelled", "early reply", "app failed"])
async def test_dropped_uploads_give_back_the_connections_credit(serve, apps, connect, how):
    async def app(scope, receive, send):
        if scope["path"] == "/last":
            await apps.echo_size(scope, receive, send)
        elif how == "cancelled":
            assert await apps.read_body(receive) is None
        else:
            await asyncio.sleep(0.02)  # let the body arrive
            if how == "app failed":
                raise RuntimeError
            await apps.reply(send, b"early")

    window = 256 * KIB
    server = await serve(app, stream_window_bytes=window, connection_window_bytes=window)
    client = await connect(server.port)
    await client.read_until(client.acks_settings)
    for _ in range(8):
        stream = client.request(end=False)
        await client.upload(stream, bytes(100 * KIB), end=False)
        if how == "cancelled":
            client.conn.reset_stream(stream, ErrorCodes.CANCEL)
            client.flush()
        else:
            await client.read_until(lambda stream=stream: stream in client.resets)
    stream = client.request("/last", end=False)
    await client.upload(stream, bytes(window))
    assert await client.answer(stream) == 200


async def test_early_reply_on_http2_arrives_whole_and_ends_the_upload(serve, apps, connect):
    async def app(scope, receive, send):
        await apps.reply(send, b"no " * 100_000, status=413)

    server = await serve(app)
    client = await connect(server.port, window=MIB)
    client.grant(MIB)
    stream = client.request(end=False)
    await client.upload(stream, bytes(60 * KIB), end=False)
    assert await client.answer(stream) == 413
    assert client.bodies[stream] == b"no " * 100_000
    await client.read_until(lambda: stream in client.resets)
    assert client.resets[stream] == ErrorCodes.NO_ERROR
    # What crossed the reset does no harm to the connection.
    other = client.request()
    assert await client.answer(other) == 413


@pytest.mark.parametrize("close", [False, True])
async def test_early_reply_on_http11_arrives_whole(serve, apps, dial, close):
    async def app(scope, receive, send):
        headers = [(b"connection", b"close")] if close else []
        await apps.reply(send, b"no " * 100_000, status=413, headers=headers)

    server = await serve(app)
    reader, writer = await dial(server.port)
    size = 4 * MIB
    writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size)
    writer.write(bytes(size))
    async with asyncio.timeout(10):
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 413 ")
        assert await reader.readexactly(300_000) == b"no " * 100_000
        if not close:  # the connection serves on
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("how", ["reset", "connection lost", "http/1.1"])
async def test_a_cut_off_upload_is_a_disconnect_not_an_end(serve, apps, connect, dial, how):
    started, outcome = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def app(scope, receive, send):
        assert (await receive())["more_body"]
        started.set()
        outcome.set_result(await apps.read_body(receive))

    server = await serve(app)
    if how == "http/1.1":
        _, writer = await dial(server.port)
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nabc")
    else:
        client = await connect(server.port)
        writer = client.writer
        stream = client.request(end=False)
        await client.upload(stream, b"abc", end=False)
    async with asyncio.timeout(5):
        await started.wait()
        if how == "reset":
            client.conn.reset_stream(stream, ErrorCodes.CANCEL)
            client.flush()
        else:
            writer.transport.abort()
        assert await outcome is None


async def test_body_arrives_whole_whatever_its_framing(serve, apps, connect):
    async def app(scope, receive, send):
        await apps.reply(send, await apps.read_body(receive))

    server = await serve(app)
    client = await connect(server.port)
    await client.read_until(client.acks_settings)
    body = bytes(range(256)) * 40
    stream = client.request(end=False)
    for at in range(0, len(body), 7):
        client.conn.send_data(stream, body[at : at + 7], pad_length=at % 9 or None)
        if at % 70 == 0:
            client.flush()
            await asyncio.sleep(0)
    client.conn.send_headers(stream, [("x-trailer", "dropped")], end_stream=True)
    client.flush()
    assert await client.answer(stream) == 200
    assert client.bodies[stream] == body


class Firehose:
    """An app that sends without end; counts what it got rid of."""

    def __init__(self, total=300 * MIB):
        self.total = total
        self.sent = {}
        self.gone = {}

    async def __call__(self, scope, receive, send):
        path = scope["path"]
        self.sent[path] = 0
        self.gone[path] = asyncio.Event()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        chunk = bytes(16 * KIB)
        watch = asyncio.create_task(self.watch(path, receive))
        while self.sent[path] < self.total and not self.gone[path].is_set():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            self.sent[path] += len(chunk)
        watch.cancel()

    async def watch(self, path, receive):
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone[path].set()


async def settled(value):
    """Wait until a figure stays the same for a while; that figure."""
    async with asyncio.timeout(10):
        last, same = value(), 0
        while same < 5:
            await asyncio.sleep(0.05)
            now = value()
            same = same + 1 if now == last else 0
            last = now
    return last


async def test_a_client_without_window_holds_up_its_own_reply_only(serve, apps, connect):
    hose = Firehose()

    async def app(scope, receive, send):
        await (apps.echo_size if scope["path"] == "/other" else hose)(scope, receive, send)

    server = await serve(app)
    client = await connect(server.port, credit=False)
    stream = client.request("/hose")
    await client.read_until(lambda: len(client.bodies.get(stream, b"")) == 65_535)
    assert await settled(lambda: hose.sent["/hose"]) <= 64 * KIB
    client.grant(MIB)  # for the connection; the hose's stream stays shut
    other = client.request("/other")
    assert await client.answer(other) == 200
    client.grant(64 * KIB, stream)
    await client.read_until(lambda: len(client.bodies[stream]) == 65_535 + 64 * KIB)
    client.conn.reset_stream(stream, ErrorCodes.CANCEL)
    client.flush()
    async with asyncio.timeout(5):
        await hose.gone["/hose"].wait()


async def test_a_client_that_does_not_read_leaves_memory_flat(serve, apps, connect):
    """300 MB on offer, all windows open, nobody reading: kernel buffers fill, ours do not."""
    hose = Firehose()
    server = await serve(hose)
    client = await connect(server.port, window=2**31 - 1)
    client.grant(2**31 - 1 - 65_535)
    client.request("/hose")
    await client.writer.drain()
    await apps.eventually(lambda: "/hose" in hose.sent)
    sent = await settled(lambda: hose.sent["/hose"])
    assert sent < 32 * MIB
    (connection,) = server.server_state.connections
    assert connection.transport.get_write_buffer_size() < MIB
    assert connection.conn.output_bytes < MIB


async def test_streams_of_one_connection_share_it_fairly(serve, connect):
    hose = Firehose()
    server = await serve(hose)
    client = await connect(server.port, window=2**31 - 1)
    client.grant(2**31 - 1 - 65_535)
    streams = [client.request(f"/{number}") for number in range(5)]
    await client.read_until(
        lambda: sum(len(body) for body in client.bodies.values()) > 20 * MIB, timeout_s=20
    )
    shares = [len(client.bodies.get(stream, b"")) for stream in streams]
    assert min(shares) > sum(shares) / len(shares) / 4


@pytest.mark.parametrize("blocked_by", ["stream window", "connection window", "socket"])
async def test_a_sender_that_waits_hears_of_a_reset(serve, apps, connect, blocked_by):
    hose = Firehose()
    server = await serve(hose)
    window = {"stream window": None, "connection window": MIB, "socket": 2**31 - 1}[blocked_by]
    client = await connect(server.port, window=window, credit=False)
    if blocked_by != "connection window":
        client.grant(2**31 - 1 - 65_535)
    stream = client.request("/hose")
    await apps.eventually(lambda: hose.sent.get("/hose"))
    await settled(lambda: hose.sent["/hose"])
    client.conn.reset_stream(stream, ErrorCodes.CANCEL)
    client.flush()
    await apps.eventually(lambda: hose.gone["/hose"].is_set() and not server.server_state.tasks)


async def test_a_client_that_asks_is_told_to_continue(serve, apps, connect):
    server = await serve(apps.echo_size)
    client = await connect(server.port)
    asked = client.request(headers=[("expect", "100-continue")], end=False)
    await client.read_until(lambda: asked in client.informed)
    await client.upload(asked, b"x")
    assert await client.answer(asked) == 200
    other = client.request(end=False)
    await client.upload(other, b"x")
    assert await client.answer(other) == 200
    assert client.informed == {asked}


async def test_large_replies_are_the_bytes_sent(serve, apps, run, tmp_path):
    body = bytes(range(256)) * 20_000

    async def app(scope, receive, send):
        await apps.reply(send, body)

    server = await serve(app)
    for option in ("--http2", "--http1.1"):
        file = tmp_path / "got"
        await run("curl", "-sk", option, "-o", file, f"https://127.0.0.1:{server.port}/")
        assert file.read_bytes() == body


async def test_a_body_that_is_not_what_content_length_says_is_refused(serve, apps, connect):
    server = await serve(apps.echo_size)
    client = await connect(server.port)
    stream = client.request(headers=[("content-length", "5")], end=False)
    client.conn.send_data(stream, b"abc", end_stream=True)
    client.flush()
    await client.read_until(lambda: client.goaways or stream in client.resets)
    assert stream not in client.heads


async def test_http11_client_that_sends_no_tls_close_is_no_error(serve, apps, dial):
    server = await serve(apps.echo_size)
    reader, writer = await dial(server.port)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()
    await apps.eventually(lambda: not server.server_state.connections)
