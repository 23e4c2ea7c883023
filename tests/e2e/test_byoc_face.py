"""BYOC work of any plugin: found by name, priced, paid by the second, streamed, billed."""

import asyncio
import base64
import json
from fractions import Fraction

import httpx
import pytest
from podium.assembly import Overrides
from podium.crypto import checksum_address, sign_message
from podium.payments import FixedGasPrice, SenderFunds
from podium.testing.gateway.requests import build_payment
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
    WorkerState,
    by_the_second,
    hookimpl,
)

NAME = "shout"
PRICE = 1000
EV = 8_000_000_000


class Shout(HttpPipeline):
    name, unit, capability, max_body_bytes = "shouting", "second", 37, 2000

    def offers(self, workers):
        able = [w for w in workers if "shouting" in w.resources.pipelines]
        return (Offer(37, name=NAME, capacity=len(able)),) if able else ()

    async def parse(self, request):
        text = b"".join([piece async for piece in request.body])
        try:
            return {"name": request.name, "path": request.path, **json.loads(text)}
        except ValueError as error:
            raise BadInput("that is no JSON") from error

    def require(self, request):
        return Requirements({37}, request["name"], sticky=False, wait_s=0)

    def estimate(self, request):
        return Units(60, "second")

    def run(self, job, worker, meter):
        return by_the_second(worker.run(job), meter, step_s=1)


class Shouter(Worker):
    name = "shouter"
    resources = Resources({"shouting"}, {37}, {NAME})

    def __init__(self):
        self.gate = asyncio.Event()
        self.gate.set()
        self.started = asyncio.Event()

    async def start(self):
        pass

    async def health(self):
        yield Health(WorkerState.OK)
        await asyncio.Event().wait()

    async def run(self, job):
        self.started.set()
        request = job.request
        kind = request.get("kind", "body")
        if kind == "event":
            yield Chunk(b"", kind="event", content_type="text/event-stream")
        await self.gate.wait()
        if request.get("fail"):
            raise JobFailed("no", public="no voice")
        attributes = {"status": str(request.get("status", 200)), "x-metadata": job.request["path"]}
        for word in request.get("words", ["HELLO"]):
            if word == "STOP":
                raise JobFailed("stopped")
            if word == "WAIT":
                await asyncio.Event().wait()
            yield Chunk(word.encode(), kind=kind, content_type="text/shout", attributes=attributes)
        yield Result(1)

    async def cancel(self, job_id):
        pass

    async def close(self):
        pass


class Plugin:
    def __init__(self):
        self.worker = Shouter()
        self.price = PRICE
        self.finished = []
        self.done = asyncio.Event()

    @hookimpl
    def podium_pipelines(self, config, context):
        return [Shout()]

    @hookimpl
    def podium_workers(self, config, context):
        return [self.worker]

    @hookimpl
    def podium_price(self, request):
        return Price(self.price, "second") if request.model == NAME else None

    @hookimpl
    def podium_on_event(self, event):
        if isinstance(event, JobFinished):
            self.finished.append(event)
            self.done.set()


def encoded(value):
    return base64.b64encode(json.dumps(value).encode()).decode()


def terms_of(token):
    """Ticket terms and price of a token, as the network's messages."""
    params = token["ticket_params"]
    message = pb.TicketParams(
        **{
            name: base64.b64decode(value)
            for name, value in params.items()
            if name != "expiration_params"
        }
    )
    expiration = params["expiration_params"]
    message.expiration_params.creation_round = expiration["creation_round"]
    message.expiration_params.creation_round_block_hash = base64.b64decode(
        expiration["creation_round_block_hash"]
    )
    price = pb.PriceInfo(pricePerUnit=token["price"].get("pricePerUnit", 0), pixelsPerUnit=1)
    return TicketTerms.read(message), price


