"""gRPC by hand, against grpcio's client and against raw ASGI messages."""

import asyncio
import gc
import itertools

import grpc
import pytest
from podium.listener import make_server, self_signed
from podium.web.grpc import GrpcApp, GrpcError, Status, is_grpc

HOST = "podium.test"


class Service:
    """Handlers to call, with what they saw."""

    def __init__(self):
        self.contexts = []
        self.watching = asyncio.Event()
        self.watched = asyncio.Event()

    async def echo(self, request, context):
        self.contexts.append(context)
        return request

    async def refuse(self, request, context):
        raise GrpcError(Status.UNKNOWN, request.decode())

    async def fail(self, request, context):
        raise RuntimeError("secret detail")

    async def slow(self, request, context):
        await asyncio.sleep(30)
        return b""

    async def own_timeout(self, request, context):
        raise TimeoutError

    async def count(self, request, context):
        for number in range(int(request)):
            yield b"%d" % number

    async def count_then_fail(self, request, context):
        yield b"0"
        raise GrpcError(Status.UNKNOWN, "no more")

    async def watch(self, request, context):
        yield b"first"
        self.watching.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.watched.set()


def grpc_app(service, stopping):
    unary = ("echo", "refuse", "fail", "slow", "own_timeout")
    streams = ("count", "count_then_fail", "watch")
    return GrpcApp(
        {f"/t.T/{name}": getattr(service, name) for name in unary},
        stopping,
        {f"/t.T/{name}": getattr(service, name) for name in streams},
    )


@pytest.fixture
async def node(tmp_path):
    """A node with the service, and a channel to it over verified TLS."""
    files = self_signed(tmp_path, HOST)
    service = Service()

    async def app(scope, receive, send):
        assert is_grpc(scope)
        await grpc_app(service, server.stopping)(scope, receive, send)

    server = make_server(app, "127.0.0.1", 0, files)
    serving = asyncio.create_task(server.serve())
    await server.ready.wait()
    credentials = grpc.ssl_channel_credentials(files.cert.read_bytes())
    options = [("grpc.ssl_target_name_override", HOST)]
    address = f"127.0.0.1:{server.port}"
    async with grpc.aio.secure_channel(address, credentials, options) as channel:
        yield server, service, channel
    server.stop_now()
    async with asyncio.timeout(5):
        await serving
    gc.collect()


async def unary(channel, name, request=b"", timeout_s=5, **options):
    return await channel.unary_unary(f"/t.T/{name}")(request, timeout=timeout_s, **options)


async def failure(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


@pytest.mark.parametrize("size", [0, 1, 1000, 70_000, 4 * 1024 * 1024])
async def test_unary(node, size):
    _, service, channel = node
    request = bytes(range(256)) * (size // 256) + bytes(size % 256)
    options = {"metadata": [("x-key", "value")]}
    assert await channel.unary_unary("/t.T/echo")(request, **options) == request
    assert service.contexts[0].path == "/t.T/echo"
    assert dict(service.contexts[0].headers)[b"x-key"] == b"value"
    assert service.contexts[0].client[0] == "127.0.0.1"


async def test_many_at_once(node):
    _, _, channel = node
    requests = [b"%d" % number * 100 for number in range(300)]
    assert await asyncio.gather(*(unary(channel, "echo", r) for r in requests)) == requests


@pytest.mark.parametrize("text", ["plain", "100% sure", "naïve ☂ \t\r\n", "", " x "])
async def test_errors_reach_the_client_as_text(node, text):
    _, _, channel = node
    answer = await failure(unary(channel, "refuse", text.encode()))
    assert answer == (grpc.StatusCode.UNKNOWN, text)


async def test_an_unexpected_exception_tells_nothing(node, caplog):
    _, _, channel = node
    code, details = await failure(unary(channel, "fail"))
    assert code == grpc.StatusCode.INTERNAL
    assert "secret" not in details
    assert "secret detail" in caplog.text


async def test_unknown_method(node):
    _, _, channel = node
    code, _ = await failure(unary(channel, "nothing"))
    assert code == grpc.StatusCode.UNIMPLEMENTED


async def test_a_message_over_4_mib(node):
    _, _, channel = node
    code, details = await failure(unary(channel, "echo", bytes(4 * 1024 * 1024 + 1)))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "4194305" in details
    assert await unary(channel, "echo", b"fine") == b"fine"


async def test_a_compressed_message(node):
    _, _, channel = node
    call = unary(channel, "echo", bytes(10_000), compression=grpc.Compression.Gzip)
    code, _ = await failure(call)
    assert code == grpc.StatusCode.UNIMPLEMENTED


async def test_the_deadline_is_honoured(node):
    server, _, channel = node
    code, _ = await failure(unary(channel, "slow", timeout_s=0.2))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(5):
        while server.server_state.tasks:  # noqa: ASYNC110  # state inside the server
            await asyncio.sleep(0.01)


async def test_a_handlers_own_timeout_is_not_the_deadline(node, caplog):
    _, _, channel = node
    code, _ = await failure(unary(channel, "own_timeout"))
    assert code == grpc.StatusCode.INTERNAL


async def test_server_stream(node):
    _, _, channel = node
    for count in (0, 1, 500):
        call = channel.unary_stream("/t.T/count")(b"%d" % count)
        assert [m async for m in call] == [b"%d" % number for number in range(count)]
        assert await call.code() == grpc.StatusCode.OK


async def test_a_server_stream_that_fails(node):
    _, _, channel = node
    call = channel.unary_stream("/t.T/count_then_fail")(b"")
    assert await call.read() == b"0"
    code, details = await failure(call.read())
    assert (code, details) == (grpc.StatusCode.UNKNOWN, "no more")


async def test_a_cancelled_stream_ends_its_handler(node):
    _, service, channel = node
    call = channel.unary_stream("/t.T/watch")(b"")
    assert await call.read() == b"first"
    await service.watching.wait()
    call.cancel()
    async with asyncio.timeout(5):
        await service.watched.wait()


async def test_a_stopping_server_ends_streams_with_unavailable(node):
    server, service, channel = node
    call = channel.unary_stream("/t.T/watch")(b"")
    assert await call.read() == b"first"
    await service.watching.wait()
    server.stop()
    async with asyncio.timeout(5):
        code, details = await failure(call.read())
    assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "server is stopping")
    assert service.watched.is_set()


class Wire:
    """Runs the app on chosen ASGI messages."""

    def __init__(self, chunks, *, path="/t.T/echo", headers=(), cut=False):
        self.scope = {
            "type": "http",
            "http_version": "2",
            "path": path,
            "headers": [(b"content-type", b"application/grpc+proto"), *headers],
            "client": None,
        }
        self.incoming = [
            {"type": "http.request", "body": c, "more_body": cut or n < len(chunks)}
            for n, c in enumerate(chunks, 1)
        ]
        self.sent = []

    async def receive(self):
        return self.incoming.pop(0) if self.incoming else {"type": "http.disconnect"}

    async def send(self, message):
        self.sent.append(message)

    async def run(self):
        app = grpc_app(Service(), asyncio.Event())
        await app(self.scope, self.receive, self.send)
        return self

    @property
    def body(self):
        return b"".join(m["body"] for m in self.sent if m["type"] == "http.response.body")

    @property
    def trailers(self):
        return dict(self.sent[-1]["headers"])


FRAMED = b"\0\0\0\0\x03abc"


@pytest.mark.parametrize("cuts", [(), (1,), (5,), (3, 6), tuple(range(1, 8)), (8,)])
async def test_chunks_need_not_align_with_messages(cuts):
    edges = [0, *cuts, len(FRAMED)]
    wire = await Wire([FRAMED[a:b] for a, b in itertools.pairwise(edges)]).run()
    assert wire.body == FRAMED
    assert wire.trailers == {b"grpc-status": b"0"}


async def test_the_answer_is_one_start_bodies_an_empty_end_and_trailers():
    for path in ("/t.T/echo", "/t.T/refuse", "/t.T/nothing", "/t.T/fail"):
        wire = await Wire([FRAMED], path=path).run()
        first, *bodies, end, trailers = wire.sent
        assert first == {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-type", b"application/grpc"),
                (b"trailer", b"Grpc-Status"),
                (b"trailer", b"Grpc-Message"),
                (b"trailer", b"Grpc-Status-Details-Bin"),
            ],
            "trailers": True,
        }
        assert all(body["more_body"] for body in bodies)
        assert end == {"type": "http.response.body", "body": b"", "more_body": False}
        assert trailers["type"] == "http.response.trailers"


