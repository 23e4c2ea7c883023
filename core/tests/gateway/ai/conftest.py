"""A scripted orchestrator on loopback: real TLS, HTTP/2 and gRPC; answers as a test says."""

import asyncio
import contextlib
import io
import time
from base64 import b64decode

import av
import pytest
from attrs import define, field, frozen
from podium.crypto import KeySigner
from podium.listener import make_server, self_signed
from podium.testing.gateway.ai import AiGateway
from podium.testing.gateway.ai.requests import ai_capabilities
from podium.testing.gateway.discovery import parse_addresses
from podium.testing.gateway.tickets import ALWAYS, BlockClock, Caps, wall_clock_block
from podium.web.grpc import GrpcApp, is_grpc
from podium.wire.pb import lp_rpc_pb2 as net

WALLET = b"\x33" * 32
HOST = "127.0.0.1"
EV = 1000


@frozen
class Reply:
    status: int = 200
    body: bytes = b'{"text":"hello"}'
    content_type: str = "application/json"
    pieces: tuple = ()
    gate: asyncio.Event | None = None
    cut: bool = False


@frozen
class Seen:
    path: str
    headers: dict
    body: bytes

    @property
    def payment(self):
        return net.Payment.FromString(b64decode(self.headers["livepeer-payment"]))

    @property
    def segdata(self):
        return net.SegData.FromString(b64decode(self.headers["livepeer-segment"]))


@define(eq=False)
class Orchestrator:
    """Its answers in order; the last one again and again."""

    replies: list = field(factory=lambda: [Reply()])
    price: int = 3
    models: dict = field(factory=lambda: {34: {"acme/see": True}, 33: {"acme/llm": True}})
    bits: tuple = (*range(13), 14, 26, *range(27, 38))
    files: dict = field(factory=dict)
    seen: list = field(factory=list)
    asked: int = 0
    port: int = 0
    paid: bool = True
    life_blocks: int = 40
    arrived: asyncio.Event = field(factory=asyncio.Event)

    @property
    def uri(self):
        return f"https://{HOST}:{self.port}"

    def info(self):
        made = net.OrchestratorInfo(transcoder=self.uri, address=b"\x07" * 20)
        made.capabilities.CopyFrom(ai_capabilities(27, "x"))
        made.capabilities.ClearField("constraints")
        del made.capabilities.bitstring[:]
        made.capabilities.bitstring.append(sum(1 << bit for bit in self.bits))
        for capability, models in self.models.items():
            for name, warm in models.items():
                said = made.capabilities.constraints.PerCapability[capability].models[name]
                said.warm, said.capacity = warm, 4
        made.auth_token.token = b"t"
        made.auth_token.session_id = f"s{self.asked}"
        made.auth_token.expiration = int(time.time()) + 1800
        if self.paid:
            made.price_info.pricePerUnit, made.price_info.pixelsPerUnit = self.price, 1
            block = wall_clock_block() + self.life_blocks
            made.ticket_params.recipient = b"\x07" * 20
            made.ticket_params.face_value = (EV * 5).to_bytes(4, "big")
            made.ticket_params.win_prob = (ALWAYS // 5).to_bytes(32, "big")
            made.ticket_params.recipient_rand_hash = self.asked.to_bytes(32, "big")
            made.ticket_params.expiration_block = block.to_bytes(4, "big")
        return made

    async def get_orchestrator(self, request, context):
        del request, context
        self.asked += 1
        return self.info().SerializeToString()

    async def app(self, scope, receive, send):
        if is_grpc(scope):
            await self.grpc(scope, receive, send)
        elif scope["method"] == "GET":
            await self._file(scope, send)
        else:
            await self._job(scope, receive, send)

    async def _file(self, scope, send):
        data = self.files.get(scope["path"])
        status = 404 if data is None else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": data or b""})

    async def _job(self, scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        self.arrived.set()
        self.seen.append(Seen(scope["path"], headers, body))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        head = [(b"content-type", reply.content_type.encode())]
        if reply.gate is not None:
            await reply.gate.wait()
        await send({"type": "http.response.start", "status": reply.status, "headers": head})
        for piece in reply.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if reply.cut:
            raise ConnectionError("as told")
        last = b"" if reply.pieces else reply.body
        await send({"type": "http.response.body", "body": last})

    def __attrs_post_init__(self):
        method = "/net.Orchestrator/GetOrchestrator"
        self.grpc = GrpcApp(unary={method: self.get_orchestrator}, stopping=asyncio.Event())

    grpc: GrpcApp = field(init=False)


@pytest.fixture
async def orchestrators(tmp_path):
    """Start scripted orchestrators."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**settings):
            made = Orchestrator(**settings)
            server = make_server(made.app, HOST, 0, self_signed(tmp_path, HOST))
            server.bind()
            task = asyncio.create_task(server.serve())
            await server.ready.wait()
            made.port = server.port

            async def stop():
                server.stop_now()
                await task

            stack.push_async_callback(stop)
            return made

        yield start


@pytest.fixture
def sender():
    """Make senders to scripted orchestrators."""

    def make(*orchestrators, **more):
        addresses = parse_addresses(",".join(each.uri for each in orchestrators))
        more = {"signer": KeySigner(WALLET), "caps": Caps(), "clock": BlockClock(), **more}
        return AiGateway(addresses, **more)

    return make


def encoded(codec, container, frames):
    """Return a small media file made on the spot."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, **({"rate": 16000} if codec.startswith("pcm") else {}))
        if codec.startswith("pcm"):
            stream.layout = "mono"
        for frame in frames:
            if not codec.startswith("pcm"):
                stream.width, stream.height = frame.width, frame.height
                stream.pix_fmt = frame.format.name
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()


@pytest.fixture(scope="session")
def png():
    """A PNG of 96 by 64."""
    return encoded("png", "image2pipe", [av.VideoFrame(96, 64, "rgb24")])


@pytest.fixture(scope="session")
def wav():
    """Speechless audio of 2.5 s, 16 kHz."""
    frame = av.AudioFrame("s16", "mono", 40000)
    frame.sample_rate = 16000
    frame.planes[0].update(bytes(80000))
    return encoded("pcm_s16le", "wav", [frame])
