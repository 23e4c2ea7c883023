"""The BYOC client against a real node with a container: what it pays, reads and refuses."""

import asyncio
import contextlib
import json
from fractions import Fraction

import pytest
from click.testing import CliRunner
from podium.app import running
from podium.config.load import parse_settings
from podium.crypto import KeySigner, NoSigner
from podium.testing.container import Container, serving
from podium.testing.gateway.byoc import BilledWrongly, ByocError, ByocGateway, JobRefused
from podium.testing.gateway.byoc.books import Account, tickets_for
from podium.testing.gateway.byoc.wire import Token
from podium.testing.gateway.cli import gateway as command
from podium.testing.gateway.discovery import parse_addresses
from podium.testing.gateway.tickets import Caps
from podium.testing.node import PodiumApp, node_document

KEY = b"\x61" * 32
PRICE = 1_000_000
EV = 50_000_000


class World:
    def __init__(self, stack, folder):
        self.stack, self.folder = stack, folder

    def document(self, url, *, paid=True, price=PRICE, capacity=2):
        executor = {"name": "echo", "url": url, "capacity": capacity, "price": price}
        document = node_document(
            self.folder,
            {
                "payments": {
                    "price_per_unit": 1,
                    "ticket_ev_wei": EV,
                    "max_face_value_wei": 5 * EV,
                    "auto_adjust_price": False,
                },
                "plugins": {"byoc": {"enabled": True, "executors": [executor]}},
            },
        )
        if not paid:
            del document["account"], document["payments"]
        return document

    async def start(self, **options):
        self.container = Container(slow_s=1.2, step_s=0.1)
        url = await self.stack.enter_async_context(serving(self.container))
        settings = parse_settings(self.document(url, **options))
        self.node = await self.stack.enter_async_context(running(settings))
        return await self.gateway()

    async def gateway(self, **options):
        signer = options.pop("signer", KeySigner(KEY))
        addresses = parse_addresses(self.node.service_uri)
        made = ByocGateway(addresses, signer, token_timeout_s=5, search_s=5, **options)
        return await self.stack.enter_async_context(made)

    def held(self, key=KEY):
        return self.node.payments.balance(KeySigner(key).address, "37_echo")


