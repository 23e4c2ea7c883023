"""How things end: apps that fail, servers that stop, ports that are taken."""

import asyncio
import logging
import signal
import socket

import pytest
from h2.errors import ErrorCodes
from podium.listener import Limits, ListenError, PortInUse, TlsFiles, make_server
from podium.listener.errors import CertificateError

GRPC = [("content-type", "application/grpc"), ("te", "trailers")]


class Failing:
    """Apps that do not finish what they began."""

    def __init__(self, started, how):
        self.started, self.how = started, how

    async def __call__(self, scope, receive, send):
        await receive()
        if self.started:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
        if self.how == "raises":
            raise RuntimeError("the app's own trouble")
        if self.how == "bad message":
            await send({"type": "http.response.nonsense"})
        if self.how == "bad header":
            headers = [(b"a", b"b\r\nc: d")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})


@pytest.mark.parametrize("how", ["raises", "returns", "bad message", "bad header"])
@pytest.mark.parametrize("started", [False, True])
async def test_a_failing_app_ends_its_stream_and_no_other(serve, connect, caplog, started, how):
    server = await serve(Failing(started, how))
    client = await connect(server.port)
    streams = [client.request() for _ in range(3)]
    for stream in streams:
        if started:
            await client.read_until(lambda stream=stream: stream in client.resets)
            assert client.resets[stream] == ErrorCodes.INTERNAL_ERROR
            assert stream not in client.ended
        else:
            assert await client.answer(stream) == 500
            assert not client.bodies.get(stream)
    assert not client.goaways
    assert [record.levelno for record in caplog.records if record.name == "podium.listener"] == [
        logging.ERROR
    ] * 3


@pytest.mark.parametrize("started", [False, True])
async def test_a_failing_grpc_app_ends_with_status_14_in_trailers(serve, connect, started):
    server = await serve(Failing(started, "raises"))
    client = await connect(server.port)
    stream = client.request(headers=GRPC)
    assert await client.answer(stream) == 200
    assert client.trailers[stream]["grpc-status"] == "14"
    assert "grpc-status" not in client.heads[stream]


async def test_a_failing_app_on_http11_is_500(serve, run):
    server = await serve(Failing(False, "raises"))
    url = f"https://127.0.0.1:{server.port}/"
    out = await run("curl", "-sk", "--http1.1", "-o", "/dev/null", "-w", "%{http_code}", url)
    assert out == "500"


async def test_an_app_that_fails_for_a_client_that_left_is_not_news(serve, apps, connect, caplog):
    async def app(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})  # dropped
        raise ConnectionError

    server = await serve(app)
    client = await connect(server.port)
    stream = client.request()
    client.conn.reset_stream(stream, ErrorCodes.CANCEL)
    client.flush()
    await client.writer.drain()
    await apps.eventually(lambda: server.server_state.connections and not server.server_state.tasks)
    assert not [record for record in caplog.records if record.name == "podium.listener"]


async def test_graceful_stop(serve, apps, connect):
    """GOAWAY, later streams refused, those in flight finished, then closed."""
    release, started = asyncio.Event(), asyncio.Event()

    async def app(scope, receive, send):
        started.set()
        await release.wait()
        await apps.echo_size(scope, receive, send)

    server = await serve(app)
    client = await connect(server.port)
    idle = await connect(server.port)
    await idle.read_until(idle.acks_settings)
    stream = client.request(end=False)
    async with asyncio.timeout(5):
        await started.wait()
    server.stop()
    await client.read_until(lambda: client.goaways)
    assert server.stopping.is_set()
    late = client.request()
    await client.read_until(lambda: late in client.resets)
    assert client.resets[late] == ErrorCodes.REFUSED_STREAM
    with pytest.raises(ConnectionRefusedError):
        await connect(server.port)
    await client.upload(stream, bytes(200_000))
    release.set()
    assert await client.answer(stream) == 200
    assert client.bodies[stream].endswith(b" 200000")
    await client.read_until(lambda: client.closed)
    assert set(client.goaways) == {ErrorCodes.NO_ERROR}
    await idle.read_until(lambda: idle.closed)


