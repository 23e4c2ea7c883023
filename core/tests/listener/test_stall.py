"""Clients that ask and do not read: they cost little, and not for long."""

import asyncio
import socket

import pytest

MIB = 1024 * 1024
GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture
async def stuck(client_tls):
    """Ask over HTTP/1.1 and never read: ``sock = await stuck(server.port)``."""
    sockets = []

    def dial(port, tls):
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        raw.settimeout(10)
        raw.connect(("127.0.0.1", port))
        sock = client_tls("http/1.1").wrap_socket(raw) if tls else raw
        sockets.append(sock)
        sock.sendall(GET)
        return sock

    async def start(port, *, tls=True):
        return await asyncio.to_thread(dial, port, tls)

    yield start
    for sock in sockets:
        sock.close()


def serves(body):
    async def app(scope, receive, send):
        fields = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    return app


@pytest.mark.parametrize("tls", [True, False])
async def test_http11_readers_that_do_not_read_cost_little(serve, stuck, apps, tls):
    server = await serve(serves(bytes(16 * MIB)), tls=tls)
    for _ in range(10):
        await stuck(server.port, tls=tls)
    await apps.eventually(lambda: len(server.server_state.tasks) == 10)
    await asyncio.sleep(0.3)  # longer than the whole body would take
    buffered = [c.transport.get_write_buffer_size() for c in server.server_state.connections]
    assert len(buffered) == 10
    assert max(buffered) < MIB // 4
    assert len(server.server_state.tasks) == 10  # the apps wait to send the rest


@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize("headers", [b"content-length", b"transfer-encoding"])
async def test_a_large_body_arrives_whole_over_http11(serve, dial, tls, headers):
    body = bytes(range(256)) * 20_000

    async def app(scope, receive, send):
        fields = [(b"content-length", b"%d" % len(body))] if headers == b"content-length" else []
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": body[:3_000_000], "more_body": True})
        await send({"type": "http.response.body", "body": body[3_000_000:]})

    server = await serve(app, tls=tls)
    reader, writer = await dial(server.port, tls=tls)
    writer.write(GET)
    assert headers in (await reader.readuntil(b"\r\n\r\n")).lower()
    if headers == b"content-length":
        assert await reader.readexactly(len(body)) == body
        return
    received = bytearray()
    while size := int(await reader.readline(), 16):
        received += await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
    assert received == body


@pytest.mark.parametrize("tls", [True, False])
async def test_an_http11_client_that_stops_reading_is_dropped(serve, stuck, apps, tls):
    server = await serve(serves(bytes(16 * MIB)), tls=tls, write_stall_timeout_s=0.3)
    await stuck(server.port, tls=tls)
    await apps.eventually(lambda: server.server_state.tasks)
    await apps.eventually(lambda: not server.server_state.connections)
    await apps.eventually(lambda: not server.server_state.tasks)


async def test_a_slow_http11_client_is_served(serve, stuck):
    server = await serve(serves(bytes(3 * MIB)), write_stall_timeout_s=0.5)
    sock = await stuck(server.port)
    size = 0
    while size < 3 * MIB:  # about 1.2 s, more than twice the limit
        if size % (16 * 16384) < 16384:
            await asyncio.sleep(0.1)
        received = await asyncio.to_thread(sock.recv, 16384)
        assert received
        size += len(received)


async def test_an_http2_client_that_stops_reading_is_dropped(serve, connect, apps):
    server = await serve(serves(bytes(16 * MIB)), write_stall_timeout_s=0.3)
    client = await connect(server.port, window=32 * MIB)
    client.grant(32 * MIB)
    client.request()
    await client.writer.drain()
    await apps.eventually(lambda: server.server_state.tasks)
    await apps.eventually(lambda: not server.server_state.connections)
    await apps.eventually(lambda: not server.server_state.tasks)


@pytest.mark.parametrize("whose", ["stream", "connection"])
async def test_an_http2_window_that_stays_shut_ends_the_request(serve, connect, apps, whose):
    server = await serve(serves(bytes(MIB)), write_stall_timeout_s=0.3)
    client = await connect(server.port, window=MIB if whose == "connection" else None, credit=False)
    client.request()
    await apps.eventually(lambda: server.server_state.tasks)
    await apps.eventually(lambda: not server.server_state.tasks)
    assert len(server.server_state.connections) == 1  # other requests go on