class Client:
    def __init__(self, node, signer, http):
        self.node, self.signer, self.http = node, signer, http
        self.address = checksum_address(signer.address)
        self.taken = None

    def sign(self, text):
        return "0x" + sign_message(self.signer, text.encode()).hex()

    async def token(self, name=NAME, method="GET", **headers):
        sender = encoded({"addr": self.address, "sig": self.sign(self.address)})
        sent = {"Livepeer-Eth-Address": sender, "Livepeer-Capability": name} | headers
        url = f"{self.node.service_uri}/process/token"
        reply = await self.http.request(
            method, url, headers={k: v for k, v in sent.items() if v is not None}
        )
        if reply.status_code == 200:
            self.taken = reply.json()
        return reply

    def job(self, name=NAME, timeout=70, **more):
        fields = {"request": "{}", "parameters": "{}"} | more
        return {
            "capability": name,
            "sender": self.address,
            "sig": self.sign(fields["request"] + fields["parameters"]),
            "timeout_seconds": timeout,
        } | fields

    def payment(self, tickets, signer=None):
        terms, price = terms_of(self.taken)
        message = build_payment(signer or self.signer, price, terms, range(1, tickets + 1))
        return base64.b64encode(message.SerializeToString()).decode()

    def headers(self, tickets, job):
        headers = {"Livepeer": job if isinstance(job, str) else encoded(job)}
        if tickets:
            headers["Livepeer-Payment"] = self.payment(tickets)
        return headers

    async def post(self, request=None, *, tickets=0, job=None, path="x/y", method="POST", **more):
        content = request if isinstance(request, bytes) else json.dumps(request or {})
        headers = self.headers(tickets, self.job(**more) if job is None else job)
        url = f"{self.node.service_uri}/process/request/{path}"
        return await self.http.request(method, url, headers=headers, content=content)

    @property
    def balance(self):
        return self.node.payments.balance(self.signer.address, f"37_{NAME}")


@pytest.fixture
async def start(world):
    async def start(http2=True, plugin=None, **settings):
        plugin = plugin or Plugin()
        settings = {"payments": {"auto_adjust_price": False}} | settings
        node = await world.node(Overrides(plugins={"commanded": plugin}), **settings)
        client = Client(node, (await world.sender(node)).signer, await world.client(http2))
        reply = await client.token()
        assert reply.status_code == 200, reply.text
        return plugin, client

    return start


@pytest.mark.parametrize("http2", [True, False])
async def test_a_job_is_answered_and_billed_by_the_second(start, http2):
    plugin, client = await start(http2=http2)
    reply = await client.post({"status": 201}, tickets=1)
    assert (reply.status_code, reply.text) == (200, "HELLO")
    assert reply.headers["content-type"] == "text/shout"
    assert reply.headers["content-length"] == "5"
    assert reply.headers["x-metadata"] == "x/y"
    assert reply.headers["livepeer-balance"] == str(round(client.balance))
    assert round(client.balance) == EV - PRICE
    (line,) = plugin.finished
    assert (line.pipeline, line.model, line.units, line.fee_wei) == ("shouting", NAME, 1, PRICE)
    reply = await client.post()
    assert reply.headers["livepeer-balance"] == str(round(EV - 2 * Fraction(PRICE)))


async def test_the_token_says_what_a_gateway_needs(start):
    plugin, client = await start()
    token = client.taken
    assert list(token) == [
        "sender_address",
        "ticket_params",
        "price",
        "service_addr",
        "available_capacity",
        "LastNonce",
    ]
    assert token["price"] == {"pricePerUnit": PRICE, "pixelsPerUnit": 1}
    assert token["available_capacity"] == 1
    assert token["service_addr"] == client.node.service_uri
    await client.post(tickets=2)
    assert (await client.token()).json()["balance"] == int(client.balance)
    plugin.worker.gate.clear()
    plugin.worker.started.clear()
    running = asyncio.create_task(client.post())
    await plugin.worker.started.wait()
    assert "available_capacity" not in (await client.token()).json()
    plugin.worker.gate.set()
    assert (await running).status_code == 200
    unknown = (await client.token("nope")).json()
    assert unknown["price"] == {"pixelsPerUnit": 1}
    assert "available_capacity" not in unknown
    assert unknown["ticket_params"]["recipient"]


