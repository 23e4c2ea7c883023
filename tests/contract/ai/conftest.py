"""The recorded runner, on loopback, behind a real node without an account."""

import asyncio
import base64
import json
import re
import threading
from email.parser import BytesParser
from pathlib import Path

import pytest
from aiohttp import web
from attrs import define, field
from podium.app import Overrides
from podium.testing.node import PodiumApp, node_document
from podium.wire.pb import lp_rpc_pb2 as pb

DATA = Path(__file__).parents[1] / "data/ai"
READY_TIMEOUT_S = 20.0
CAPACITIES = {"text-to-image": 100, "image-to-image": 100, "llm": 100}
OTHERS = 4
MODE = re.compile(rb"mode=([\w-]+)")
DROP = b"acme/drop"
JSON = "application/json"


def load(name):
    """A recording of AI jobs, by its name."""
    return json.loads((DATA / f"{name}.json").read_text())


def jobs():
    """The recorded jobs, by their file's name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(DATA.glob("job-*.json"))}


@define
class Reply:
    """What the runner answers; ``gate`` is awaited before."""

    status: int
    content_type: str
    pieces: list[bytes]
    gate: threading.Event | None = None


def recorded_reply(response):
    kind = dict(response["headers"])["content-type"]
    chunks = response.get("chunks") or [response["body"]]
    return Reply(response["status"], kind, [c.get("text", "").encode() for c in chunks])


def told():
    """What the runner was told to answer, by mode; good answers by pipeline, and for streams."""
    replies = {}
    for case in load("gateway-errors"):
        if case["case"].startswith("runner-") and case.get("first_runner_reply"):
            mode = case["case"].removeprefix("runner-").partition("/")[0]
            replies[mode] = recorded_reply(case["first_runner_reply"])
    body = '{"images":[{"url":"data:image/png;base64,!!!!","seed":1,"nsfw":false}]}'
    replies["badurl"] = Reply(200, JSON, [body.encode()])
    replies["noimages"] = Reply(200, JSON, [b'{"images":[]}'])
    replies["429"] = Reply(429, JSON, [b'{"detail":"Too Many Requests"}'])
    replies["two-batches"] = Reply(200, JSON, [b'{"frames":[[{"url":"x"}],[{"url":"x"}]]}'])
    for name, job in jobs().items():
        replies[name.removeprefix("job-")] = recorded_reply(
            job["orchestrator_to_runner"][0]["response"]
        )
    return replies


@define(eq=False)
class RecordedRunner:
    """Answers as the recorded runner did, in a thread of its own."""

    requests: list = field(factory=list)
    gate: threading.Event = field(factory=threading.Event)
    asked: threading.Event = field(factory=threading.Event)
    port: int = 0
    _replies: dict = field(factory=told)
    _ready: threading.Event = field(factory=threading.Event)
    _loop: asyncio.AbstractEventLoop | None = None
    _stop: asyncio.Event | None = None

    def start(self):
        self.gate.set()
        thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        thread.start()
        assert self._ready.wait(READY_TIMEOUT_S)
        return thread

    def stop(self):
        self.gate.set()
        self._loop.call_soon_threadsafe(self._stop.set)

    async def _serve(self):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=1 << 26)
        for probe in load("runner-probes"):
            app.router.add_get(probe["request"]["path"], self._probe(probe["response"]))
        app.router.add_post("/{pipeline}", self._job)
        served = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await served.setup()
        await web.TCPSite(served, "127.0.0.1", 0).start()
        self.port = served.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await served.cleanup()

    def _probe(self, response):
        async def answer(request):
            del request
            return web.Response(body=response["body"]["text"].encode(), content_type=JSON)

        return answer

    async def _job(self, request):
        raw = await request.read()
        self.requests.append((request.path, dict(request.headers), raw))
        self.asked.set()
        if DROP in raw:
            request.transport.abort()
            return web.Response()
        reply = self._reply(request.match_info["pipeline"], raw)
        mode = MODE.search(raw)
        if mode and mode[1].startswith(b"slow"):
            await asyncio.to_thread(self.gate.wait, READY_TIMEOUT_S)
        if len(reply.pieces) == 1:
            return web.Response(
                status=reply.status,
                body=reply.pieces[0],
                headers={"Content-Type": reply.content_type},
            )
        response = web.StreamResponse(
            status=reply.status, headers={"Content-Type": reply.content_type}
        )
        await response.prepare(request)
        for number, piece in enumerate(reply.pieces):
            if number and mode and mode[1] == b"gated":
                await asyncio.to_thread(self.gate.wait, READY_TIMEOUT_S)
            await response.write(piece)
        return response

    def _reply(self, pipeline, raw):
        mode = MODE.search(raw)
        known = self._replies.get(mode[1].decode()) if mode else None
        if known is not None:
            return known
        name = pipeline
        if pipeline == "llm" and re.search(rb'"stream": ?true', raw):
            name = "llm-stream"
        if pipeline == "text-to-image" and b'"num_images_per_prompt":2' in raw:
            name = "text-to-image-two"
        return self._replies[name]


def parts_of(raw, content_type):
    """A form's parts: name, file name, bytes."""
    message = BytesParser().parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + raw)
    return [
        {
            "name": part.get_param("name", header="content-disposition"),
            "filename": part.get_filename(),
            "data": part.get_payload(decode=True).hex(),
        }
        for part in message.get_payload()
    ]


