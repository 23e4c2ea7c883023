"""Work of a plugin's own kind over HTTP: found, priced, paid, streamed; no core file names it."""

import asyncio
import base64
import json
from fractions import Fraction

import httpx
import pytest
from podium.assembly import Overrides
from podium.testing.gateway.requests import build_payment, build_segdata, orchestrator_request
from podium.testing.gateway.tickets import TicketTerms
from podium.wire.pb import lp_rpc_pb2 as pb
from podium_hookspecs import (
    BadInput,
    Chunk,
    Health,
    HttpPipeline,
    JobFailed,
    JobFinished,
    Offer,
    Price,
    Requirements,
    Resources,
    Result,
    Units,
    Worker,
    WorkerLost,
    WorkerState,
    hookimpl,
)

CAPABILITY = 33
MODEL = "acme/shout"
PRICE = Fraction(1000)
EV = 8_000_000_000


class Shout(HttpPipeline):
    name, unit, capability, max_body_bytes = "llm", "token", CAPABILITY, 2000

    def __init__(self, wait_s=0.0):
        self.wait_s = wait_s

    def offers(self, workers):
        able = [w for w in workers if "llm" in w.resources.pipelines]
        return (Offer(CAPABILITY, MODEL, warm=True, capacity=len(able)),) if able else ()

    async def parse(self, request):
        text = b"".join([piece async for piece in request.body])
        try:
            return json.loads(text)
        except ValueError as error:
            raise BadInput("that is no JSON") from error

    def require(self, request):
        return Requirements({CAPABILITY}, request.get("model"), sticky=False, wait_s=self.wait_s)

    def estimate(self, request):
        return Units(request.get("units", 1), "token")

    async def run(self, job, worker, meter):
        async for output in worker.run(job):
            if isinstance(output, Result):
                meter.add(self.estimate(job.request))
            yield output


class Shouter(Worker):
    name = resources = None

    def __init__(self, name="shouter"):
        self.name = name
        self.resources = Resources({"llm"}, offers=[Offer(CAPABILITY, MODEL)])
        self.gate = asyncio.Event()
        self.gate.set()
        self.started = asyncio.Event()
        self.lost = False

    async def start(self):
        pass

    async def health(self):
        yield Health(WorkerState.OK)
        await asyncio.Event().wait()

    async def run(self, job):
        self.started.set()
        if self.lost:
            raise WorkerLost("the container is gone")
        await self.gate.wait()
        request = job.request
        if request.get("fail"):
            raise JobFailed("no", public="llm container returned 500: no")
        kind = request.get("kind", "body")
        for word in request.get("words", ["HELLO"]):
            if word == "STOP":
                raise JobFailed("stopped")
            yield Chunk(word.encode(), kind=kind, content_type="text/shout")
        yield Result(1)

    async def cancel(self, job_id):
        pass

    async def close(self):
        pass


class Plugin:
    def __init__(self, workers, wait_s=0.0):
        self.workers, self.wait_s = workers, wait_s
        self.finished = []
        self.done = asyncio.Event()
        self.context = None

    @hookimpl
    def podium_pipelines(self, config, context):
        self.context = context
        return [Shout(self.wait_s)]

    @hookimpl
    def podium_workers(self, config, context):
        return self.workers

    @hookimpl
    def podium_price(self, request):
        return Price(PRICE, "token") if request.model == MODEL else None

    @hookimpl
    def podium_on_event(self, event):
        if isinstance(event, JobFinished):
            self.finished.append(event)
            self.done.set()


def wanting(model=MODEL):
    asked = pb.Capabilities(bitstring=[1 << CAPABILITY], capacities={CAPABILITY: 1})
    asked.constraints.PerCapability[CAPABILITY].models[model].warm = False
    return asked


class Client:
    def __init__(self, world, node, sender, http):
        self.world, self.node, self.sender, self.http = world, node, sender, http

    async def discover(self, capabilities):
        self.info = await self.sender.rpc.get_orchestrator(
            self.node.service_uri, orchestrator_request(self.sender.signer, capabilities), 5
        )
        return self.info

    def headers(self, tickets, model=MODEL):
        self.sender.nonce += tickets
        nonces = range(self.sender.nonce - tickets + 1, self.sender.nonce + 1)
        terms = TicketTerms.read(self.info.ticket_params) if tickets else None
        payment = build_payment(self.sender.signer, self.info.price_info, terms, nonces)
        credentials = build_segdata(
            self.sender.signer,
            token=self.info.auth_token,
            manifest_id=f"{CAPABILITY}_{model}",
            seq=0,
            body=b"",
            duration_ms=0,
            profiles=[],
            capabilities=wanting(model),
        )
        return {
            "Livepeer-Payment": base64.b64encode(payment.SerializeToString()).decode(),
            "Livepeer-Segment": base64.b64encode(credentials.SerializeToString()).decode(),
        }

    async def post(self, request, tickets=1, path="/llm", method="POST", **more):
        content = request if isinstance(request, bytes) else json.dumps(request)
        return await self.http.request(
            method,
            self.node.service_uri + path,
            headers=self.headers(tickets, **more),
            content=content,
        )

    @property
    def balance(self):
        address = self.sender.signer.address
        balance = self.node.payments.balance(address, f"{CAPABILITY}_{MODEL}")
        return None if balance is None else round(balance)  # a ticket's value is no whole number