async def test_the_node_lists_names_and_their_prices(start, world):
    _, client = await start()
    info = await (await world.sender(client.node)).discover()
    (entry,) = info.capabilities_prices
    assert (entry.capability, entry.constraint, entry.pricePerUnit, entry.pixelsPerUnit) == (
        37,
        NAME,
        PRICE,
        1,
    )
    assert not any(word >> 37 & 1 for word in info.capabilities.bitstring)
    assert 37 not in info.capabilities.constraints.PerCapability


async def test_what_is_refused_is_refused_in_the_networks_words(start):
    plugin, client = await start()
    other = client.sign("something else")
    job = client.job
    refused = [
        (await client.post(method="GET"), 405, "Method not allowed"),
        (await client.post(job="***"), 400, "Could not verify job creds"),
        (await client.post(job=encoded(["no object"])), 400, "Could not verify job creds"),
        (await client.post(job=job() | {"sig": other}), 400, "Could not verify job creds"),
        (await client.post(job=job() | {"sig": "0xno"}), 400, "Could not verify job creds"),
        (await client.post(job=job() | {"id": 1}), 400, "Could not verify job creds"),
        (
            await client.post(timeout=0),
            400,
            "no timeout_seconds set with request, timeout_seconds is required",
        ),
        (await client.post(name="nope"), 503, "No capacity available for capability"),
        (await client.post(), 400, "Insufficient balance for request"),
        (await client.post(b"x" * 2001), 413, "body exceeds 2000 bytes"),
        (await client.post(b"{"), 400, "that is no JSON"),
        (await client.post(path="a/%2E%2E/b"), 404, "404 page not found"),
        (await client.token(method="POST"), 405, "Method not allowed"),
        (
            await client.token(**{"Livepeer-Eth-Address": encoded({"addr": client.address, "sig": other})}),
            400,
            "Invalid eth address header ",
        ),
    ]  # fmt: skip
    for reply, status, text in refused:
        assert (reply.status_code, reply.text) == (status, text + "\n")
        assert "livepeer-balance" not in reply.headers
    assert client.balance is None
    reply = await client.post(tickets=1, job=client.job(request="hello"))
    assert reply.status_code == 400
    assert reply.text.startswith("Unable to unmarshal job request details err=")
    assert round(client.balance) == EV, "its ticket stays credited"
    assert plugin.finished == []


async def test_a_minute_must_be_covered(start):
    _, client = await start(payments={"auto_adjust_price": False, "ticket_ev_wei": 59 * PRICE})
    assert (await client.post(tickets=1)).text == "Insufficient balance for request\n"
    assert round(client.balance) == 59 * PRICE
    await client.token()
    assert (await client.post(tickets=1)).status_code == 200


async def test_a_failed_job_says_why_and_is_billed(start):
    _, client = await start()
    reply = await client.post({"fail": True}, tickets=1)
    assert reply.status_code == 500
    assert reply.text == "job not able to be processed, removing capability err=no voice\n"
    assert reply.headers["livepeer-balance"] == str(round(client.balance))
    assert round(client.balance) == EV - PRICE
    reply = await client.post({"status": 422, "words": ["no"]})
    assert (reply.status_code, reply.text) == (422, "no\n")
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert round(client.balance) == EV - 2 * PRICE


async def test_a_time_limit_ends_a_job(start):
    plugin, client = await start()
    reply = await client.post({"words": ["WAIT"]}, tickets=1, timeout=1)
    assert reply.status_code == 500
    assert "no end within 1 s" in reply.text
    assert plugin.finished[0].outcome == "job_timeout"
    assert EV - 2 * PRICE <= round(client.balance) <= EV - PRICE
    assert (await client.post()).status_code == 200, "its slot is free"


