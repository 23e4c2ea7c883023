"""Pipelines and workers that break the contract, beside a real, paid stream that does not notice."""

import asyncio
import itertools
import json
import sys

import pytest
from podium.config.load import parse_settings
from podium.pluginhost import NodeFacts, PluginHost, Services
from podium.pluginhost import ward as conduct
from podium.testing.plugins import RecordingLog, RecordingMetrics
from podium.workers import member
from podium_hookspecs import (
    Chunk,
    Health,
    HttpPipeline,
    Offer,
    Requirements,
    Resources,
    Result,
    Units,
    Worker,
    WorkerState,
    hookimpl,
)

CAPABILITY = 33


def fail(error):
    raise error


WRONG = {
    "raises": lambda: fail(ValueError("secret detail")),
    "exits": lambda: sys.exit(6),
    "cancels": lambda: fail(asyncio.CancelledError()),
    "texts": lambda: ["text"],
    "str data": lambda: [Chunk("text")],
    "endless": lambda: itertools.repeat(Chunk(b"")),
    "huge": lambda: itertools.repeat(Chunk(bytes(2**20))),
}
"""What a run yields or does, by the request's text."""


class Bad(HttpPipeline):
    """An HTTP pipeline with one trait that is wrong; the request's text chooses how it runs."""

    capability, name, unit = CAPABILITY, "bad", "pixel"

    def __init__(self, **traits):
        vars(self).update(traits)

    name = property(lambda self: vars(self).get("name", "bad"))
    unit = property(lambda self: vars(self).get("unit", "pixel"))

    def offers(self, workers):
        return (Offer(CAPABILITY, "m"),) if workers else ()

    async def parse(self, request):
        return b"".join([piece async for piece in request.body]).decode()

    def require(self, request):
        if request == "require":
            return "nothing"
        return Requirements({CAPABILITY}, "m", sticky=False, wait_s=5.0)

    def estimate(self, request):
        return Units(1, "pixel") if request != "estimate" else 1

    def timeout_s(self, request):
        return 1.0 if request == "hangs" else 20.0

    async def run(self, job, worker, meter):
        for output in WRONG.get(job.request, lambda: ())():
            yield output
        if job.request in ("hangs", "stuck"):
            await self.hang(job.request == "stuck")
        meter.add(Units(1, "pixel"))
        yield Chunk(b"fine")
        if job.request != "no result":
            yield Result(1)

    async def hang(self, ignore):
        while True:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                if not ignore or self.released():
                    raise


class Place(Worker):
    name = "place"
    resources = Resources({"bad"}, {CAPABILITY}, {"m"}, slots=4)

    async def start(self):
        pass

    async def health(self):
        yield Health(WorkerState.OK)
        await asyncio.Event().wait()

    async def run(self, job):
        yield Result(1)

    async def cancel(self, job_id):
        pass

    async def close(self):
        pass


class Working:
    """A plugin of one pipeline and one worker."""

    def __init__(self, pipeline, worker=None):
        self.pipeline, self.worker = pipeline, worker or Place()

    @hookimpl
    def podium_pipelines(self, config, context):
        return [self.pipeline]

    @hookimpl
    def podium_workers(self, config, context):
        return [self.worker]


def with_offers(offers):
    class Offering(Bad):
        def offers(self, workers):
            return offers()

    return Offering


