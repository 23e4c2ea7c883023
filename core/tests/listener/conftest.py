"""Servers on loopback, and a client that speaks raw HTTP/2 frames."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import ssl

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
import uvloop
from h2.errors import ErrorCodes
from podium.listener import Limits, make_server, self_signed

HOST = "podium.test"


def pytest_asyncio_loop_factories(config, item):
    """The loop that ``podium serve`` runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory):
    return self_signed(tmp_path_factory.mktemp("tls"), HOST)


@pytest.fixture
async def serve(tls_files):
    """Start servers: ``server = await serve(app, tls=False, limits=...)``."""
    running = []

    async def start(app, *, tls=True, **limits):
        server = make_server(app, "127.0.0.1", 0, tls_files if tls else None, Limits(**limits))
        task = asyncio.create_task(server.serve())
        running.append((server, task))
        async with asyncio.timeout(5):
            await server.ready.wait()
        return server

    yield start
    for server, task in running:
        server.stop_now()
        async with asyncio.timeout(10):
            await task


def client_tls(*alpn):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


@pytest.fixture(name="client_tls")
def client_tls_fixture():
    return client_tls


OPEN = h2.connection.ConnectionState.CLIENT_OPEN


class GoesOn(h2.connection.H2ConnectionStateMachine):
    """After GOAWAY, streams in flight go on; python-h2 would end them."""

    _transitions = {  # noqa: RUF012
        **h2.connection.H2ConnectionStateMachine._transitions,
        (OPEN, h2.connection.ConnectionInputs.RECV_GOAWAY): (None, OPEN),
    }


class RawClient:
    """python-h2's client; it returns no credit unless told to.

    Attributes:
        heads, bodies, trailers: What arrived, by stream.
        ended: Streams that ended cleanly.
        resets: Error codes by stream; one that is CANCEL fails the test.
        goaways: Error codes in order.
        stalls: How often an upload waited for the server's window.
    """

    def __init__(self, reader, writer, credit):
        self.reader, self.writer = reader, writer
        config = h2.config.H2Configuration(
            client_side=True, header_encoding="latin-1", validate_outbound_headers=False
        )
        self.conn = h2.connection.H2Connection(config)
        self.conn.state_machine = GoesOn()
        # hpack's Huffman coding of a large value takes quadratic time.
        encode = self.conn.encoder.encode
        self.conn.encoder.encode = lambda headers: encode(headers, huffman=False)
        self.credit = credit
        self.heads, self.trailers, self.resets = {}, {}, {}
        self.bodies = {}
        self.ended, self.informed, self.goaways = set(), set(), []
        self.stalls = 0
        self.closed = False
        self.acknowledged = 0

    def flush(self):
        self.writer.write(self.conn.data_to_send())

    def request(self, path="/", *, method="POST", headers=(), end=True):
        stream_id = self.conn.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "https"), (":authority", "x"), (":path", path)]
        self.conn.send_headers(stream_id, [*head, *headers], end_stream=end)
        self.flush()
        return stream_id

    async def upload(self, stream_id, body, *, end=True):
        """Send a body within the windows, waiting for them as needed."""
        rest = memoryview(body)
        while rest:
            room = self.conn.local_flow_control_window(stream_id)
            if room <= 0:
                self.stalls += 1
                await self.read_until(lambda: self.conn.local_flow_control_window(stream_id) > 0)
                continue
            size = min(room, self.conn.max_outbound_frame_size, len(rest))
            self.conn.send_data(stream_id, bytes(rest[:size]), end and size == len(rest))
            rest = rest[size:]
            self.flush()
        await self.writer.drain()

    def acks_settings(self):
        """Whether the server's settings are in force here."""
        return self.conn.remote_settings.max_concurrent_streams < 2**31

    def grant(self, size, stream_id=None):
        if stream_id is not None:
            self.conn.increment_flow_control_window(size, stream_id)
        else:
            self.conn.increment_flow_control_window(size)
        self.flush()

    async def read_until(self, condition, timeout_s=10.0):
        """Read frames until the condition holds; EOF ends it too, and fails unless it does."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                await self.read_some()
                if self.closed:
                    break
        assert condition()

    async def read_some(self):
        try:
            data = await self.reader.read(65536)
        except ConnectionError:
            data = b""
        if not data:
            self.closed = True
            return
        for event in self.conn.receive_data(data):
            self.on_event(event)
        if not self.closed:
            self.flush()

    def on_event(self, event):
        match event:
            case h2.events.ResponseReceived():
                self.heads[event.stream_id] = dict(event.headers)
            case h2.events.InformationalResponseReceived():
                self.informed.add(event.stream_id)
            case h2.events.DataReceived():
                self.bodies.setdefault(event.stream_id, bytearray()).extend(event.data)
                if self.credit and event.flow_controlled_length:
                    self.conn.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id
                    )
            case h2.events.TrailersReceived():
                self.trailers[event.stream_id] = dict(event.headers)
            case h2.events.StreamEnded():
                self.ended.add(event.stream_id)
            case h2.events.StreamReset():
                self.resets[event.stream_id] = event.error_code
                assert event.error_code != ErrorCodes.CANCEL
            case h2.events.ConnectionTerminated():
                self.goaways.append(event.error_code)
            case h2.events.PingAckReceived():
                self.acknowledged += 1

    async def answer(self, stream_id):
        """The status of a stream's complete reply."""
        await self.read_until(lambda: stream_id in self.ended)
        return int(self.heads[stream_id][":status"])

    async def close(self):
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@pytest.fixture
async def connect():
    """Open raw clients: ``client = await connect(server.port)``."""
    clients = []

    async def start(port, *, tls=True, window=None, credit=True):
        context = client_tls("h2") if tls else None
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        client = RawClient(reader, writer, credit)
        clients.append(client)
        if window is not None:
            settings = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
            client.conn.local_settings.update(settings)
            client.conn.local_settings.acknowledge()
        client.conn.initiate_connection()
        client.flush()
        return client

    yield start
    for client in clients:
        await client.close()


