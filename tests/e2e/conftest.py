"""A real node on loopback, a plugin that does as told, and a sender that pays."""

import asyncio
import contextlib
import ssl
from fractions import Fraction
from pathlib import Path

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
