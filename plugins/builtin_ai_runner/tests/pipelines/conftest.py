"""A runner on loopback that answers as it is told, and the host's part played straight."""

import asyncio
import base64
import itertools
import json
import logging
import os
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from attrs import define, field
from podium_ai_runner.config import AiConfig
from podium_ai_runner.endpoint import Address
from podium_ai_runner.state import state_of
from podium_hookspecs import (
    Chunk,
    Health,
    HttpRequest,
    Job,
    Offer,
    PluginError,
    Resources,
    Result,
    Secret,
    Units,
    Worker,
    WorkerState,
)

TOKEN = "runner-token"
_numbers = itertools.count()


def png(width=96, height=64, colour=b"\x20\x80\xe0") -> bytes:
    """A picture of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = (b"\x00" + colour * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + end


def data_url(data: bytes, kind="image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def wav(seconds: float, rate=8000) -> bytes:
    """Silence."""
    data = b"\x80" * int(seconds * rate)
    head = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, rate, 1, 8)
    head += b"data" + struct.pack("<I", len(data))
    return b"RIFF" + struct.pack("<I", len(head) + len(data)) + head + data


def form(boundary="boundary", file=None, **texts) -> tuple[str, bytes]:
    """A form: its content type and its body. ``file`` is (part, file name, data)."""
    parts = []
    if file is not None:
        name, filename, data = file
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; '
            f'filename="{filename}"\r\nContent-Type: application/octet-stream\r\n\r\n'.encode()
            + data
            + b"\r\n"
        )
    for name, text in texts.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        parts.append(f"{head}{text}\r\n".encode())
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return f"multipart/form-data; boundary={boundary}", body


class FileBody:
    """A body in an unlinked file."""

    def __init__(self, data: bytes):
        self._descriptor = os.memfd_create("body")
        os.write(self._descriptor, data)
        self.size_bytes = len(data)

    def __del__(self) -> None:
        os.close(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for at in range(0, self.size_bytes, 1 << 20):
            yield os.pread(self._descriptor, 1 << 20, at)


class PipedBody:
    """A body that is no file, in pieces of an awkward size."""

    def __init__(self, data: bytes, piece=997):
        self._data = data
        self._piece = piece
        self.size_bytes = len(data)

    def fileno(self) -> int:
        raise OSError("not a file")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self._data), self._piece):
            yield self._data[at : at + self._piece]


class QuietLog:
    def __init__(self):
        self._log = logging.getLogger("ai-test")

    def debug(self, event, **facts):
        self._log.debug("%s %s", event, facts)

    info = warning = error = debug


@define(eq=False)
class Context:
    """What the plugin uses of its context."""

    state_dir: object
    service_uri: str = "https://node.test:8935"
    node_version: str = "0.9.1"
    orchestrator_id: str = "offchain"
    log: QuietLog = field(factory=QuietLog)
    state: object = None
    tasks: list = field(factory=list)

    async def run_blocking(self, func, /, *args, **kwargs):
        return await asyncio.to_thread(func, *args, **kwargs)

    def spawn(self, coroutine, *, name):
        self.tasks.append(asyncio.get_running_loop().create_task(coroutine, name=name))

    def changed(self):
        pass

    def currency(self, name):
        wei = {"wei": 1, "eth": 10**18}.get(name)
        if wei is None:
            raise PluginError(f"there is no price feed for {name.upper()}")
        return lambda amount: amount * wei


@define
class CountingMeter:
    added: list[Units] = field(factory=list)

    def add(self, units: Units) -> None:
        self.added.append(units)

    @property
    def amount(self) -> int:
        return sum(units.amount for units in self.added)


@define(eq=False)
class CallWorker(Worker):
    """Runs each job on one endpoint."""

    client: object
    endpoint: Address
    offers: tuple[Offer, ...] = ()
    slots: int = 1
    name: str = "under-test"

    @property
    def resources(self) -> Resources:
        return Resources(pipelines={"llm"}, capabilities={33}, slots=self.slots, offers=self.offers)

    async def start(self):
        pass

    async def health(self):
        yield Health(WorkerState.OK)

    def run(self, job):
        return self.client.call(self.endpoint, job)

    async def cancel(self, job_id):
        pass

    async def close(self):
        pass


@define
class Reply:
    """What the runner answers.

    ``pieces`` are sent one by one, each after ``wait`` was awaited; ``cut`` drops the connection
    then, ``hang`` keeps silent until the client goes.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    pieces: list[bytes] | None = None
    wait: object = None
    cut: bool = False
    hang: bool = False
    headers: dict = field(factory=dict)


