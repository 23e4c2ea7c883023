"""Paid requests, moved time and a hostile peer, against a real node with a plugin of its own."""

import json

import httpx
import pytest
from podium.testing.hostile import ATTACKS, Attack, Replay, assert_contained, replay_hostile
from podium.testing.paying import NoTerms, unverified
from podium_hookspecs import (
    BadInput,
    Chunk,
    Health,
    HttpPipeline,
    JobFinished,
    Offer,
    Price,
    Requirements,
    Resources,
    Result,
    Units,
    Worker,
    WorkerState,
    hookimpl,
)

CAPABILITY = 33
MODEL = "acme/shout"
MAX_BYTES = 2**20


class Shout(HttpPipeline):
    name, unit, capability, max_body_bytes = "llm", "token", CAPABILITY, MAX_BYTES

    def offers(self, workers):
        return (Offer(CAPABILITY, MODEL, warm=True),) if workers else ()

    async def parse(self, request):
        text = b"".join([piece async for piece in request.body])
        try:
            return {"text": json.loads(text)["text"], "model": MODEL}
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise BadInput("that is no request") from error

    def require(self, request):
        return Requirements({CAPABILITY}, MODEL, sticky=False)

    def estimate(self, request):
        return Units(10, "token")

    async def run(self, job, worker, meter):
        meter.add(self.estimate(job.request))
        async for output in worker.run(job):
            yield output


class Shouter(Worker):
    name, resources = "shouter", Resources({"llm"}, offers=[Offer(CAPABILITY, MODEL)])

    async def start(self):
        pass

    async def health(self):
        yield Health(WorkerState.OK)

    async def run(self, job):
        yield Chunk(job.request["text"].upper().encode())
        yield Result(10)

    async def cancel(self, job_id):
        pass

    async def close(self):
        pass


class Plugin:
    @hookimpl
    def podium_pipelines(self):
        return [Shout()]

    @hookimpl
    def podium_workers(self):
        return [Shouter()]

    @hookimpl
    def podium_price(self, request):
        return Price(1000, "token") if request.model == MODEL else None


@pytest.fixture
def app(podium_app, hook_recorder):
    return podium_app(plugins={"shout": Plugin(), "ears": hook_recorder})


async def ask(paid_request, app, **more):
    body = json.dumps({"text": "hello"}).encode()
    return await paid_request(app.uri, "llm", body, capability=CAPABILITY, **more)


async def test_a_paid_request_is_answered_and_billed(app, paid_request, hook_recorder):
    for _ in range(2):
        reply = await ask(paid_request, app, model=MODEL)
        assert (reply.status_code, reply.text) == (200, "HELLO")
    jobs = await hook_recorder.wait_for(JobFinished, 2)
    assert [job.fee_wei for job in jobs] == [10_000, 10_000]


async def test_a_refusal_comes_back_as_it_is(app, paid_request):
    reply = await paid_request(app.uri, "llm", b"{}", capability=CAPABILITY, model=MODEL)
    assert (reply.status_code, reply.text) == (400, "that is no request\n")


async def test_what_nobody_sells_has_no_terms(app, paid_request):
    with pytest.raises(NoTerms):
        await paid_request(app.uri, "no-such-name")


async def test_the_node_outlives_a_hostile_peer(app, paid_request, hook_recorder):
    async def headers():
        return (await paid_request.prepare(
            app.uri, "llm", capability=CAPABILITY, model=MODEL
        )).headers  # fmt: skip

    replays = await replay_hostile(app.uri + "/llm", headers=headers, oversize_bytes=MAX_BYTES + 1)
    assert len(replays) == len(ATTACKS) + 1
    assert_contained(replays)
    statuses = {replay.attack: replay.status for replay in replays}
    assert statuses["deep nesting"] == 400
    assert statuses["oversize, sent"] == 413
    assert not hook_recorder.of(JobFinished), "nothing of it became a job"
    assert (await ask(paid_request, app, model=MODEL)).status_code == 200


async def test_what_gets_through_is_reported(app, paid_request):
    async def headers():
        return (await paid_request.prepare(
            app.uri, "llm", capability=CAPABILITY, model=MODEL
        )).headers  # fmt: skip

    fine = [Attack("harmless", b'{"text": "x"}')]
    replays = await replay_hostile(app.uri + "/llm", headers=headers, attacks=fine)
    assert [replay.status for replay in replays] == [200]
    with pytest.raises(AssertionError, match="harmless"):
        assert_contained(replays)
    with pytest.raises(AssertionError, match="hangs"):
        assert_contained([Replay("hangs", None, 99.0)])


async def test_time_moves_when_the_test_says_so(podium_app, clock, paid_request):
    app = podium_app(now=clock, plugins={"shout": Plugin()})
    terms = {"capability": CAPABILITY, "model": MODEL}
    old, aged = [await paid_request.prepare(app.uri, "llm", **terms) for _ in range(2)]
    async with httpx.AsyncClient(verify=unverified()) as client:
        reply = await client.post(old.url, headers=old.headers, content=b'{"text": "a"}')
        assert reply.status_code == 200
        clock.advance(24 * 3600)
        reply = await client.post(aged.url, headers=aged.headers, content=b'{"text": "a"}')
    assert 400 <= reply.status_code < 500, "a token of yesterday"
    assert (await ask(paid_request, app, model=MODEL)).status_code == 200
