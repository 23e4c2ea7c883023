"""Two thousand jobs at once over three executors, of which one dies and one leaves."""

import asyncio
import contextlib
import json
from collections import Counter
from fractions import Fraction

import httpx
import pytest
from podium.app import running
from podium.config.load import parse_settings
from podium.crypto import KeySigner
from podium.testing.container import Container, serving
from podium.testing.gateway.byoc import ByocGateway
from podium.testing.gateway.byoc.wire import job_header, payment_header
from podium.testing.gateway.requests import build_payment
from podium.testing.node import node_document
from podium.wire.pb import lp_rpc_pb2 as pb
from podium_hookspecs import JobFinished, PaymentReceived

CLIENTS, JOBS_EACH = 100, 20
CONNECTIONS = 10
CAPACITY = 5
PRICE = 1000
EV = 10_000_000
SECRET = "s3cret"
PAUSE_S = 0.02

pytestmark = pytest.mark.timeout(240)


class Client:
    """One sender with its own balance, which sends one job after the other."""

    def __init__(self, number, node, http):
        self.signer = KeySigner(bytes([1 + number]) * 32)
        self.node, self.http = node, http
        self.seen = Counter()
        self.balance = Fraction(0)

    async def pay(self):
        async with ByocGateway(signer=self.signer, token_timeout_s=30) as gateway:
            token = await gateway.token(self.node.service_uri, "cap")
        self.headers = {
            "Livepeer": job_header(
                self.signer,
                capability="cap",
                job_id="",
                request="{}",
                parameters="{}",
                timeout_s=70,
            )
        }
        price = pb.PriceInfo(pricePerUnit=token.price, pixelsPerUnit=1)
        payment = build_payment(self.signer, price, token.terms, [1])
        self.balance = token.terms.expected_value
        return {"Livepeer-Payment": payment_header(payment)}

    async def run(self, done):
        extra = await self.pay()
        url = f"{self.node.service_uri}/process/request/slow"
        for _ in range(JOBS_EACH):
            while True:
                reply = await self.http.post(url, headers=self.headers | extra, content=b"{}")
                self.note(reply)
                if reply.status_code == 200:
                    extra = {}
                    break
                assert reply.status_code in (500, 503), reply.text
                await asyncio.sleep(PAUSE_S)
            done.append(1)

    def note(self, reply):
        """Check that a reply's balance is the last one less whole seconds; 503 costs nothing."""
        self.seen[reply.status_code] += 1
        if reply.status_code == 503:
            assert "livepeer-balance" not in reply.headers
            return
        now = int(reply.headers["livepeer-balance"])
        cost = round(self.balance) - now
        assert cost % PRICE == 0
        assert cost >= (PRICE if reply.status_code == 200 else 0)
        self.balance -= cost


def settings(folder):
    return parse_settings(
        node_document(
            folder,
            {
                "payments": {
                    "price_per_unit": 1,
                    "ticket_ev_wei": EV,
                    "max_face_value_wei": 5 * EV,
                    "auto_adjust_price": False,
                },
                "plugins": {"byoc": {"enabled": True, "secret": SECRET}},
            },
        )
    )


async def register(http, node, url):
    fields = {"name": "cap", "url": url, "capacity": CAPACITY, "price_per_unit": PRICE}
    reply = await http.post(
        f"{node.service_uri}/capability/register",
        headers={"Authorization": SECRET},
        content=json.dumps(fields),
    )
    assert reply.status_code == 200, reply.text


class Heard:
    """What the node said of jobs and payments."""

    def __init__(self, node):
        self.finished, self.received = [], []
        node.emit.listeners.append(self)

    def __call__(self, event):
        if isinstance(event, JobFinished):
            self.finished.append(event)
        elif isinstance(event, PaymentReceived):
            self.received.append(event)

    def balances(self):
        """Balances by sender, as the events add up."""
        balances = Counter()
        for event in self.received:
            balances[event.sender] += event.expected_value
        for event in self.finished:
            assert event.fee_wei == PRICE * event.units
            balances[event.sender] -= event.fee_wei
        return balances


async def reached(done, number):
    while len(done) < number:  # noqa: ASYNC110  a count, over a hundred tasks
        await asyncio.sleep(0.01)


async def load(node, stack, containers):
    """Run all jobs; kill the first container and take leave of the second meanwhile."""
    connections = [
        await stack.enter_async_context(
            httpx.AsyncClient(verify=False, http2=True, http1=False, timeout=120)
        )
        for _ in range(CONNECTIONS)
    ]
    mortal = contextlib.AsyncExitStack()
    urls = [await mortal.enter_async_context(serving(containers[0]))]
    urls += [await stack.enter_async_context(serving(each)) for each in containers[1:]]
    for url in urls:
        await register(connections[0], node, url)
    clients = [Client(n, node, connections[n % CONNECTIONS]) for n in range(CLIENTS)]
    done = []
    tasks = [asyncio.create_task(client.run(done)) for client in clients]
    await reached(done, CLIENTS * JOBS_EACH // 4)
    await mortal.aclose()
    await reached(done, CLIENTS * JOBS_EACH // 2)
    await connections[0].post(
        f"{node.service_uri}/capability/unregister",
        headers={"Authorization": SECRET},
        content=f"cap\n{urls[1]}",
    )
    await asyncio.gather(*tasks)
    return clients, urls


async def test_no_overcommit_no_lost_slot_and_every_job_is_billed_once(tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        node = await stack.enter_async_context(running(settings(tmp_path)))
        heard = Heard(node)
        containers = [Container(slow_s=0.01) for _ in range(3)]
        clients, urls = await load(node, stack, containers)

        assert [each.most for each in containers] == [CAPACITY] * 3, "full, and never more"
        ours = [state for state in node.pool.states() if state[0].name.startswith("byoc:")]
        (worker, _, in_use), *others = ours
        assert others == []
        assert worker.name == f"byoc:cap@{urls[2]}"
        assert (worker.resources.slots, in_use) == (CAPACITY, 0)

        good = [event for event in heard.finished if event.outcome == "ok"]
        assert len(good) == sum(client.seen[200] for client in clients) == CLIENTS * JOBS_EACH
        begun = sum(client.seen[200] + client.seen[500] for client in clients)
        assert len({event.job_id for event in heard.finished}) == len(heard.finished) == begun

        balances = heard.balances()
        for client in clients:
            address = client.signer.address
            kept = node.payments.balance(address, "37_cap")
            assert kept == balances[address] == client.balance
