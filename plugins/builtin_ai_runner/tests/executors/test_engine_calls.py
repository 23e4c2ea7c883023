"""Calls of an engine, one by one: bounded in time and size, whatever it answers."""

import asyncio
import contextlib
import datetime
import ipaddress
import json
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from podium_ai_runner.executors.docker.engine import Engine, EngineRefused
from podium_ai_runner.executors.launcher import ExecutorDown, StartFailed
from podium_hookspecs import ConfigError

VERSION = "1.41"
LINE = b'{"status": "Downloading", "id": "a"}\r\n'


async def version(request):
    return web.json_response({"ApiVersion": VERSION})


async def ping(request):
    return web.Response(text="OK")


@pytest.fixture
async def engine_of(tmp_path):
    """Serve an engine that answers by these handlers: ``await engine_of({path: handler})``."""
    ends = []

    async def make(handlers):
        app = web.Application()
        found = {"/version": version, f"/v{VERSION}/_ping": ping}
        found |= {f"/v{VERSION}{path}": handler for path, handler in handlers.items()}
        for path, handler in found.items():
            app.router.add_route("*", path, handler)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        ends.append(runner.cleanup)
        await web.UnixSite(runner, str(tmp_path / "s")).start()
        made = Engine.at(f"unix://{tmp_path}/s")
        ends.insert(0, made.close)
        ends.insert(0, made.settle)
        return made

    yield make
    for end in ends:
        await end()


async def streamed(request, *parts):
    response = web.StreamResponse()
    await response.prepare(request)
    for part in parts:
        await response.write(part)
    return response


async def hang(request):
    await asyncio.Event().wait()


async def lag(over):
    """Return the longest time for which the event loop did nothing else."""
    longest_s = 0.0
    while not over.is_set():
        began = time.monotonic()
        await asyncio.sleep(0.005)
        longest_s = max(longest_s, time.monotonic() - began)
    return longest_s


async def test_calls_that_hang_hold_up_neither_the_loop_nor_a_pull(engine_of):
    async def pull(request):
        return await streamed(request, *[LINE] * 1000)

    engine = await engine_of({"/containers/{id}/json": hang, "/images/create": pull})
    over = asyncio.Event()
    watch = asyncio.create_task(lag(over))
    await engine.ping()
    calls = [asyncio.create_task(engine.inspect("a", timeout_s=2.0)) for _ in range(12)]
    lines = [line async for line in engine.pull("a", 10.0)]
    assert len(lines) == 1000
    assert not any(call.done() for call in calls)
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(result) for result in results} == {ExecutorDown}
    over.set()
    assert await watch < 1.0
    await engine.ping()  # the places are free again


async def test_a_pull_that_is_not_wanted_any_more_hangs_up(engine_of):
    gone = asyncio.Event()

    async def pull(request):
        try:
            await streamed(request, LINE)
            await asyncio.Event().wait()
        finally:
            gone.set()

    engine = await engine_of({"/images/create": pull})
    async with contextlib.aclosing(engine.pull("a", 60.0)) as lines:
        assert (await anext(lines))["id"] == "a"
        assert not gone.is_set()
    async with asyncio.timeout(10):
        await gone.wait()


async def test_a_reader_that_falls_behind_is_waited_for(engine_of):
    async def pull(request):
        return await streamed(request, *[LINE] * 500)

    engine = await engine_of({"/images/create": pull})
    report = engine.pull("a", 10.0)
    await anext(report)
    for _ in range(50):
        await asyncio.sleep(0.01)
    assert len([line async for line in report]) == 499


@pytest.mark.parametrize("parts", [[], [LINE], [b"x" * (2 << 20)], [b"{\n"]])
async def test_a_pull_that_says_nothing_or_nonsense(engine_of, parts):
    async def pull(request):
        await streamed(request, *parts)
        await asyncio.Event().wait()

    engine = await engine_of({"/images/create": pull})
    with pytest.raises(ExecutorDown):
        [line async for line in engine.pull("a", 0.5)]