async def test_long_streams_end_first_when_stopping(serve, connect):
    """An app that watches ``stopping`` says its last word before GOAWAY."""
    order = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await server.stopping.wait()
        await send({"type": "http.response.body", "body": b"bye"})
        order.append("bye")

    server = await serve(app)
    client = await connect(server.port)
    stream = client.request()
    await client.read_until(lambda: stream in client.heads)
    server.stop()
    await client.read_until(lambda: stream in client.ended or client.goaways)
    assert stream in client.ended
    await client.read_until(lambda: client.closed)
    assert client.goaways


async def test_a_graceful_stop_is_bounded(apps, tls_files, connect):
    async def app(scope, receive, send):
        await asyncio.Event().wait()

    server = make_server(app, "127.0.0.1", 0, tls_files, Limits(graceful_timeout_s=1))
    serving = asyncio.create_task(server.serve())
    await server.ready.wait()
    client = await connect(server.port)
    stream = client.request(headers=GRPC)
    await apps.eventually(lambda: server.server_state.tasks)
    server.stop()
    async with asyncio.timeout(5):
        await serving
    await client.read_until(lambda: client.closed)
    assert client.trailers[stream]["grpc-status"] == "14"
    await apps.eventually(lambda: not server.server_state.tasks)


async def test_a_cancelled_serve_leaves_nothing(apps, tls_files, connect):
    server = make_server(apps.echo_size, "127.0.0.1", 0, tls_files)
    serving = asyncio.create_task(server.serve())
    await server.ready.wait()
    client = await connect(server.port)
    stream = client.request(end=False)
    await apps.eventually(lambda: server.server_state.tasks)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    await client.read_until(lambda: client.closed)
    assert stream not in client.ended
    await apps.eventually(lambda: not server.server_state.tasks)
    successor = make_server(apps.echo_size, "127.0.0.1", server.port)
    successor.bind()  # the port is free again
    successor.close()


async def test_stop_now_waits_for_nobody(apps, tls_files, connect):
    async def app(scope, receive, send):
        await asyncio.Event().wait()

    server = make_server(app, "127.0.0.1", 0, tls_files)
    serving = asyncio.create_task(server.serve())
    await server.ready.wait()
    client = await connect(server.port)
    client.request()
    await apps.eventually(lambda: server.server_state.tasks)
    server.stop_now()
    async with asyncio.timeout(2):
        await serving
    await client.read_until(lambda: client.closed)
    await apps.eventually(lambda: not server.server_state.tasks)


async def test_the_clients_goaway_still_gets_it_its_replies(serve, apps, connect):
    release = asyncio.Event()

    async def app(scope, receive, send):
        await release.wait()
        await apps.echo_size(scope, receive, send)

    server = await serve(app)
    client = await connect(server.port)
    stream = client.request(end=False)
    client.writer.write(b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0")  # GOAWAY, NO_ERROR
    await client.upload(stream, b"after the GOAWAY")
    release.set()
    assert await client.answer(stream) == 200
    assert client.bodies[stream].endswith(b" 16")


async def test_a_port_in_use_is_a_typed_error(apps):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = make_server(apps.echo_size, "127.0.0.1", port)
        with pytest.raises(PortInUse, match=str(port)) as caught:
            await server.serve()
        assert (caught.value.host, caught.value.port) == ("127.0.0.1", port)
        assert caught.value.code == "port_in_use"
    with pytest.raises(ListenError):
        make_server(apps.echo_size, "192.0.2.1", 0).bind()


async def test_the_port_is_known_once_bound_and_is_one_for_all_addresses(apps, tls_files):
    server = make_server(apps.echo_size, "", 0, tls_files)
    server.bind()
    assert {sock.getsockname()[1] for sock in server._sockets} == {server.port}
    server.close()


async def test_signals_stay_the_apps_own(serve, apps):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    await serve(apps.echo_size)
    assert before == {number: signal.getsignal(number) for number in before}


def test_a_bad_certificate_is_a_typed_error(apps, tmp_path):
    files = TlsFiles(tmp_path / "cert.pem", tmp_path / "key.pem")
    with pytest.raises(CertificateError):
        make_server(apps.echo_size, "127.0.0.1", 0, files)
    files.cert.write_text("no certificate")
    files.key.write_text("no key")
    with pytest.raises(CertificateError):
        make_server(apps.echo_size, "127.0.0.1", 0, files)