@pytest.fixture
async def world(tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        yield World(stack, tmp_path)


async def test_jobs_are_paid_for_and_the_books_agree(world):
    gateway = await world.start()
    result = await gateway.run("echo", b'{"say": "hi"}', route="/v1/echo")
    assert (result.status, result.attempts) == (200, 1)
    assert json.loads(result.body) == {"path": "/v1/echo", "method": "POST", "length": 13}
    assert (result.tickets, result.seconds_billed, result.fee_wei) == (2, 1, PRICE)
    (account,) = gateway.accounts
    assert account.balance == world.held() == account.credited - PRICE
    result = await gateway.run("echo", route="slow")
    assert (result.tickets, result.seconds_billed) == (2, 2), "below 120 s: all of it is paid again"
    for _ in range(3):
        result = await gateway.run("echo")
    assert result.tickets == 0, "more than 120 s are left"
    assert account.balance == world.held()
    assert (account.unsettled, account.unconfirmed) == (0, 0)


async def test_a_stream_is_passed_on_and_billed(world):
    gateway = await world.start()
    seen = []
    result = await gateway.run("echo", route="sse", on_event=seen.append)
    assert list(result.events) == seen == [f'{{"n":{n}}}' for n in range(4)]
    assert result.content_type == "text/event-stream"
    assert result.body.endswith(b"data: [DONE]\n")
    assert (result.seconds_billed, result.balance) == (1, round(world.held()))
    assert gateway.accounts[0].balance == world.held()


async def test_side_by_side_the_sum_is_right(world):
    gateway = await world.start(capacity=8)
    await gateway.run("echo", timeout_s=500)
    await asyncio.gather(*(gateway.run("echo", route=r) for r in ["slow", "sse", "echo"] * 2))
    (account,) = gateway.accounts
    assert account.balance == world.held()
    assert account.unsettled == 0


async def test_refusals_tell_whose_fault_it_is(world):
    gateway = await world.start()
    with pytest.raises(JobRefused, match="container says 422") as caught:
        await gateway.run("echo", route="err422")
    assert caught.value.status == 422
    with pytest.raises(JobRefused, match="Insufficient balance") as caught:
        await (await world.gateway(signer=KeySigner(b"\x62" * 32))).run("echo", timeout_s=5)
    assert caught.value.status == 400
    with pytest.raises(ByocError, match="answered 500"):
        await gateway.run("echo", route="err500")
    with pytest.raises(ByocError, match="No orchestrators found for capability nope"):
        await gateway.run("nope")
    with pytest.raises(ByocError, match="wei a second"):
        await (await world.gateway(caps=Caps(max_price=Fraction(1)))).run("echo")
    (account,) = gateway.accounts
    assert account.balance == world.held(), "what failed was billed, and noted"


async def test_tickets_of_a_refused_job_are_in_the_books(world):
    gateway = await world.start()
    with pytest.raises(JobRefused, match="Insufficient balance"):
        await gateway.run("echo", timeout_s=5)
    (account,) = gateway.accounts
    assert (account.tickets, account.credited) == (1, world.held())
    assert (await gateway.run("echo", timeout_s=5)).status == 200, "two tickets cover a minute"


async def test_off_chain_nothing_is_paid(world):
    world.container = Container()
    url = await world.stack.enter_async_context(serving(world.container))
    settings = parse_settings(world.document(url, paid=False))
    world.node = await world.stack.enter_async_context(running(settings))
    gateway = await world.gateway(signer=NoSigner())
    result = await gateway.run("echo")
    assert (result.status, result.tickets, result.fee_wei) == (200, 0, 0)


async def test_an_orchestrator_that_is_away_is_passed_over(world, unused_tcp_port):
    gateway = await world.start()
    gateway.addresses = parse_addresses(f"127.0.0.1:{unused_tcp_port},{world.node.service_uri}")
    assert (await gateway.run("echo")).status == 200


def test_how_many_tickets_go_with_a_job():
    class Terms:
        expected_value = Fraction(7)

    def count(price, timeout_s, balance):
        return tickets_for(Token("u", price, Terms, 0, 1), timeout_s, Fraction(balance))

    assert count(1, 70, 0) == 10
    assert count(1, 71, 119) == 11, "whatever there is"
    assert count(1, 71, 120) == 0
    assert count(0, 70, 0) == 0
    assert count(100, 70, 0) == 600
    assert tickets_for(Token("u", 1, None, 0, 1), 70, Fraction(0)) == 0


@pytest.mark.parametrize(
    ("reported", "seconds", "wrong"),
    [(997, 3.0, None), (996, 3.0, "4 s were billed"), (1001, 3.0, "no whole")],
)
def test_what_is_billed_is_checked(reported, seconds, wrong):
    account = Account("37_x", credited=Fraction(10_000))
    if wrong is None:
        assert account.settle(10, Fraction(reported * 10), seconds) == 3
        assert account.balance == 9970
    else:
        with pytest.raises(BilledWrongly, match=wrong):
            account.settle(10, Fraction(reported * 10), seconds)
    with pytest.raises(BilledWrongly, match="no whole number"):
        account.settle(10, account.balance - 5, 9.0)


def test_the_command_shows_answer_and_bill(tmp_path, monkeypatch):
    from podium.testing.container import serving_in_thread

    monkeypatch.setenv("PODIUM_GATEWAY_KEY", KEY.hex())
    with serving_in_thread(Container(step_s=0.1)) as url:
        app = PodiumApp.start(World(None, tmp_path).document(url))
        try:
            common = ["byoc", "echo", "--orch-addr", app.uri]
            done = CliRunner().invoke(command, [*common, "--text", "{}", "--route", "meta"])
            assert done.exit_code == 0, done.output
            assert done.stdout == '{"ok":true}\n'
            assert "1 second for 1,000,000 wei" in done.stderr
            streamed = CliRunner().invoke(command, [*common, "--route", "sse"])
            assert streamed.stdout == "".join(f'{{"n":{n}}}\n' for n in range(4))
            done = CliRunner().invoke(command, [*common, "--route", "png", "--json",
                                                "--output", str(tmp_path / "x.png")])  # fmt: skip
            summary = json.loads(done.stdout)
            assert (summary["ok"], summary["units"], summary["tickets"]) == (True, 1, 0)
            assert (tmp_path / "x.png").read_bytes() == b"\x89PNGfake"
            failed = CliRunner().invoke(command, [*common, "--route", "err404"])
            assert failed.exit_code == 1
            assert "container says 404" in failed.stderr
            nobody = CliRunner().invoke(command, ["byoc", "nope", "--orch-addr", app.uri, "--json"])
            assert json.loads(nobody.stdout)["status"] == 503
        finally:
            app.stop()


def test_the_command_says_what_is_missing(tmp_path):
    assert "--orch-addr" in CliRunner().invoke(command, ["byoc", "x"]).stderr
    both = ["byoc", "x", "--orch-addr", "h", "--text", "a", "--input", __file__]
    assert "not both" in CliRunner().invoke(command, both).stderr