@pytest.mark.parametrize(
    ("chunks", "status"),
    [
        ([b""], Status.INTERNAL),
        ([b"\0\0\0"], Status.INTERNAL),
        ([b"\0\0", b"\0"], Status.INTERNAL),
        ([b"\0\0\0\0\x04abc"], Status.INTERNAL),
        ([FRAMED + b"x"], Status.INTERNAL),
        ([FRAMED, FRAMED], Status.INTERNAL),
        ([b"\x01\0\0\0\x03abc"], Status.UNIMPLEMENTED),
        ([b"\0\x7f\xff\xff\xff"], Status.RESOURCE_EXHAUSTED),
    ],
)
async def test_bad_framing(chunks, status):
    wire = await Wire(chunks).run()
    assert wire.trailers[b"grpc-status"] == b"%d" % status


async def test_an_endless_request_is_refused_by_its_prefix():
    wire = Wire([b"\0\x7f\xff\xff\xff", *[b"x" * 1000] * 50])
    await wire.run()
    assert wire.trailers[b"grpc-status"] == b"8"
    assert len(wire.incoming) >= 49


async def test_a_cut_off_request_is_not_answered():
    for chunks in ([], [FRAMED[:6]], [FRAMED]):
        assert (await Wire(chunks, cut=True).run()).sent == []


@pytest.mark.parametrize(
    ("value", "status"),
    [(b"1H", 0), (b"5S", 0), (b"99999999n", 0), (b"0m", 4), (b"1X", 13), (b"123456789S", 13)],
)
async def test_grpc_timeout(value, status):
    wire = await Wire([FRAMED], path="/t.T/echo", headers=[(b"grpc-timeout", value)]).run()
    assert wire.trailers[b"grpc-status"] == b"%d" % status


async def test_messages_are_percent_encoded():
    wire = await Wire([b"\0\0\0\0\x07a%\n\x7f\xc3\xa9 "], path="/t.T/refuse").run()
    assert wire.trailers[b"grpc-message"] == b"a%25%0A%7F%C3%A9 "


@pytest.mark.parametrize(
    ("version", "content_type", "expected"),
    [
        ("2", b"application/grpc", True),
        ("2", b"application/grpc+proto", True),
        ("1.1", b"application/grpc", False),
        ("2", b"application/json", False),
    ],
)
def test_what_is_grpc(version, content_type, expected):
    headers = [(b"host", b"x"), (b"content-type", content_type)]
    assert is_grpc({"type": "http", "http_version": version, "headers": headers}) is expected