@pytest.fixture
async def start(world):
    async def start(*workers, wait_s=0.0, http2=True, **settings):
        plugin = Plugin(list(workers) or [Shouter()], wait_s)
        node = await world.node(
            Overrides(plugins={"commanded": plugin}),
            payments={"auto_adjust_price": False},
            **settings,
        )
        client = Client(world, node, await world.sender(node), await world.client(http2))
        await client.discover(wanting())
        return plugin, client

    return start


@pytest.mark.parametrize("http2", [True, False])
async def test_a_request_is_answered_and_billed_once(start, http2):
    plugin, client = await start(http2=http2)
    assert client.info.price_info.pricePerUnit == PRICE
    reply = await client.post({"model": MODEL, "units": 5})
    assert (reply.status_code, reply.text) == (200, "HELLO")
    assert reply.headers["content-type"] == "text/shout"
    assert reply.headers["content-length"] == "5"
    assert client.balance == EV - 5 * PRICE
    (line,) = plugin.finished
    assert (line.pipeline, line.model, line.units, line.fee_wei) == ("llm", MODEL, 5, 5 * PRICE)


async def test_the_node_lists_models_prices_and_capacity(start):
    plugin, client = await start()
    entry = client.info.capabilities.constraints.PerCapability[CAPABILITY].models[MODEL]
    assert (entry.warm, entry.capacity, entry.capacityInUse) == (True, 1, 0)
    assert not client.info.capabilities_prices
    plain = await client.discover(None)
    (price,) = plain.capabilities_prices
    assert (price.capability, price.constraint, price.pricePerUnit, price.pixelsPerUnit) == (
        CAPABILITY,
        MODEL,
        PRICE,
        1,
    )
    (worker,) = plugin.workers
    worker.gate.clear()
    await client.discover(wanting())
    running = asyncio.create_task(client.post({"model": MODEL}))
    await worker.started.wait()
    busy = await client.discover(wanting())
    entry = busy.capabilities.constraints.PerCapability[CAPABILITY].models[MODEL]
    assert (entry.capacity, entry.capacityInUse) == (0, 1)
    worker.gate.set()
    assert (await running).status_code == 200


async def test_what_is_refused_costs_nothing(start):
    plugin, client = await start()
    refused = [
        (await client.post(b"{", tickets=1), 400, "that is no JSON\n"),
        (await client.post(b"x" * 2001, tickets=1), 413, "body exceeds 2000 bytes\n"),
        (await client.post({"model": "other"}), 503, "insufficient capacity\n"),
        (await client.post({"model": MODEL}, method="GET"), 405, "Method Not Allowed\n"),
        (await client.post({"model": MODEL}, path="/llm/"), 404, "404 page not found\n"),
    ]
    for reply, status, text in refused:
        assert (reply.status_code, reply.text) == (status, text)
    assert client.balance is None
    assert plugin.finished == []