@define(eq=False)
class Runner:
    """A runner that remembers what it was asked."""

    url: str = ""
    reply: Reply = field(factory=Reply)
    requests: list = field(factory=list)
    asked: asyncio.Event = field(factory=asyncio.Event)
    left: asyncio.Event = field(factory=asyncio.Event)

    def answers(self, value=None, **more):
        body = b"" if value is None else json.dumps(value).encode()
        self.reply = Reply(**{"body": body, **more})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        self.requests.append((request, raw))
        self.asked.set()
        reply = self.reply
        headers = {"Content-Type": reply.content_type, **reply.headers}
        if reply.pieces is None and not (reply.cut or reply.hang):
            return web.Response(status=reply.status, body=reply.body, headers=headers)
        if reply.pieces is None and reply.cut:
            request.transport.abort()
            return web.Response()
        response = web.StreamResponse(status=reply.status, headers=headers)
        try:
            await response.prepare(request)
            for piece in reply.pieces or ():
                if reply.wait is not None:
                    await reply.wait()
                await response.write(piece)
            if reply.hang:
                await asyncio.Event().wait()
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        if reply.cut:
            request.transport.abort()
        return response


@pytest.fixture
async def runner():
    app = web.Application(client_max_size=1 << 30)
    told = Runner()
    app.router.add_route("*", "/{tail:.*}", told.handle)
    served = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await served.setup()
    site = web.TCPSite(served, "127.0.0.1", 0)
    await site.start()
    told.url = f"http://127.0.0.1:{served.addresses[0][1]}"
    yield told
    await served.cleanup()


@define
class Done:
    chunks: list[Chunk] = field(factory=list)
    result: Result | None = None

    @property
    def data(self) -> bytes:
        return b"".join(chunk.data for chunk in self.chunks)

    @property
    def json(self):
        return json.loads(self.data)


@define(eq=False)
class Host:
    """Parses, prices and runs jobs as the node would."""

    state: object
    worker: CallWorker
    meter: CountingMeter = field(factory=CountingMeter)

    def pipeline(self, name):
        return next(one for one in self.state.pipelines if one.name == name)

    async def parse(self, name, data, content_type="application/json", body=FileBody):
        if isinstance(data, dict):
            data = json.dumps(data).encode()
        body = body(data)
        request = HttpRequest("", content_type, body)
        return await self.pipeline(name).parse(request), body

    async def job(self, name, data, content_type="application/json", timeout_s=30.0):
        parsed, body = await self.parse(name, data, content_type)
        return Job(
            id=f"job-{next(_numbers)}",
            session_id="session",
            sender=bytes(20),
            pipeline=name,
            capability=self.pipeline(name).capability,
            model=self.pipeline(name).require(parsed).model,
            timeout_s=timeout_s,
            request=parsed,
            body=body,
        )

    async def run(self, name, data, content_type="application/json", **more) -> Done:
        job = await self.job(name, data, content_type, **more)
        done = Done()
        async for output in self.pipeline(name).run(job, self.worker, self.meter):
            if isinstance(output, Result):
                done.result = output
            else:
                done.chunks.append(output)
        return done


@pytest.fixture
def make_host(tmp_path, runner):
    @asynccontextmanager
    async def make(**options):
        context = Context(tmp_path / f"state-{next(_numbers)}")
        state = state_of(AiConfig(**options), context)
        worker = CallWorker(state.parts.client, Address(runner.url, Secret(TOKEN)))
        yield Host(state, worker)
        await state.parts.close()
        for task in context.tasks:
            task.cancel()

    return make


@pytest.fixture
async def host(make_host):
    async with make_host() as made:
        yield made


REQUESTS = {
    "text-to-image": {"model_id": "acme/text-to-image", "prompt": "a cat"},
    "llm": {
        "model": "acme/llm",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 64,
    },
    "text-to-speech": {"model_id": "acme/text-to-speech", "text": "a cat"},
}
"""Good JSON requests."""


def good_request(name):
    """A good request of any pipeline: what ``Host.run`` takes."""
    if name in REQUESTS:
        return name, REQUESTS[name], "application/json"
    texts = {"model_id": f"acme/{name}"}
    if name in ("image-to-image", "upscale"):
        texts["prompt"] = "a cat"
    file = ("image", "in.png", png())
    if name == "audio-to-text":
        file = ("audio", "in.wav", wav(2.5))
    content_type, body = form(file=file, **texts)
    return name, body, content_type


FRAMES = [{"url": data_url(png(64, 48, bytes([40 * i, 90, 200]))), "seed": 7, "nsfw": False}
          for i in range(5)]  # fmt: skip

ANSWERS = {
    "text-to-image": {"images": [{"url": data_url(png(64, 64)), "seed": 42, "nsfw": False}]},
    "text-to-speech": {"audio": {"url": data_url(wav(0.1), "audio/wav")}},
    "llm": {
        "id": "1",
        "model": "acme/llm",
        "created": 1,
        "usage": {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9},
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Hello."},
            }
        ],
    },
    "image-to-text": {"text": "a coloured square"},
    "audio-to-text": {"text": "hello", "chunks": [{"timestamp": [0, 1], "text": "hello"}]},
    "segment-anything-2": {"masks": "[[1]]", "scores": "[0.9]", "logits": "[[0.1]]"},
    "image-to-video": {"frames": [FRAMES]},
}
ANSWERS["image-to-image"] = ANSWERS["upscale"] = ANSWERS["text-to-image"]


class Kit:
    """Everything above, for tests, which cannot import one another."""

    def __init__(self):
        vars(self).update(globals())

    def __repr__(self):
        return "kit"


@pytest.fixture(scope="session")
def kit() -> Kit:
    return Kit()
