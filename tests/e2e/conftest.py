"""Real nodes on loopback, a plugin that does as told, and senders that pay."""

import asyncio
import base64
import contextlib
import itertools
import ssl
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from podium.app import running
from podium.assembly import Overrides
from podium.bench import null
from podium.config.account import AccountSettings
from podium.config.chain import ChainLocalSettings, ChainSettings
from podium.config.settings import (
    LimitsSettings,
    NodeSettings,
    PaymentsSettings,
    PluginSettings,
    Settings,
    StorageSettings,
)
from podium.crypto import KeySigner
from podium.testing.gateway.media import segments
from podium.testing.gateway.requests import (
    build_payment,
    build_segdata,
    build_segment_request,
    orchestrator_request,
)
from podium.testing.gateway.tickets import TicketTerms
from podium.testing.gateway.transport import Rpc
from podium.wire.pb import lp_rpc_pb2 as pb
from podium_hookspecs import Secret, hookimpl

NODE_KEY = b"\x11" * 32
TICKET_EV = 8_000_000_000
PROFILES = [pb.VideoProfile(name="P240p30fps16x9", width=426, height=240, bitrate=600_000, fps=30)]


class CommandedPlugin:
    """The null plugin, with a worker whose run waits for or raises what a test says."""

    def __init__(self):
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.release.set()
        self.error = None
        self.jobs = []
        self.cancelled = 0
        self.body = b""

    @hookimpl
    def podium_pipelines(self, config, context):
        return [null.NullPipeline()]

    @hookimpl
    def podium_workers(self, config, context):
        plugin = self

        class Worker(null.NullWorker):
            async def run(self, job):
                plugin.jobs.append(job)
                plugin.started.set()
                plugin.body = b"".join([piece async for piece in job.body])
                try:
                    await plugin.release.wait()
                except (GeneratorExit, asyncio.CancelledError):
                    plugin.cancelled += 1
                    raise
                if plugin.error:
                    raise plugin.error
                async for output in super().run(job):
                    yield output

        return [Worker()]


def make_settings(
    data_dir, *, paid=True, node=None, limits=None, storage=None, payments=None, plugins=None
):
    return Settings(
        node=NodeSettings(
            **{
                "data_dir": data_dir,
                "listen": "127.0.0.1:0",
                "admin_listen": "127.0.0.1:0",
                "log_format": "json",
                **(node or {}),
            }
        ),
        account=AccountSettings(private_key=Secret(NODE_KEY.hex()) if paid else None),
        payments=PaymentsSettings(
            **{
                "price_per_unit": Fraction(1),
                "ticket_ev_wei": TICKET_EV,
                "max_face_value_wei": 5 * TICKET_EV,
                **(payments or {}),
            }
        ),
        chain=ChainSettings(local=ChainLocalSettings()),
        limits=LimitsSettings(**(limits or {})),
        storage=StorageSettings(**(storage or {})),
        plugins={"commanded": PluginSettings(enabled=True), **(plugins or {})},
    )


class Sender:
    """A gateway's one session, under the test's control at every step."""

    def __init__(self, node, key=b"\x22" * 32, client=None):
        self.node = node
        self.signer = KeySigner(key)
        self.rpc = Rpc()
        self.client = client
        self.info = None
        self.nonce = 0

    async def discover(self):
        self.info = await self.rpc.get_orchestrator(
            self.node.service_uri, orchestrator_request(self.signer), 5
        )
        self.nonce = 0
        return self.info

    def request(
        self,
        body=b"segment",
        *,
        tickets=1,
        seq=0,
        headers=None,
        profiles=PROFILES,
        duration_ms=2000,
        after_signing=None,
        body_sent=None,
    ):
        nonces = range(self.nonce + 1, self.nonce + 1 + tickets)
        self.nonce += tickets
        has_terms = self.info.HasField("ticket_params")
        payment = build_payment(
            self.signer,
            self.info.price_info if has_terms else None,
            TicketTerms.read(self.info.ticket_params) if has_terms else None,
            nonces if has_terms else (),
        )
        segdata = build_segdata(
            self.signer,
            token=self.info.auth_token,
            manifest_id="movie",
            seq=seq,
            body=body,
            duration_ms=duration_ms,
            profiles=profiles,
            after_signing=after_signing,
        )
        return build_segment_request(
            segdata, payment, body if body_sent is None else body_sent, headers=headers
        )

    async def send(self, *args, path="/segment", client=None, **kwargs):
        request = self.request(*args, **kwargs)
        return await (client or self.client).post(
            self.node.service_uri + path, headers=dict(request.headers), content=request.body
        )

    async def result(self, *args, **kwargs):
        reply = await self.send(*args, **kwargs)
        assert reply.status_code == 200, reply.text
        result = pb.TranscodeResult.FromString(reply.content)
        self.info = result.info
        self.nonce = 0
        return result