def received_view(path, headers, raw):
    """What a runner received, in comparable form."""
    named = {name.lower(): value for name, value in headers.items()}
    kind = named["content-type"].partition(";")[0]
    content = json.loads(raw) if kind == JSON else parts_of(raw, named["content-type"])
    length = int(named["content-length"]) == len(raw) if "content-length" in named else None
    return {
        "path": path,
        "authorization": named.get("authorization"),
        "content-type": kind,
        "length is right": length,
        "content": content,
    }


def body_of(recorded):
    """A recorded body's bytes."""
    return (
        bytes.fromhex(recorded["hex"]) if "hex" in recorded else recorded.get("text", "").encode()
    )


# ---------------------------------------------------------------- the node


def models(port):
    """The recorded node's list of models, as ``-aiModels`` has it."""
    url = f"http://127.0.0.1:{port}"
    names = (
        "text-to-image", "image-to-image", "image-to-video", "upscale", "audio-to-text",
        "segment-anything-2", "llm", "image-to-text", "text-to-speech",
    )  # fmt: skip
    entries = [
        {
            "pipeline": name,
            "model_id": f"acme/{name}",
            "url": url,
            "token": "runner-token",
            "warm": name != "upscale",
            "capacity": CAPACITIES.get(name, OTHERS),
        }
        for name in names
    ]
    one = {"pipeline": "text-to-image", "url": url, "token": "runner-token", "warm": True}
    return [*entries, {**one, "model_id": "acme/one"}, {**one, "model_id": "acme/drop"}]


@define(eq=False)
class AiNode:
    """Our node with the recorded models."""

    app: PodiumApp
    runner: RecordedRunner

    @property
    def port(self):
        return self.app.node.public.port

    def discover(self, kit, capabilities=None):
        """Ask as gateways do; return the reply."""
        request = pb.OrchestratorRequest(address=bytes(20), capabilities=capabilities)
        with kit.OverH2(self.port) as client:
            headers = [("content-type", "application/grpc"), ("te", "trailers")]
            path = "/net.Orchestrator/GetOrchestrator"
            answer = client.request("POST", path, headers, kit.framed(request))
        return kit.unframed(pb.OrchestratorInfo, answer.body)

    def wait_until_free(self, kit, capability, model):
        """Wait until a model has a free slot; return how many."""
        pause = threading.Event()
        for _ in range(int(READY_TIMEOUT_S / 0.02)):
            found = self.discover(kit).capabilities.constraints.PerCapability[capability]
            if found.models[model].capacity:
                return found.models[model].capacity
            pause.wait(0.02)
        raise AssertionError(f"{model} has no free slot")


def wait_for_models(node, wanted):
    """Wait until so many models are offered, whoever asks."""
    pause, service = threading.Event(), node.app.node.service
    for _ in range(int(READY_TIMEOUT_S / 0.02)):
        models = node.app.call(lambda: service.capabilities.models)
        if sum(map(len, models.values())) == wanted:
            return
        pause.wait(0.02)
    raise AssertionError("the models are not up")


@pytest.fixture(scope="session")
def ai_kit():
    """The functions of this file, for tests."""

    class AiKit:
        def __init__(self):
            vars(self).update(globals())

    return AiKit()


@pytest.fixture(scope="module")
def recorded_runner():
    runner = RecordedRunner()
    runner.start()
    yield runner
    runner.stop()


@pytest.fixture(scope="module")
def start_ai(kit, tmp_path_factory, recorded_runner):
    """Start a node that serves the recorded models: ``start_ai(sections, overrides)``."""
    started = []

    def start(sections=None, overrides=None, entries=None):
        folder = tmp_path_factory.mktemp("ai")
        listed = folder / "aiModels.json"
        listed.write_text(json.dumps(entries or models(recorded_runner.port)))
        plugin = {"enabled": True, "ai_models": str(listed), "queue_timeout_s": 0.0}
        document = node_document(folder, {"plugins": {"ai": plugin}, **(sections or {})})
        if sections is None:
            del document["account"]
        app = PodiumApp.start(document, overrides or Overrides())
        started.append(app)
        return AiNode(app, recorded_runner)

    yield start
    for app in started:
        app.stop()


@pytest.fixture(scope="module")
def ai_node(start_ai):
    node = start_ai()
    wait_for_models(node, len(models(0)))
    return node


def credentials(header, token):
    """A recorded header with a token of our node's in place of the recorded one."""
    message = pb.SegData.FromString(base64.b64decode(header))
    if message.HasField("auth_token"):
        message.auth_token.CopyFrom(token)
    return base64.b64encode(message.SerializeToString()).decode()
