"""A real node tells other systems: an auth webhook, an event webhook, a file, a message bus."""

import asyncio
import contextlib
import json
import re
import shutil
import socket
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest
from aiohttp import web
from podium.assembly import Overrides
from podium.bench import null
from podium.config.settings import PluginSettings
from podium.crypto import checksum_address
from podium.testing.gateway.errors import OrchestratorFailed
from podium_hookspecs import RoundStarted
from podium_observers import Record, SinkError

SECRET = "0123456789abcdef"
PAGE = (Path(__file__).parents[2] / "docs/howto/events.md").read_text()
CODE = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


def module(marker):
    """Run the code that the page shows."""
    (code,) = [code for code in CODE if marker in code]
    found = ModuleType("shown")
    exec(compile(code, "events.md", "exec"), vars(found))
    return found


@pytest.fixture
async def served():
    """Serve a handler on loopback; return its URL."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(handler):
            app = web.Application()
            app.router.add_post("/", handler)
            runner = web.AppRunner(app)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            return f"http://127.0.0.1:{runner.addresses[0][1]}/"

        yield start


def enabled(**options):
    return PluginSettings(enabled=True, options=options)


async def test_the_auth_webhook_lets_in_keeps_out_and_prices(world, served):
    asked, answers = [], []

    async def decide(request):
        asked.append(await request.json())
        status, text = answers.pop(0)
        return web.Response(status=status, text=text)

    url = await served(decide)
    node = await world.node(
        Overrides(plugins={"commanded": null}), plugins={"auth-webhook": enabled(url=url)}
    )
    answers.append((200, '{"priceInfo": {"pricePerUnit": 7, "pixelsPerUnit": 2}}'))
    sender = await world.sender(node)
    price = sender.info.price_info
    assert Fraction(price.pricePerUnit, price.pixelsPerUnit) == Fraction(7, 2)
    assert asked == [{"id": checksum_address(sender.signer.address)}]
    await sender.result()
    assert len(asked) == 1
    answers.append((403, "over your limit"))
    with pytest.raises(OrchestratorFailed, match=r"^authentication failed: over your limit$"):
        await sender.discover()
    answers.append((403, "over your limit"))
    reply = await sender.send(seq=1)
    assert (reply.status_code, reply.text) == (403, "over your limit\n")


async def test_events_reach_a_web_server_that_checks_them_as_shown(world, served):
    is_ours, deliveries = module("def is_ours").is_ours, asyncio.Queue()

    async def take(request):
        body = await request.read()
        signed = request.headers["Podium-Timestamp"], body, request.headers["Podium-Signature"]
        assert is_ours(SECRET, *signed)
        assert not is_ours("another secret", *signed)
        assert not is_ours(SECRET, "1", *signed[1:])
        deliveries.put_nowait(json.loads(body))
        return web.Response()

    options = {"url": await served(take), "secret": SECRET, "delay_s": 0}
    node = await world.node(
        Overrides(plugins={"commanded": null}), plugins={"events-webhook": enabled(**options)}
    )
    sender = await world.sender(node)
    await sender.result()
    jobs = []
    async with asyncio.timeout(10):
        while not jobs:
            told = await deliveries.get()
            jobs = [event for event in told["events"] if event["type"] == "JobFinished"]
    assert told["node"]["orchestrator"] == node.host.facts.orchestrator_id
    assert jobs[0]["data"]["sender"] == "0x" + sender.signer.address.hex()
    assert jobs[0]["data"]["outcome"] == "ok"
    assert jobs[0]["data"]["fee_wei"] == "1000"


async def test_a_node_that_stops_has_told_everything(world, tmp_path):
    path = tmp_path / "events.jsonl"
    node = await world.node(
        Overrides(plugins={"commanded": null}),
        plugins={"events-file": enabled(path=str(path), delay_s=30)},
    )
    sender = await world.sender(node)
    await sender.result()
    await node.drain("SIGTERM")
    await world.stack.aclose()
    kinds = [json.loads(line)["type"] for line in path.read_text().splitlines()]
    wanted = ["NodeStarted", "SessionOpened", "JobFinished", "NodeStopping", "SessionClosed"]
    assert [kind for kind in kinds if kind in wanted] == wanted


@pytest.fixture
async def redis():
    """A Redis server of our own; a function that runs one command."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("there is no redis-server here")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = await asyncio.create_subprocess_exec(
        program, *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(10):
            while b"Ready to accept" not in await server.stdout.readline():
                pass
        yield port
    finally:
        server.terminate()
        await server.communicate()


async def entries(port, stream):
    """Return the entries of a stream, by Redis's own program."""
    program = shutil.which("redis-cli")
    asked = await asyncio.create_subprocess_exec(
        program, "-p", str(port), "--json", "XRANGE", stream, "-", "+",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    found, _ = await asked.communicate()
    return [dict([fields]) for _, fields in json.loads(found)]


async def test_the_message_bus_that_the_page_shows_works(world, redis):
    shown = module("events-redis")
    node = await world.node(
        Overrides(plugins={"commanded": null, "events-redis": shown}),
        plugins={"events-redis": enabled(port=redis, stream="here", delay_s=0)},
    )
    sender = await world.sender(node)
    await sender.result()
    await world.stack.aclose()
    told = [json.loads(text) for entry in await entries(redis, "here") for text in entry.values()]
    job = next(event for event in told if event["type"] == "JobFinished")
    assert job["data"]["fee_wei"] == "1000"
    assert [event["id"].split("-")[1] for event in told] == [
        str(number) for number in range(1, len(told) + 1)
    ]


async def test_the_message_bus_may_be_away_for_a_while(world, redis):
    shown = module("events-redis")
    records = [Record(f"boot-{number}", 0, RoundStarted(number, True)) for number in range(300)]
    sink = shown.RedisSink(shown.RedisConfig(port=1))
    with pytest.raises(SinkError, match=r"^127.0.0.1: ConnectionRefusedError$"):
        await sink.send(records)
    sink.config = shown.RedisConfig(port=redis, keep=100)
    await sink.send(records)
    await sink.send(records[:1])
    await sink.close()
    sink.config = shown.RedisConfig(port=redis, stream="\r\n")
    await sink.send(records[:1])
    await sink.close()
    assert 100 <= len(await entries(redis, "podium")) <= 301