class World:
    """Starts nodes and senders, and stops them all."""

    def __init__(self, stack, tmp_path):
        self.stack = stack
        self.tmp_path = tmp_path
        self.plugin = CommandedPlugin()
        self.nodes = []
        # One context for all clients: loading the system's certificates takes half a second.
        self.tls = ssl.create_default_context()
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE

    async def node(self, overrides=None, **settings):
        settings = make_settings(self.tmp_path / "node", **settings)
        overrides = overrides or Overrides(plugins={"commanded": self.plugin})
        node = await self.stack.enter_async_context(running(settings, overrides))
        self.nodes.append(node)
        return node

    async def client(self, http2=True):
        return await self.stack.enter_async_context(
            httpx.AsyncClient(verify=self.tls, http2=http2, http1=not http2, timeout=20)
        )

    async def sender(self, node, key=b"\x22" * 32, http2=True):
        sender = Sender(node, key, await self.client(http2))
        self.stack.push_async_callback(sender.rpc.close)
        await sender.discover()
        return sender


@pytest.fixture
async def world(tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        yield World(stack, tmp_path)


@pytest.fixture(scope="session")
def segment():
    """Two seconds of real video, 720p25 H.264 with AAC."""
    root = Path(__file__).parents[2]
    return (root / "plugins/builtin_transcode/tests/data/seg000.ts").read_bytes()


PAID = {
    "payments": {
        "price_per_unit": 1200,
        "ticket_ev_wei": 8_000_000_000,
        "max_face_value_wei": 40_000_000_000,
    },
}
SEGMENTS = 3
CAPABILITY = 33


@pytest.fixture(scope="session")
def stream():
    """Six seconds of real video, in segments."""
    clip = Path(str(files("podium.assets") / "clip" / "bigbuckbunny.mp4"))
    return list(itertools.islice(segments(clip, 2.0), SEGMENTS))


@pytest.fixture
def beside(monkeypatch, podium_app, gateway, stream):
    """Start the real transcoder with hostile plugins beside it; ``flow`` sends the stream."""

    def start(plugins, **sections):
        hostile = {name: {"enabled": True, "required": False} for name in plugins}
        transcode = {"transcode": {"enabled": True, "slots": 1}}
        document = {**PAID, "plugins": {**hostile, **sections, **transcode}}
        return Beside(podium_app(document, plugins), gateway, stream)

    return start


class Beside:
    def __init__(self, app, gateway, stream):
        self.app, self.gateway, self.stream = app, gateway, stream

    async def flow(self):
        """Send every segment, and compare both books to the wei."""
        async with self.gateway(self.app.uri) as client:
            outcomes = [await client.transcode(segment) for segment in self.stream]
            accounts = [account for account in client.accounts if account.tickets]
        assert [outcome.attempts for outcome in outcomes] == [1] * SEGMENTS
        assert all(outcome.signature_checked for outcome in outcomes)
        async with httpx.AsyncClient() as http:
            entries = (await http.get(self.app.admin_uri + "/podium/ledger")).json()["entries"]
        books = {entry["key"]: entry for entry in entries}
        for account in accounts:
            entry = books[account.session_id]
            assert Fraction(entry["debited"]) == account.debited > 0
            assert Fraction(entry["credited"]) == account.credited
            assert entry["tickets"] == account.tickets
        assert sum(account.debited for account in accounts) == sum(o.debit for o in outcomes)

    async def states(self):
        async with httpx.AsyncClient() as http:
            told = (await http.get(self.app.admin_uri + "/podium/plugins")).json()["plugins"]
        return {one["name"]: SimpleNamespace(**one) for one in told}

    async def until(self, condition, within_s=15):
        """Wait for what the states must come to."""
        async with asyncio.timeout(within_s):
            while not condition(found := await self.states()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return found

    async def page(self):
        async with httpx.AsyncClient() as http:
            return (await http.get(self.app.admin_uri + "/metrics")).text


class Asking:
    """A client of the AI kind."""

    def __init__(self, uri, key=b"\x51" * 32):
        self.uri, self.signer, self.rpc = uri, KeySigner(key), Rpc()
        self.http = httpx.AsyncClient(verify=False, timeout=30)
        self.nonce = 0

    async def discover(self, capabilities):
        request = orchestrator_request(self.signer, capabilities)
        self.info = await self.rpc.get_orchestrator(self.uri, request, 5)
        return self.info

    async def ask(self, text, path="/bad"):
        asked = pb.Capabilities(bitstring=[1 << CAPABILITY], capacities={CAPABILITY: 1})
        asked.constraints.PerCapability[CAPABILITY].models["m"].warm = False
        await self.discover(asked)
        self.nonce += 1
        terms = TicketTerms.read(self.info.ticket_params)
        payment = build_payment(self.signer, self.info.price_info, terms, [self.nonce])
        credentials = build_segdata(
            self.signer,
            token=self.info.auth_token,
            manifest_id=f"{CAPABILITY}_m",
            seq=0,
            body=b"",
            duration_ms=0,
            profiles=[],
            capabilities=asked,
        )
        headers = {
            "Livepeer-Payment": base64.b64encode(payment.SerializeToString()).decode(),
            "Livepeer-Segment": base64.b64encode(credentials.SerializeToString()).decode(),
        }
        try:
            return (await self.http.post(self.uri + path, headers=headers, content=text)).text
        except httpx.RemoteProtocolError:
            return "cut off"

    async def close(self):
        await self.http.aclose()
        await self.rpc.close()


@pytest.fixture
async def asking():
    """Make clients of the AI kind."""
    clients = []

    def make(node, **more):
        clients.append(Asking(node.app.uri, **more))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()