async def test_an_image_s_name_is_split_and_a_wrong_one_said(engine_of):
    asked = []

    async def pull(request):
        asked.append((request.query["fromImage"], request.query["tag"]))
        if request.query["fromImage"] == "no":
            return web.json_response({"message": "no such thing"}, status=404)
        return await streamed(request, LINE)

    engine = await engine_of({"/images/create": pull})
    for image in ("a/b", "host:5000/a/b", "host:5000/a/b:2", "a/b@sha256:00"):
        assert len([line async for line in engine.pull(image, 10.0)]) == 1
    assert asked == [
        ("a/b", "latest"), ("host:5000/a/b", "latest"), ("host:5000/a/b", "2"), ("a/b", "sha256:00"),
    ]  # fmt: skip
    with pytest.raises(EngineRefused, match="404: no such thing"):
        await anext(engine.pull("no", 10.0))
    with pytest.raises(StartFailed, match="https://a") as failed:
        await anext(engine.pull("https://a", 10.0))
    assert not isinstance(failed.value, ExecutorDown)


async def test_a_whole_call_is_bounded_in_its_thread_too(engine_of):
    async def drip(request):
        response = await streamed(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.05)

    engine = await engine_of({"/containers/{id}/json": drip})
    await engine.ping()
    with pytest.raises(ExecutorDown):
        await engine.inspect("a", timeout_s=0.5)
    async with asyncio.timeout(10):
        await engine.settle()


async def test_logs_are_bounded_and_read_in_frames(engine_of):
    frames = b"\x01\0\0\0\0\0\0\x03ab\n" + b"\x02\0\0\0\0\0\0\x02c\n"
    huge = b"\x01\0\0\0" + (20 << 20).to_bytes(4, "big") + bytes(20 << 20)

    async def inspect(request):
        return web.json_response({"Config": {"Tty": False}})

    async def logs(request):
        assert request.query["tail"] == "100"
        return await streamed(request, huge if request.match_info["id"] == "huge" else frames)

    engine = await engine_of({"/containers/{id}/json": inspect, "/containers/{id}/logs": logs})
    assert await engine.logs("some", 100) == b"ab\nc\n"
    assert 15 << 20 < len(await engine.logs("huge", 100)) <= 16 << 20


@pytest.mark.parametrize(
    ("status", "text"), [(200, "{"), (200, "[" * 100_000), (500, "{}"), (404, "[]"), (200, "")]
)
async def test_an_answer_that_is_no_engine_s(engine_of, status, text):
    async def answer(request):
        return web.Response(status=status, text=text, content_type="application/json")

    engine = await engine_of({"/containers/{id}/json": answer})
    with pytest.raises(ExecutorDown, match="answers nonsense"):
        await engine.inspect("a")


async def test_an_engine_s_no_is_told_with_its_words(engine_of):
    async def answer(request):
        return web.json_response({"message": "not now"}, status=409)

    engine = await engine_of({"/containers/{id}": answer})
    with pytest.raises(EngineRefused, match="409: not now") as refused:
        await engine.remove("a")
    assert refused.value.status == 409


async def test_a_closed_engine_is_not_asked(engine_of):
    engine = await engine_of({})
    await engine.ping()
    await engine.close()
    await engine.close()
    with pytest.raises(ExecutorDown, match="not asked any more"):
        await engine.ping()


def make_certificates(folder):
    """Write a certificate that vouches for itself, for both sides, as Docker names the files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "engine")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
    made = made.add_extension(address, critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    data = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (folder / "ca.pem").write_bytes(data)
    (folder / "cert.pem").write_bytes(data)
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


class OverTls(BaseHTTPRequestHandler):
    """An engine that answers with its version and to pings."""

    def do_GET(self):
        text = json.dumps({"ApiVersion": VERSION}) if self.path == "/version" else "OK"
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *words):
        pass


@contextlib.contextmanager
def served_over(tls):
    with ThreadingHTTPServer(("127.0.0.1", 0), OverTls) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"tcp://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_an_engine_behind_tls_sees_our_certificate(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"no ca.pem, cert.pem, key.pem"):
        Engine.at("tcp://127.0.0.1:2376")
    make_certificates(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tmp_path / "ca.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with served_over(tls) as host:
        engine = Engine.at(host)
        await engine.ping()
        monkeypatch.delenv("DOCKER_TLS_VERIFY")
        with pytest.raises(ExecutorDown):
            await Engine.at(host).ping()


def test_a_node_without_containers_does_not_load_the_package():
    program = """
import json, sys
import podium_ai_runner.plugin, podium_ai_runner.cli
from podium_ai_runner.executors.docker.engine import Engine
Engine.at("")
print(json.dumps([name for name in ("docker", "requests") if name in sys.modules]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout) == []