@pytest.mark.parametrize(
    ("offers", "reason"),
    [
        (lambda: 1 // 0, "ZeroDivisionError"),
        (lambda: 5, "TypeError"),
        (lambda: ["x"], "'x' cannot be offered"),
        (lambda: itertools.repeat(Offer(CAPABILITY, "m")), "more than 1000 offers"),
        (lambda: [Offer(2**40)], "cannot be offered"),
        (lambda: sys.exit(7), "SystemExit: 7"),
    ],
)
async def test_offers_that_make_no_sense_are_not_made(pipelines, offers, reason):
    host = await pipelines(with_offers(offers)())
    assert host.pipelines["bad"].offers([]) == ()
    (status,) = [status for status in host.statuses() if status.name == "p"]
    assert status.state.value == "degraded"
    assert reason in status.reason


@pytest.fixture
async def pipelines(tmp_path):
    """Load one pipeline into a plugin host of its own."""
    hosts = []

    async def load(pipeline):
        services = Services(
            facts=NodeFacts("0"), log=lambda _: RecordingLog(), metrics=lambda _: RecordingMetrics()
        )
        document = {"node": {"data_dir": str(tmp_path)}, "plugins": {"p": {"enabled": True}}}
        plugin = Working(pipeline)
        host = await PluginHost.load(
            parse_settings(document), services, extra_plugins={"p": plugin}
        )
        hosts.append(host)
        return host

    yield load
    for host in hosts:
        await host.close()


class Hostile(Place):
    """A worker that waits, raises or lies at every step but one."""

    async def start(self):
        if self.name == "starts":
            await asyncio.Event().wait()
        if self.name == "exits":
            sys.exit(8)

    async def health(self):
        if self.name == "lies":
            yield "very well"
        if self.name == "raises":
            raise RuntimeError("no idea")
        while self.name == "floods":
            yield Health(WorkerState.OK)
            yield Health(WorkerState.DEGRADED, "or not")
        yield Health(WorkerState.OK)

    def readiness(self, needs):
        return 1 // 0

    def hardware(self):
        return [5]

    async def close(self):
        while self.name == "closes":
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                return


async def test_workers_that_hang_lie_and_exit(beside, asking, monkeypatch):
    monkeypatch.setattr(member, "START_TIMEOUT_S", 0.5)
    monkeypatch.setattr(member, "CLOSE_TIMEOUT_S", 0.5)
    plugins = {}
    for name in ("starts", "exits", "lies", "raises", "floods", "closes"):
        worker = Hostile()
        worker.name = name
        pipeline = Bad(name=f"bad-{name}")
        worker.resources = Resources({pipeline.name}, {CAPABILITY}, {"m"})
        plugins[name] = Working(pipeline, worker)
    node = beside(plugins)
    # Whoever asks for nothing in particular is told of hardware: the worker's answer is wrong.
    client = asking(node)
    await client.discover(None)
    await node.flow()
    states = await node.states()
    assert "did not start within 0.5 s" in states["starts"].reason
    assert "SystemExit: 8" in states["exits"].reason
    assert "'very well' is no health" in states["lies"].reason
    assert "health watch failed: RuntimeError: no idea" in states["raises"].reason
    assert "hardware: TypeError: 5 is no Hardware" in states["closes"].reason
    assert states["transcode"].state == "ok"


async def test_jobs_that_break_the_contract_fail_alone(beside, asking):
    node = beside(
        {"bad": Working(Bad())}, bad={"enabled": True, "required": False, "max_output_mb": 8}
    )
    client = asking(node)
    flow = asyncio.create_task(node.flow())
    told = {}
    for text in ("fine", "require", "estimate", "raises", "exits", "cancels", "fine", "texts",
                 "str data", "no result", "huge", "fine"):  # fmt: skip
        told[text] = (await client.ask(text)).strip()
    await flow
    assert told.pop("fine") == "fine"
    assert told.pop("huge") == "cut off"
    assert told.pop("no result") in ("internal error", "cut off")
    assert set(told.values()) == {"internal error"}
    assert "secret detail" not in json.dumps(told)
    await node.until(lambda states: states["bad"].state == "ok")


async def test_jobs_that_do_not_end_are_ended(beside, asking, monkeypatch):
    released = []
    monkeypatch.setattr(Bad, "released", lambda self: bool(released), raising=False)
    limits = {"enabled": True, "required": False, "job_timeout_s": 1.0}
    node = beside({"bad": Working(Bad())}, bad=limits)
    client = asking(node)
    flow = asyncio.create_task(node.flow())
    for text in ("endless", "hangs", "stuck"):
        assert (await client.ask(text)).strip() in ("Remote transcoder took too long", "cut off")
    states = await node.states()
    assert "ignores that it was ended, and goes on" in states["bad"].reason
    await flow
    assert (await client.ask("fine")).strip() == "fine", "its slot is free"
    released.append(True)


async def test_a_plugin_whose_jobs_all_fail_is_withdrawn_and_tried_again(
    beside, asking, monkeypatch
):
    monkeypatch.setattr(conduct, "FIRST_PAUSE_S", 1.0)
    node = beside({"bad": Working(Bad())})
    one, other = asking(node), asking(node, key=b"\x52" * 32)
    for _ in range(conduct.FAULTS_TO_WITHDRAW):
        assert (await one.ask("raises")).strip() == "internal error"
    states = await node.states()
    assert states["bad"].state == "degraded", "one peer cannot take it from all others"
    assert (await other.ask("raises")).strip() == "internal error"
    states = await node.states()
    assert states["bad"].state == "failed"
    assert states["bad"].reason.startswith("withdrawn for 1 s: its jobs fail")
    plain = await one.discover(None)
    assert CAPABILITY not in plain.capabilities.constraints.PerCapability
    await node.flow()
    await node.until(lambda states: states["bad"].state == "degraded")
    assert (await one.ask("fine")).strip() == "fine"
    await node.until(lambda states: states["bad"].state == "ok")
