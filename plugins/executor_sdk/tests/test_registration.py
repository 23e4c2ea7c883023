"""Registering, staying registered, and leaving."""

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import httpx
import podium_executor as sdk
import pytest
from podium_executor.cli import load, main
from podium_executor.registration import Registrar, trust
from podium_executor.settings import renamed, settings_from

SECRET = "orchestrator-secret"

ECHO = """
import asyncio
from podium_executor import executor

@executor("echo", capacity=3, price="0.00001 eth", description="says it again")
async def echo(body: bytes) -> bytes:
    if body == b"slow":
        print("begun", flush=True)
        await asyncio.sleep(1)
    return body

async def plain(body: bytes) -> bytes:
    return body
"""


@sdk.executor("echo", capacity=3, price="0.00001 eth", description="says it again")
async def echo(body: bytes) -> bytes:
    return body


async def test_it_registers_when_it_listens(start, orchestrator):
    running = await start(echo, orchestrator=orchestrator.uri + "/", secret=SECRET, token="t")
    ((_, headers, body),) = await orchestrator.heard(1)
    assert headers["authorization"] == SECRET
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == {
        "url": running.url,
        "name": "echo",
        "description": "says it again",
        "capacity": 3,
        "price_per_unit": 1,
        "price_scaling": 100_000,
        "currency": "eth",
        "token": "t",
        "health_path": "/healthz",
    }
    reply = await running.post(content=b"x", headers={"Authorization": "Bearer t"})
    assert reply.content == b"x"


async def test_it_tries_until_the_orchestrator_is_there(start, orchestrator, monkeypatch):
    monkeypatch.setattr("podium_executor.registration.FIRST_WAIT_S", 0.01)
    orchestrator.statuses = [500, 503]
    await start(echo, orchestrator=orchestrator.uri, secret=SECRET)
    assert len(await orchestrator.heard(3)) == 3


async def test_it_registers_again_and_again(start, orchestrator):
    await start(echo, orchestrator=orchestrator.uri, secret=SECRET, heartbeat_s=0.02)
    await orchestrator.heard(4)


async def test_a_wrong_secret_ends_it(start, orchestrator):
    running = await start(echo, orchestrator=orchestrator.uri, secret="wrong")
    with pytest.raises(sdk.RegistrationRefused, match="400: invalid authorization"):
        await running.task
    assert len(orchestrator.calls) == 1
    with pytest.raises(httpx.ConnectError):
        await running.post()


async def test_it_leaves_before_it_ends_and_finishes_what_runs(start, orchestrator):
    begun, go_on = asyncio.Event(), asyncio.Event()

    @sdk.executor("slow", capacity=2)
    async def slow(body: bytes) -> bytes:
        begun.set()
        await go_on.wait()
        return b"done"

    running = await start(slow, orchestrator=orchestrator.uri, secret=SECRET)
    await orchestrator.heard(1)
    asking = asyncio.create_task(running.post())
    await begun.wait()
    running.stopping.set()
    ((_, headers, body),) = await orchestrator.heard(1, "/capability/unregister")
    assert (headers["authorization"], body) == (SECRET, b"slow")
    assert not running.task.done()
    go_on.set()
    assert (await asking).content == b"done"
    await running.task


async def test_one_of_several_leaves_alone(start, orchestrator):
    running = await start(echo, orchestrator=orchestrator.uri, secret=SECRET, shared=True)
    await orchestrator.heard(1)
    running.stopping.set()
    ((_, _, body),) = await orchestrator.heard(1, "/capability/unregister")
    assert body == f"echo\n{running.url}".encode()


def certificate(folder):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "some.where")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(made.public_bytes(encoding))
    form = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(encoding, form, plain))


async def test_whose_certificate_is_trusted(tmp_path):
    certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    uri = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def register(**more):
        settings = sdk.Settings(orchestrator=uri, secret=SECRET, **more)
        registrar = Registrar(echo, settings, "http://127.0.0.1:1")
        try:
            await registrar.register()
        finally:
            await registrar.close()

    async with server:
        with pytest.raises(sdk.RegistrationFailed):
            await register()
        await register(certificate=tmp_path / "cert.pem")
        await register(verify=False)
    with pytest.raises(sdk.SetupError):
        trust(sdk.Settings(certificate=tmp_path / "none.pem"))


def test_the_environment_of_other_helpers_is_understood():
    environ = {
        "ORCH_URL": "https://orchestrator:8935/",
        "ORCH_SECRET": "s",
        "CAPABILITY_NAME": "other",
        "CAPABILITY_DESCRIPTION": "text",
        "CAPABILITY_URL": "http://me:1/",
        "CAPABILITY_CAPACITY": "7",
        "CAPABILITY_PRICE_PER_UNIT": "5",
        "CAPABILITY_PRICE_SCALING": "2",
    }
    settings = settings_from(environ, port=1, url=None)
    assert (settings.orchestrator, settings.secret) == ("https://orchestrator:8935", "s")
    assert (settings.url, settings.port) == ("http://me:1", 1)
    changed = renamed(echo, environ, capacity=8)
    assert (changed.name, changed.description, changed.capacity) == ("other", "text", 8)
    assert changed.price == sdk.Price(5, 2, "wei")
    with pytest.raises(sdk.SetupError, match="CAPABILITY_CAPACITY"):
        renamed(echo, {"CAPABILITY_CAPACITY": "many"})


def test_secrets_do_not_show():
    shown = repr(sdk.Settings(orchestrator="http://a", secret="hidden", token="hidden"))
    assert "hidden" not in shown


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("0", sdk.Price(0, 1, "wei")),
        ("1000", sdk.Price(1000, 1, "wei")),
        ("0.00001 eth", sdk.Price(1, 100_000, "eth")),
        ("0.12USD", sdk.Price(3, 25, "usd")),
    ],
)
def test_prices_are_exact(text, price):
    assert sdk.Price.parse(text) == price


@pytest.mark.parametrize("text", ["", "eth", "-1 wei", "1e3", "1 wei a second", "9" * 40])
def test_what_is_no_price_is_refused(text):
    with pytest.raises(sdk.SetupError):
        sdk.Price.parse(text)


@pytest.mark.parametrize(
    "arguments",
    [["echo"], ["nowhere:x"], ["os:nothing"], ["os:getcwd"], ["os:sep", "--name", "x"]],
)
def test_the_command_says_what_is_wrong(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert str(ended.value).startswith("podium-executor: setup: ")


def test_a_plain_function_needs_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(ECHO)
    assert load("mine:plain", "given").name == "given"


async def test_the_command_from_start_to_sigterm(tmp_path, orchestrator):
    (tmp_path / "mine.py").write_text(ECHO)
    environ = {**os.environ, "MY_SECRET": SECRET, "ORCH_SECRET": "not this"}
    command = [sys.executable, "-m", "podium_executor", "mine:echo", "--port", "0"]
    command += ["--orchestrator", orchestrator.uri, "--secret-env", "MY_SECRET", "--capacity", "9"]
    child = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        ((_, _, body),) = await orchestrator.heard(1)
        registered = json.loads(body)
        assert registered["capacity"] == 9
        async with httpx.AsyncClient(timeout=20) as client:
            asking = asyncio.create_task(client.post(registered["url"], content=b"slow"))
            async with asyncio.timeout(20):
                while await child.stdout.readline() != b"begun\n":
                    pass
            child.send_signal(signal.SIGTERM)
            await orchestrator.heard(1, "/capability/unregister")
            assert (await asking).content == b"slow"
        async with asyncio.timeout(20):
            assert await child.wait() == 0
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()