@pytest.mark.parametrize("http2", [True, False])
async def test_a_stream_ends_with_the_balance_and_done(start, http2):
    _, client = await start(http2=http2)
    words = ["data: 1\n", "\ndata: 2\n\nda", "ta: 3\n\n", "data: [DONE]\n\n", "data: lost\n\n"]
    reply = await client.post({"kind": "event", "words": words}, tickets=1)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/event-stream"
    assert reply.headers["livepeer-payment-balance"] == str(EV)
    assert "livepeer-balance" not in reply.headers
    assert reply.text == (
        "data: 1\n\ndata: 2\n\ndata: 3\n\n"
        f'data: {{"balance": {EV - PRICE}.000}}\n\n\ndata: [DONE]\n\n'
    )


async def test_a_stream_that_stops_is_ended_with_done(start):
    _, client = await start()
    reply = await client.post({"kind": "event", "words": ["data: 1\n\n", "data: 2"]}, tickets=1)
    end = f'data: {{"balance": {EV - PRICE}.000}}\n\n\ndata: [DONE]\n\n'
    assert reply.text == f"data: 1\n\ndata: 2\n{end}"
    reply = await client.post({"kind": "event", "words": ["data: 1\n\n", "STOP"]})
    assert 'event: error\ndata: {"error": "stopped"}\n\n' in reply.text
    assert reply.text.endswith("data: [DONE]\n\n")
    reply = await client.post({"kind": "event", "words": ["data: 1\n\n", "WAIT"]}, timeout=1)
    assert 'event: timeout\ndata: {"error": "no end within 1 s"}\n\n' in reply.text
    assert reply.text.endswith("data: [DONE]\n\n")


async def test_a_stream_ends_when_the_balance_is_used_up(start):
    plugin, client = await start()
    await client.post(tickets=1)
    client.node.payments.debit(client.signer.address, f"37_{NAME}", client.balance - 60 * PRICE)
    running = asyncio.create_task(client.post({"kind": "event", "words": ["WAIT"]}))
    plugin.worker.started.clear()
    await plugin.worker.started.wait()
    client.node.payments.debit(client.signer.address, f"37_{NAME}", Fraction(60 * PRICE))
    reply = await running
    assert reply.text == ('event: insufficient balance\ndata: {"balance": 0}\n\ndata: [DONE]\n\n')
    assert client.balance == -PRICE, "nothing is billed after the end"
    assert plugin.finished[-1].outcome == "budget_exhausted"


async def test_a_client_that_leaves_frees_the_slot_and_pays(start):
    plugin, client = await start(http2=False)
    plugin.worker.gate.clear()
    running = asyncio.create_task(client.post(tickets=1))
    await plugin.worker.started.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    async with asyncio.timeout(10):
        await plugin.done.wait()
    assert plugin.finished[0].outcome == "cancelled"
    assert round(client.balance) == EV - PRICE
    plugin.worker.gate.set()
    assert (await client.post()).status_code == 200


async def test_half_a_body_is_never_taken_for_a_whole_one(start):
    _, client = await start()
    with pytest.raises(httpx.RemoteProtocolError):
        await client.post({"words": ["A", "B", "STOP"]}, tickets=1)


async def test_nobody_pays_for_others(start, world):
    _, client = await start()
    stranger = (await world.sender(client.node, b"\x33" * 32)).signer
    headers = {
        "Livepeer": encoded(client.job()),
        "Livepeer-Payment": client.payment(1, stranger),
    }
    url = f"{client.node.service_uri}/process/request/"
    reply = await client.http.post(url, headers=headers, content="{}")
    assert (reply.status_code, reply.text) == (400, "Insufficient balance for request\n")
    assert client.node.payments.balance(stranger.address, f"37_{NAME}") is None


async def test_a_job_is_taken_once_where_the_operator_wants_that(start):
    _, client = await start(limits={"byoc_replay_window_s": 60.0})
    job = client.job(request='{"nonce": 1}')
    assert (await client.post(tickets=1, job=job)).status_code == 200
    reply = await client.post(job=job)
    assert (reply.status_code, reply.text) == (400, "Could not verify job creds\n")
    assert (await client.post(job=client.job(request='{"nonce": 2}'))).status_code == 200


