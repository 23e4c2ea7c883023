"""Plugins that come, go and change while the node serves; nothing under way is lost."""

import asyncio
import json
from fractions import Fraction

import httpx
import pytest
from attrs import field, frozen
from podium.app import running
from podium.assembly import Overrides
from podium.bench import null
from podium.config.load import load_settings
from podium_hookspecs import (
    Health,
    JobFinished,
    Mount,
    Price,
    Resources,
    Secret,
    WorkerState,
    hookimpl,
)

HEAD = """
version = 1
[node]
data_dir = "{folder}/data"
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
log_format = "json"
drain_timeout_s = 20.0
max_sessions = {max_sessions}
[account]
private_key = "{key}"
[payments]
price_per_unit = 1
ticket_ev_wei = 8000000000
max_face_value_wei = 40000000000
"""
WORK = "[plugins.work]\nenabled = true\n"


@frozen
class Options:
    slots: int = field(default=1, metadata={"help": "Slots."})
    key: Secret | None = field(default=None, metadata={"help": "A secret."})
    broken: bool = field(default=False, metadata={"help": "The worker does not start."})


class Work:
    """A transcoder of nothing, whose jobs wait at a gate; each life of it is kept."""

    def __init__(self):
        self.lives = []

    @hookimpl
    def podium_config_class(self):
        return Options

    @hookimpl
    def podium_pipelines(self, config, context):
        self.lives.append(Life(config, context))
        context.spawn(self.lives[-1].background(), name="background")
        return [self.lives[-1].pipeline]

    @hookimpl
    def podium_workers(self, config, context):
        return [self.lives[-1].worker]

    @hookimpl
    def podium_asgi(self, config, context):
        async def slots(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": str(config.slots).encode()})

        return [Mount("/slots", slots), Mount("/slots", slots, "admin")]


class Life:
    def __init__(self, config, context):
        self.config, self.context = config, context
        self.pipeline, self.worker = Pipeline(), Gated(config)
        self.ended = asyncio.Event()

    async def background(self):
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()


class Pipeline(null.NullPipeline):
    def __init__(self):
        self.started, self.closed = 0, 0

    async def start(self):
        self.started += 1

    async def close(self):
        self.closed += 1


class Gated(null.NullWorker):
    resources = None

    def __init__(self, config):
        self.resources = Resources({"transcode"}, null.CAPABILITIES, slots=config.slots)
        self.broken = config.broken
        self.gate, self.begun, self.closed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.recovered = False

    async def recover(self):
        self.recovered = True
        return ()

    async def start(self):
        if self.broken:
            raise RuntimeError("no driver")

    async def health(self):
        yield Health(WorkerState.OK)
        await asyncio.Event().wait()

    async def run(self, job):
        self.begun.set()
        await self.gate.wait()
        async for output in super().run(job):
            yield output

    async def close(self):
        self.closed.set()


class Prices:
    """Prices at a fixed value, and hears of jobs."""

    def __init__(self, wei):
        self.wei = wei
        self.finished = []

    @hookimpl
    def podium_price(self, request):
        return Price(Fraction(self.wei), "pixel")

    @hookimpl
    def podium_on_event(self, event):
        if isinstance(event, JobFinished):
            self.finished.append(event)


class Serving:
    """A node with a file, a sender, and a way to write the file anew."""

    def __init__(self, world, node, sender, plugins, write):
        self.world, self.node, self.sender, self.write = world, node, sender, write
        self.work, self.prices = plugins["work"], plugins
        self.admin = f"http://127.0.0.1:{node.admin.port}"

    async def reload(self, plugins=None, **more):
        if plugins is not None:
            self.write(plugins, **more)
        return await self.node.reloader.reload()

    async def states(self):
        async with httpx.AsyncClient() as client:
            told = (await client.get(self.admin + "/podium/plugins")).json()
        return {one["name"]: one["state"] for one in told["plugins"] if one["name"] in self.prices}

    async def ended(self, life):
        async with asyncio.timeout(10):
            await life.ended.wait()
            await life.worker.closed.wait()


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  what is waited for has no event
            await asyncio.sleep(0.01)


@pytest.fixture
async def serving(world, tmp_path):
    path = tmp_path / "podium.toml"

    def write(plugins, max_sessions=10):
        head = HEAD.format(folder=tmp_path, key="11" * 32, max_sessions=max_sessions)
        path.write_text(head + plugins)

    plugins = {"work": Work(), "dear": Prices(9), "cheap": Prices(2)}
    off = "[plugins.dear]\nenabled = false\n[plugins.cheap]\nenabled = false\n"
    write(WORK + off)
    settings = load_settings(path)
    node = await world.stack.enter_async_context(running(settings, Overrides(plugins=plugins)))
    sender = await world.sender(node)

    def write_all(text, **more):
        named = [f"[plugins.{name}]" for name in plugins]
        missing = [f"{head}\nenabled = false\n" for head in named if head not in text]
        write(text + "\n" + "".join(missing), **more)

    return Serving(world, node, sender, plugins, write_all)


async def test_a_changed_plugin_is_replaced_under_a_running_stream(serving):
    assert (await serving.sender.result()).WhichOneof("result") == "data"
    (old,) = serving.work.lives
    old.worker.gate.clear()
    old.worker.begun.clear()
    running_job = asyncio.create_task(serving.sender.send(seq=1))
    await old.worker.begun.wait()
    outcome = await serving.reload(WORK + "slots = 3\n")
    assert [str(change) for change in outcome.changes] == ["work changed (slots: 1 -> 3)"]
    assert not outcome.refused
    new = serving.work.lives[1]
    assert new.pipeline.started == 1
    assert not new.worker.recovered, "the one before it still has what it started"
    assert not old.worker.closed.is_set()
    other = await serving.world.sender(serving.node, key=b"\x33" * 32)
    assert (await other.result()).WhichOneof("result") == "data"
    assert new.worker.begun.is_set()
    old.worker.gate.set()
    assert (await running_job).status_code == 200
    await serving.ended(old)
    assert old.pipeline.closed == 1
    assert (await serving.sender.result(seq=2)).WhichOneof("result") == "data"
    assert [worker for worker, _, _ in serving.node.pool.states()] == [new.worker]
    assert await serving.states() == {"work": "ok"}


async def test_a_job_that_waits_for_a_slot_is_done_by_the_new_one(serving):
    (old,) = serving.work.lives
    old.worker.gate.clear()
    senders = [serving.sender, await serving.world.sender(serving.node, key=b"\x33" * 32)]
    jobs = [asyncio.create_task(sender.result()) for sender in senders]
    await old.worker.begun.wait()
    await until(lambda: serving.node.reloader._quotas["work"].waiting == 1)
    await serving.reload(WORK + "slots = 2\n")
    new = serving.work.lives[1]
    async with asyncio.timeout(10):
        await new.worker.begun.wait()
    old.worker.gate.set()
    assert [job.WhichOneof("result") for job in await asyncio.gather(*jobs)] == ["data"] * 2
    await serving.ended(old)


async def test_a_plugin_goes_and_comes_back(serving):
    client = await serving.world.client()
    uri = serving.node.service_uri
    assert (await client.get(uri + "/slots")).text == "1"
    bits = serving.node.service.capabilities.bits
    await serving.reload("")
    await serving.ended(serving.work.lives[0])
    assert (await client.get(uri + "/slots")).status_code == 404
    async with httpx.AsyncClient() as plain:
        assert (await plain.get(serving.admin + "/slots")).status_code == 404
        assert (await plain.get(serving.admin + "/readyz")).status_code == 503
    assert serving.node.service.capabilities.bits == frozenset()
    assert (await serving.sender.result()).error == "ErrTranscoderUnavailable"
    outcome = await serving.reload(WORK + "slots = 4\n")
    assert [str(change) for change in outcome.changes] == ["work added"]
    assert serving.work.lives[1].worker.recovered
    assert (await client.get(uri + "/slots")).text == "4"
    assert serving.node.service.capabilities.bits == bits
    await serving.sender.discover()
    assert (await serving.sender.result()).WhichOneof("result") == "data"


async def test_all_that_is_wrong_is_told_and_the_old_serves_on(serving):
    wrong = WORK + "slot = 2\nbroken = 3\n[plugins.nope]\nenabled = true\n"
    outcome = await serving.reload(wrong, max_sessions=11)
    assert outcome.restart == ("node.max_sessions",)
    assert outcome.problems[:2] == (
        "plugins.work.slot: unknown key; did you mean slots?",
        "plugins.work.broken: must be true or false, not a whole number",
    )
    assert outcome.problems[2].startswith("plugin nope: install: no installed distribution")
    outcome = await serving.reload("[plugins.work\n")
    assert "line" in outcome.problems[0]
    assert len(serving.work.lives) == 1
    assert (await serving.sender.result()).WhichOneof("result") == "data"


async def test_what_does_not_start_changes_nothing(serving):
    outcome = await serving.reload(WORK + "broken = true\n[plugins.dear]\nenabled = true\n")
    assert outcome.problems == ("plugin work: worker null: did not start: RuntimeError: no driver",)
    old, new = serving.work.lives
    assert new.pipeline.closed == 1
    assert new.worker.closed.is_set()
    assert new.ended.is_set()
    assert not old.worker.closed.is_set()
    assert await serving.states() == {"work": "ok"}
    assert (await serving.sender.result()).WhichOneof("result") == "data"


async def test_the_file_s_order_decides_from_the_reload_on(serving):
    async def price():
        sender = await serving.world.sender(serving.node)
        return sender.info.price_info.pricePerUnit / sender.info.price_info.pixelsPerUnit

    on = "[plugins.{}]\nenabled = true\n"
    await serving.reload(on.format("dear") + on.format("cheap") + WORK)
    assert round(await price()) == 9
    outcome = await serving.reload(on.format("cheap") + on.format("dear") + WORK)
    assert {change.kind for change in outcome.changes} == {"moved"}
    assert round(await price()) == 2
    await serving.reload(WORK + on.format("dear"))
    assert round(await price()) == 9
    await serving.sender.result()
    assert len(serving.prices["dear"].finished) == 1
    assert serving.prices["cheap"].finished == []
    assert len(serving.work.lives) == 1, "what did not change was left alone"


async def test_limits_hold_at_once_and_secrets_are_never_shown(serving):
    await serving.reload(WORK + 'slots = 5\nkey = "first secret"\n')
    outcome = await serving.reload(
        WORK + 'slots = 5\nkey = "first secret"\nmax_jobs = 1\nmax_queue = 0\n'
    )
    assert str(outcome.changes[0]) == (
        "work limits (max_jobs: not set -> 1; max_queue: not set -> 0)"
    )
    life = serving.work.lives[-1]
    life.worker.gate.clear()
    job = asyncio.create_task(serving.sender.result())
    await life.worker.begun.wait()
    other = await serving.world.sender(serving.node, key=b"\x33" * 32)
    assert (await other.result()).error == "insufficient capacity"
    life.worker.gate.set()
    assert (await job).WhichOneof("result") == "data"
    outcome = await serving.reload(WORK + 'slots = 5\nkey = "second secret"\n')
    assert [str(key) for key in outcome.changes[0].keys][:1] == ["key changed"]
    assert "secret" not in json.dumps(outcome.as_json())
    assert serving.work.lives[-1].config.key.reveal == "second secret"


async def test_the_admin_port_reloads_for_this_machine_only_and_for_no_browser(serving):
    serving.write("[plugins.dear]\nenabled = true\n" + WORK)
    uri = serving.admin + "/podium/reload"
    async with httpx.AsyncClient() as client:
        refused = [
            await client.get(uri),
            await client.post(uri, content="{}"),
            await client.post(uri, json={}, headers={"Origin": "https://evil.example"}),
            await client.post(uri, json={}, headers={"Host": "evil.example:7935"}),
            await client.post(uri, json=[]),
            await client.post(uri, json={"x": "y" * 5000}),
        ]
        assert [reply.status_code for reply in refused] == [405, 403, 403, 403, 400, 400]
        reply = await client.post(uri, json={"dry_run": True})
        assert [change["text"] for change in reply.json()["changes"]] == ["dear added"]
        assert not reply.json()["applied"]
        assert await serving.states() == {"work": "ok"}
        reply = await client.post(uri, json={})
        assert reply.json()["applied"]
        assert await serving.states() == {"work": "ok", "dear": "ok"}
        serving.write(WORK, max_sessions=3)
        reply = await client.post(uri, json={})
        assert (reply.status_code, reply.json()["restart"]) == (409, ["node.max_sessions"])


async def test_a_sender_is_refused_work_that_nobody_does_any_more(serving):
    await serving.reload("")
    sender = await serving.world.sender(serving.node)
    assert (await sender.result()).error == "ErrTranscoderUnavailable"