async def test_the_estimate_must_be_covered(start):
    _, client = await start()
    reply = await client.post({"model": MODEL, "units": EV // int(PRICE) + 1})
    assert (reply.status_code, reply.text) == (400, "Insufficient balance\n")
    assert client.balance == EV, "the refused request's ticket stays credited"
    reply = await client.post({"model": MODEL, "units": EV // int(PRICE) + 1})
    assert reply.status_code == 200
    assert client.balance == 2 * EV - (EV // int(PRICE) + 1) * PRICE


async def test_a_failed_job_is_not_billed(start):
    plugin, client = await start()
    reply = await client.post({"model": MODEL, "fail": True})
    assert (reply.status_code, reply.text) == (500, "llm container returned 500: no\n")
    assert client.balance == EV
    assert [line.outcome for line in plugin.finished] == ["job_failed"]


async def test_a_full_node_says_so_before_it_takes_a_ticket(start):
    plugin, client = await start()
    (worker,) = plugin.workers
    worker.gate.clear()
    running = asyncio.create_task(client.post({"model": MODEL}))
    await worker.started.wait()
    balance = client.balance
    reply = await client.post({"model": MODEL})
    assert (reply.status_code, reply.text) == (503, "insufficient capacity\n")
    assert client.balance == balance
    worker.gate.set()
    assert (await running).status_code == 200
    assert (await client.post({"model": MODEL})).status_code == 200


async def test_a_request_waits_its_turn_where_the_pipeline_says_so(start):
    plugin, client = await start(wait_s=20.0)
    (worker,) = plugin.workers
    worker.gate.clear()
    running = [asyncio.create_task(client.post({"model": MODEL})) for _ in range(5)]
    await worker.started.wait()
    worker.gate.set()
    assert [reply.status_code for reply in await asyncio.gather(*running)] == [200] * 5


async def test_a_client_that_leaves_frees_the_slot(start):
    plugin, client = await start(http2=False)
    (worker,) = plugin.workers
    worker.gate.clear()
    running = asyncio.create_task(client.post({"model": MODEL}))
    await worker.started.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    async with asyncio.timeout(10):
        await plugin.done.wait()
    assert plugin.finished[0].outcome == "cancelled"
    worker.gate.set()
    assert (await client.post({"model": MODEL})).status_code == 200


async def test_a_lost_worker_s_job_moves_to_another(start):
    plugin, client = await start(Shouter("one"), Shouter("two"))
    for worker in plugin.workers:
        worker.lost = True
    reply = await client.post({"model": MODEL})
    assert reply.status_code == 500
    plugin.workers[0].lost = False
    for _ in range(3):
        assert (await client.post({"model": MODEL})).text == "HELLO"
    assert {line.worker for line in plugin.finished[1:]} == {"one"}


async def test_events_leave_at_once_and_end_well_whatever_happens(start):
    _, client = await start()
    words = ["data: 1\n\n", "data: 2\n\n", "STOP"]
    reply = await client.post({"model": MODEL, "kind": "event", "words": words})
    assert (reply.status_code, reply.text) == (200, "data: 1\n\ndata: 2\n\n")
    assert client.balance == EV


@pytest.mark.parametrize("http2", [True, False])
async def test_half_a_body_is_never_taken_for_a_whole_one(start, http2):
    _, client = await start(http2=http2)
    with pytest.raises(httpx.RemoteProtocolError):
        await client.post({"model": MODEL, "words": ["A", "B", "STOP"]})
    reply = await client.post({"model": MODEL, "words": ["A", "B"]})
    assert (reply.status_code, reply.text) == (200, "AB")


async def test_workers_come_and_go_while_the_node_runs(start):
    plugin, client = await start()
    late = Shouter("late")
    await plugin.context.add_worker(late)
    entry = (await client.discover(wanting())).capabilities.constraints
    assert entry.PerCapability[CAPABILITY].models[MODEL].capacity == 2
    plugin.workers[0].gate.clear()
    late.gate.clear()
    running = [asyncio.create_task(client.post({"model": MODEL})) for _ in range(2)]
    await asyncio.gather(late.started.wait(), plugin.workers[0].started.wait())
    removal = asyncio.create_task(plugin.context.remove_worker("late", drain_s=20))
    await asyncio.sleep(0)
    late.gate.set()
    assert await removal
    assert not await plugin.context.remove_worker("shouter"), "it was there from the start"
    plugin.workers[0].gate.set()
    assert [reply.status_code for reply in await asyncio.gather(*running)] == [200] * 2
    entry = (await client.discover(wanting())).capabilities.constraints
    assert entry.PerCapability[CAPABILITY].models[MODEL].capacity == 1


async def test_the_price_of_a_running_account_is_the_one_that_is_quoted(start):
    plugin, client = await start()
    assert (await client.post({"model": MODEL})).status_code == 200
    plugin.podium_price = None
    await client.discover(wanting())
    assert client.info.price_info.pricePerUnit == PRICE
    client.sender.nonce = 0
    assert (await client.post({"model": MODEL}, tickets=0)).status_code == 400
    assert (await client.post({"model": MODEL}, tickets=1)).status_code == 200
    assert (await client.post({"model": MODEL}, tickets=0)).status_code == 200


async def test_tickets_made_for_something_cheap_buy_nothing_dear(start):
    plugin, client = await start()
    await client.discover(None)
    assert client.info.price_info.pricePerUnit == 1  # a pixel's
    reply = await client.post({"model": MODEL})
    assert reply.status_code == 400
    assert reply.text == "invalid recipientRand for ticket recipientRandHash\n"
    assert client.balance is None
    assert plugin.finished == []
    await client.discover(wanting())
    assert client.info.price_info.pricePerUnit == PRICE, "nothing cheap was fixed"
    client.sender.nonce = 0
    assert (await client.post({"model": MODEL})).status_code == 200
    await client.discover(None)
    client.sender.nonce = 0
    assert (await client.post({"model": MODEL})).status_code == 400, "nor later"