async def test_off_chain_all_is_free(start):
    _, client = await start(paid=False)
    token = (await client.token(**{"Livepeer-Eth-Address": encoded({})})).json()
    assert token == {
        "sender_address": {"addr": "", "sig": ""},
        "price": {"pixelsPerUnit": 1},
        "service_addr": client.node.service_uri,
        "available_capacity": 1,
        "LastNonce": 0,
    }
    reply = await client.post(job=client.job() | {"sig": ""})
    assert (reply.status_code, reply.headers["livepeer-balance"]) == (200, "0")


async def test_a_bare_path_is_redirected(start):
    _, client = await start()
    url = f"{client.node.service_uri}/process/request"
    reply = await client.http.post(url, follow_redirects=False)
    assert (reply.status_code, reply.headers["location"]) == (307, "/process/request/")


async def test_a_balance_outlives_the_node(start, world):
    _, client = await start()
    job = client.job()
    headers = client.headers(2, job)
    url = f"{client.node.service_uri}/process/request/"
    assert (await client.http.post(url, headers=headers, content="{}")).status_code == 200
    balance = client.balance
    await world.stack.aclose()
    _, client = await start()
    assert client.balance == balance
    assert client.taken["balance"] == int(balance)
    headers["Livepeer"] = encoded(job)
    url = f"{client.node.service_uri}/process/request/"
    assert (await client.http.post(url, headers=headers, content="{}")).status_code == 200
    assert client.balance == balance - PRICE, "its tickets are not credited again"


@pytest.mark.parametrize(
    ("adjusted", "status", "what"), [(False, 400, "ticket params"), (True, 503, "price")]
)
async def test_a_sender_without_funds_is_told_so(start, adjusted, status, what):
    _, client = await start(payments={"auto_adjust_price": adjusted})

    class Poor:
        async def sender_funds(self, sender):
            return SenderFunds(0, 0)

    client.node.payments.issuer.broker = Poor()
    client.node.payments.issuer.gas_price = FixedGasPrice(1)
    reply = await client.token()
    text = f"Could not get {what} err=insufficient sender reserve\n"
    assert (reply.status_code, reply.text) == (status, text)


async def test_a_node_that_drains_takes_no_more_jobs(start):
    _, client = await start()
    client.node.service.draining = True
    assert "available_capacity" not in (await client.token()).json()
    reply = await client.post()
    assert (reply.status_code, reply.text) == (503, "No capacity available for capability\n")


async def test_a_full_name_takes_neither_tickets_nor_the_job_s_one_use(start):
    plugin, client = await start(limits={"byoc_replay_window_s": 60.0})
    plugin.worker.gate.clear()
    running = asyncio.create_task(client.post(tickets=1, job=client.job(request="{ }")))
    await plugin.worker.started.wait()
    balance = client.balance
    job = client.job(request='{"nonce": 2}')
    await client.token()
    reply = await client.post(tickets=1, job=job)
    assert reply.status_code == 503
    assert client.balance == balance
    plugin.worker.gate.set()
    assert (await running).status_code == 200
    assert (await client.post(job=job)).status_code == 200


async def test_tickets_for_a_pixel_do_not_buy_a_second(start, world):
    _, client = await start()
    video = await world.sender(client.node)
    terms = TicketTerms.read(video.info.ticket_params)
    assert video.info.price_info.pricePerUnit < PRICE
    payment = build_payment(client.signer, video.info.price_info, terms, [1, 2, 3])
    headers = {
        "Livepeer": encoded(client.job()),
        "Livepeer-Payment": base64.b64encode(payment.SerializeToString()).decode(),
    }
    url = f"{client.node.service_uri}/process/request/"
    reply = await client.http.post(url, headers=headers, content="{}")
    assert (reply.status_code, reply.text) == (400, "Insufficient balance for request\n")
    assert client.balance is None


async def test_a_quoted_price_holds_though_prices_rise(start, monkeypatch):
    plugin, client = await start()
    monkeypatch.setattr(plugin, "price", 2 * PRICE)
    assert (await client.post(tickets=1)).status_code == 200
    assert round(client.balance) == EV - PRICE
    assert (await client.token()).json()["price"]["pricePerUnit"] == PRICE, "fixed for this sender"
