"""Real servers on loopback, and plugins loaded as the node loads them."""

import asyncio
import contextlib
import datetime
import ipaddress
import itertools
import ssl
import tomllib
from types import SimpleNamespace

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from podium.config.load import parse_settings
from podium.pluginhost import NodeFacts, PluginHost, Services
from podium.telemetry.plugin_metrics import PluginMetrics
from podium.telemetry.registry import Registry
from podium.testing.plugins import RecordingLog


class Log(RecordingLog):
    """A log that can be waited for."""

    def __init__(self):
        super().__init__()
        self.warned = asyncio.Event()

    def warning(self, event, **facts):
        super().warning(event, **facts)
        self.warned.set()

    async def lost(self):
        """Wait until events were lost; return what the log says of it."""
        async with asyncio.timeout(10):
            await self.warned.wait()
        (line,) = [line for line in self.lines if line.event == "events were lost"]
        return line.facts


class Server:
    """An HTTP server that keeps what it was asked, and answers as a test says."""

    def __init__(self):
        self.requests = asyncio.Queue()
        self.seen = []
        self.answers = []
        self.answer = web.Response
        self.url = ""

    async def handle(self, request):
        body = await request.read()
        asked = SimpleNamespace(
            method=request.method, path=request.path, headers=request.headers, body=body
        )
        self.seen.append(asked)
        self.requests.put_nowait(asked)
        answer = self.answers.pop(0) if self.answers else self.answer
        made = answer() if callable(answer) else answer
        return await made if asyncio.iscoroutine(made) else made

    async def next(self):
        async with asyncio.timeout(10):
            return await self.requests.get()


@pytest.fixture
async def serve():
    """Start a server; with a TLS context it speaks HTTPS."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(tls=None):
            server = Server()
            app = web.Application()
            app.router.add_route("*", "/{tail:.*}", server.handle)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
            await site.start()
            port = runner.addresses[0][1]
            server.url = f"http{'s' if tls else ''}://127.0.0.1:{port}/hook?key=hidden"
            return server

        yield start


@pytest.fixture
def certificate(tmp_path):
    """A self-signed certificate of 127.0.0.1: the server's context, and the file to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert_file, key_file)
    return context, cert_file


@pytest.fixture
async def load(tmp_path):
    """Load the plugins of a TOML text; the host has their log and metrics as ``told``."""
    numbers = itertools.count()
    hosts = []

    async def make(toml, **plugins):
        folder = str(tmp_path / f"node-{next(numbers)}")
        document = {"node": {"data_dir": folder}, **tomllib.loads(toml)}
        document["plugins"] |= {name: {"enabled": True} for name in plugins}
        told = SimpleNamespace(log=Log(), registry=Registry(), errors=[])
        services = Services(
            facts=NodeFacts("0.9.1", "0xOrch", "https://127.0.0.1:1"),
            log=lambda name: told.log,
            metrics=lambda name: PluginMetrics(told.registry, name),
            on_error=lambda name, hook: told.errors.append((name, hook)),
            environ={},
        )
        settings = parse_settings(document, path=tmp_path / "podium.toml")
        host = await PluginHost.load(settings, services, extra_plugins=plugins)
        hosts.append(host)
        await asyncio.sleep(0)  # background tasks begin
        return SimpleNamespace(
            host=host, log=told.log, errors=told.errors, page=lambda: told.registry.render()
        )

    yield make
    for host in hosts:
        await host.close()
