"""Plugins that do their worst beside a real, paid stream: it loses no segment and no wei."""

import asyncio
import base64
import itertools
import json
import sys
import time
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from attrs import field, frozen
from podium.crypto import KeySigner
from podium.pluginhost import ward as conduct
from podium.testing.gateway.errors import NoOrchestrator
from podium.testing.gateway.media import segments
from podium.testing.gateway.requests import build_payment, build_segdata, orchestrator_request
from podium.testing.gateway.tickets import TicketTerms
from podium.testing.gateway.transport import Rpc
from podium.wire.pb import lp_rpc_pb2 as pb
from podium.workers import member
from podium_hookspecs import (
    Chunk,
    Health,
    HttpPipeline,
    JobReceived,
    Mount,
    Offer,
    Requirements,
    Resources,
    Result,
    SessionOpened,
    Units,
    Worker,
    WorkerState,
    hookimpl,
)

CAPABILITY = 33
PAID = {
    "payments": {
        "price_per_unit": 1200,
        "ticket_ev_wei": 8_000_000_000,
        "max_face_value_wei": 40_000_000_000,
    },
}
SEGMENTS = 3


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


def hook(name, function):
    """Make a plugin of one hook."""

    class Plugin:
        pass

    setattr(Plugin, name, hookimpl(staticmethod(function)))
    return Plugin()


def raising(error):
    def register(config, context):
        raise error

    return register


# Plugins that fail while they are loaded


@frozen
class Options:
    must: int = field(metadata={"help": "Required."})


BROKEN = {
    "config": hook("podium_config_class", lambda: 1 // 0),
    "section": hook("podium_config_class", lambda: Options),
    "exits": hook("podium_pipelines", raising(SystemExit(3))),
    "breaks": hook("podium_workers", raising(KeyboardInterrupt())),
    "raises": hook("podium_asgi", raising(RuntimeError("no"))),
    "number": hook("podium_pipelines", lambda config, context: 5),
    "texts": hook("podium_workers", lambda config, context: ["worker"]),
    "nameless": hook("podium_pipelines", lambda config, context: [Bad(name=None)]),
    "unitless": hook("podium_pipelines", lambda config, context: [Bad(unit=7)]),
}


async def test_plugins_that_cannot_be_loaded(beside, tmp_path, monkeypatch):
    for name, code in {
        "imports": "raise OSError('no disk')",
        "leaves": "import sys; sys.exit(4)",
    }.items():
        install(tmp_path, monkeypatch, name, code)
    node = beside(
        BROKEN, **{n: {"enabled": True, "required": False} for n in ("imports", "leaves")}
    )
    await node.flow()
    states = await node.states()
    for name in (*BROKEN, "imports", "leaves"):
        assert states[name].state == "failed", name
        assert states[name].reason, name
    assert states["transcode"].state == "ok"


def install(tmp_path, monkeypatch, name, code):
    """Install a distribution with one plugin module."""
    site = tmp_path / "site"
    info = site / f"hostile_{name}-1.dist-info"
    info.mkdir(parents=True)
    (site / f"hostile_{name}.py").write_text(code)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: hostile-{name}\nVersion: 1\n"
        "Requires-Dist: podium-hookspecs>=1,<2\n"
    )
    (info / "entry_points.txt").write_text(f"[podium]\n{name} = hostile_{name}\n")
    if str(site) not in sys.path:
        monkeypatch.syspath_prepend(str(site))


# Plugins that fail while they observe


async def test_observers_that_raise_exit_and_take_their_time(beside):
    heard = []

    def slow(event):
        heard.append(event)
        time.sleep(0.06)

    node = beside(
        {
            "raises": hook("podium_on_event", lambda event: 1 // 0),
            "exits": hook("podium_on_event", lambda event: sys.exit(5)),
            "slow": hook("podium_on_event", slow),
        }
    )
    await node.flow()
    await node.flow()
    states = await node.until(lambda states: states["slow"].state == "failed")
    assert "withdrawn for 10 s: podium_on_event takes more than 50 ms" in states["slow"].reason
    count = len(heard)
    await node.flow()
    assert len(heard) == count, "it hears nothing while it is withdrawn"
    assert 'podium_plugin_errors_total{hook="podium_on_event",plugin="exits"}' in await node.page()


async def test_an_observer_that_blocks_the_loop_is_named(beside):
    def block(event):
        if isinstance(event, SessionOpened):
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                pass

    node = beside({"blocks": hook("podium_on_event", block)})
    await node.flow()
    states = await node.until(lambda states: states["blocks"].state == "degraded")
    assert "it blocked the node, last in " in states["blocks"].reason
    assert Path(__file__).name in states["blocks"].reason


async def test_floods_and_leaks(beside):
    leaked = []

    def flood(event, context):
        if not isinstance(event, JobReceived):
            return
        count = context.metrics.counter("peers", "Peers.", ["peer"])
        for number in range(2000):
            context.log.error("flood " * 1000, number=number, junk="x" * 5000)
            count(peer=f"peer {number} " * 100)
        loop = asyncio.get_running_loop()
        leaked.extend(loop.create_task(asyncio.sleep(3600)) for _ in range(50))
        for number in range(2000):
            context.spawn(asyncio.sleep(3600), name=f"leak {number}")

    node = beside({"floods": hook("podium_on_event", flood)})
    await node.flow()
    assert (await node.page()).count("podium_floods_peers{") <= 501
    node.app.call(lambda: [task.cancel() for task in leaked])


# Plugins that fail while they decide: the work is refused, never given away


@pytest.mark.parametrize("decide", ["podium_price", "podium_admit"])
async def test_a_decision_that_fails_refuses_before_anything_is_paid(beside, decide):
    broken = [True]
    node = beside({"decides": hook(decide, lambda request: fail(OSError("x")) if broken else None)})
    with pytest.raises(NoOrchestrator):
        await node.flow()
    async with httpx.AsyncClient() as http:
        assert (await http.get(node.app.admin_uri + "/podium/ledger")).json()["entries"] == []
    broken.clear()
    await node.flow()


# Plugins whose objects misbehave


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
    from podium.config.load import parse_settings
    from podium.pluginhost import NodeFacts, PluginHost, Services
    from podium.testing.plugins import RecordingLog, RecordingMetrics

    hosts = []

    async def load(pipeline):
        services = Services(
            facts=NodeFacts("0"), log=lambda _: RecordingLog(), metrics=lambda _: RecordingMetrics()
        )
        document = {"node": {"data_dir": str(tmp_path)}, "plugins": {"p": {"enabled": True}}}
        plugin = hook("podium_pipelines", lambda config, context: [pipeline])
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


# Plugins whose jobs misbehave


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


async def test_routes_that_raise_and_exit(beside):
    def routes(config, context):
        async def raises(scope, receive, send):
            raise RuntimeError("no")

        async def exits(scope, receive, send):
            sys.exit(9)

        async def hangs(scope, receive, send):
            await asyncio.Event().wait()

        return [Mount("/raises", raises), Mount("/exits", exits), Mount("/hangs", hangs)]

    node = beside({"routes": hook("podium_asgi", routes)})
    async with httpx.AsyncClient(verify=False, timeout=20) as http:
        hanging = asyncio.create_task(http.get(node.app.uri + "/hangs"))
        for path in ("/raises", "/exits"):
            assert (await http.get(node.app.uri + path)).status_code == 500
        await node.flow()
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
    assert "SystemExit: 9" in (await node.states())["routes"].reason