@pytest.fixture
async def dial():
    """Open bare connections: ``reader, writer = await dial(server.port, "h2")``."""
    writers = []

    async def start(port, *alpn, tls=True):
        context = client_tls(*alpn) if tls else None
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writers.append(writer)
        return reader, writer

    yield start
    for writer in writers:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.fixture
def program():
    """Find a program; without it the test is skipped, in CI it fails."""

    def find(name):
        path = shutil.which(name)
        if path is None:
            if os.environ.get("CI"):
                pytest.fail(f"{name} is missing")
            pytest.skip(f"{name} is missing")
        return path

    return find


@pytest.fixture
def run(program):
    """Run a program to its end: ``output = await run("curl", ...)``."""

    async def to_end(name, *arguments, stdin=None):
        process = await asyncio.create_subprocess_exec(
            program(name),
            *map(str, arguments),
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(30):
            out, err = await process.communicate(stdin)
        assert process.returncode == 0, err.decode()
        return out.decode()

    return to_end


async def read_body(receive):
    """A request's whole body; None if it was cut off."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message["body"]
        if not message["more_body"]:
            return bytes(body)


async def reply(send, body=b"", status=200, headers=()):
    fields = [(b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def echo_size(scope, receive, send):
    """Answers with the HTTP version, the size of the head's values and of the body."""
    body = await read_body(receive)
    if body is not None:
        head = sum(len(value) for _, value in scope["headers"])
        await reply(send, b"%s %d %d" % (scope["http_version"].encode(), head, len(body)))


async def eventually(condition):
    """Wait for a condition that nothing announces."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # state inside the server
            await asyncio.sleep(0.01)


class Apps:
    """Small apps and helpers for them."""

    read_body = staticmethod(read_body)
    reply = staticmethod(reply)
    echo_size = staticmethod(echo_size)
    eventually = staticmethod(eventually)


@pytest.fixture
def apps():
    return Apps
