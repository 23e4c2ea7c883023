"""Prices and lists from plugins: what gateways are quoted and billed, and what the operator sees."""

import asyncio
import json
from fractions import Fraction

import pytest
from click.testing import CliRunner
from podium.assembly import Overrides
from podium.bench import null
from podium.cli import cli
from podium.config.settings import PluginSettings
from podium.crypto import KeySigner
from podium.payments import FixedGasPrice
from podium.testing.gateway.errors import OrchestratorFailed
from podium.testing.gateway.requests import orchestrator_request
from podium.testing.plugins import HookRecorder
from podium.wire.pb import lp_rpc_pb2 as pb
from podium_hookspecs import (
    CAPABILITY_NUMBERS,
    BadInput,
    HttpPipeline,
    JobFinished,
    Offer,
    hookimpl,
)

KEYS = [bytes([number]) * 32 for number in (0x22, 0x33, 0x44)]
GAS_PRICE = 1_000
"""Wei: a redemption costs something, so a price may be adjusted by that."""

GATEWAYS = ["0x" + KeySigner(key).address.hex() for key in KEYS]


def quoted(sender):
    price = sender.info.price_info
    return Fraction(price.pricePerUnit, price.pixelsPerUnit)


@pytest.fixture
def start(world):
    """Start a node with plugins, by their options and in their order; return what it tells."""

    async def make(plugins, *, node=None, auto_adjust=False, **settings):
        recorder = HookRecorder()
        running = await world.node(
            Overrides(
                plugins={"commanded": null, "recorder": recorder},
                gas_price=FixedGasPrice(GAS_PRICE),
            ),
            plugins={
                "recorder": PluginSettings(enabled=True),
                **{
                    name: PluginSettings(enabled=True, options=options)
                    for name, options in plugins.items()
                },
            },
            node=node,
            payments={"auto_adjust_price": auto_adjust},
            **settings,
        )
        return running, recorder

    return make


@pytest.fixture
def explain(tmp_path):
    """Run ``podium price explain`` with the configuration of a running node."""

    async def ask(node, gateway, *more, ok=True):
        path = tmp_path / "podium.toml"
        path.write_text(
            f'[node]\nadmin_listen = "127.0.0.1:{node.admin.port}"\n'
            f'data_dir = "{tmp_path / "elsewhere"}"\n'
        )
        args = ["price", "explain", "-c", str(path), "--sender", gateway, *more]
        done = await asyncio.to_thread(CliRunner().invoke, cli, args)
        assert (done.exit_code == 0) is ok, done.output
        return done.stdout

    return ask


async def test_a_gateways_own_price_is_what_it_is_quoted_and_billed(world, start):
    lines = [{"gateway": GATEWAYS[0], "price": "7/2"}, {"gateway": GATEWAYS[1], "free": True}]
    node, recorder = await start({"price-per-gateway": {"prices": lines}})
    wanted = [Fraction(7, 2), Fraction(0), Fraction(1)]
    for key, price in zip(KEYS, wanted, strict=True):
        sender = await world.sender(node, key)
        assert quoted(sender) == price
        await sender.result()
        assert quoted(sender) == price
        job = recorder.of(JobFinished)[-1]
        assert job.fee_wei == price * job.units
        assert job.units == 1000


async def test_a_denied_gateway_gets_nothing_and_all_others_do(world, start, explain):
    node, _ = await start({"admit-lists": {"deny": [GATEWAYS[0]], "reason": "pay your bill"}})
    with pytest.raises(OrchestratorFailed, match=r"^authentication failed: pay your bill$"):
        await world.sender(node, KEYS[0])
    sender = await world.sender(node, KEYS[1])
    assert (await sender.result()).WhichOneof("result") == "data"
    sender.signer = KeySigner(KEYS[0])  # with another's token, too
    reply = await sender.send()
    assert (reply.status_code, reply.text) == (403, "pay your bill\n")
    told = await explain(node, GATEWAYS[0], ok=False)
    assert "refused: pay your bill (by an admission plugin)" in told


async def test_the_price_rises_between_sessions_and_a_running_one_keeps_its_own(world, start):
    node, recorder = await start(
        {
            "price-load": {"rises_from": 0, "max_factor": 3},
            "price-fixed": {"prices": [{"price": "1/2"}]},
        },
        node={"max_sessions": 4},
    )
    first = await world.sender(node, KEYS[0])
    assert quoted(first) == Fraction(1, 2)
    await first.result()
    second = await world.sender(node, KEYS[1])
    assert quoted(second) == Fraction(1, 2) * Fraction(3, 2)
    await second.result()
    third = await world.sender(node, KEYS[2])
    assert quoted(third) == Fraction(1, 2) * 2
    for seq in (1, 2):
        await first.result(seq=seq)
        await second.result(seq=seq)
        assert (quoted(first), quoted(second)) == (Fraction(1, 2), Fraction(3, 4))
    fees = {job.sender: job.fee_wei / job.units for job in recorder.of(JobFinished)}
    assert fees == {
        first.signer.address: Fraction(1, 2),
        second.signer.address: Fraction(3, 4),
    }
    await node.sessions.close()
    fourth = await world.sender(node, KEYS[2])
    assert quoted(fourth) == Fraction(1, 2)


async def test_a_price_that_rose_before_the_first_segment_is_not_the_sessions(world, start):
    """The reply to the first segment carries the price of the tickets in it, not that of now."""
    node, recorder = await start(
        {"price-load": {"rises_from": 0}}, node={"max_sessions": 2}, auto_adjust=True
    )
    first = await world.sender(node, KEYS[0])
    agreed = quoted(first)
    await (await world.sender(node, KEYS[1])).result()
    assert quoted(await world.sender(node, KEYS[2])) > agreed
    for seq in range(3):
        await first.result(seq=seq)
        assert quoted(first) == agreed
        job = recorder.of(JobFinished)[-1]
        assert job.fee_wei == agreed * job.units


@pytest.mark.parametrize("auto_adjust", [False, True])
async def test_explain_agrees_with_what_the_gateway_is_quoted(world, start, explain, auto_adjust):
    node, _ = await start(
        {
            "price-load": {"rises_from": 0},
            "price-per-gateway": {"prices": [{"gateway": GATEWAYS[0], "price": 1200, "per": 7}]},
            "price-per-capability": {"prices": [{"capability": "text-to-image", "price": 9}]},
        },
        node={"max_sessions": 8},
        auto_adjust=auto_adjust,
    )
    for key, gateway in zip(KEYS, GATEWAYS, strict=True):
        told = json.loads(await explain(node, gateway, "--json"))
        sender = await world.sender(node, key)
        assert Fraction(told["quoted"]) == quoted(sender)
        assert told["by"] == "node"
        assert told["decided_by"] == "price-load"
        assert told["auto_adjust"] is auto_adjust
        base = next(answer for answer in told["answers"] if answer["who"] == "price-load")
        assert (quoted(sender) > Fraction(base["wei_per_unit"])) is auto_adjust
        await sender.result()
    text = await explain(node, GATEWAYS[0], "--capability", "text-to-image")
    assert [" ".join(line.split()) for line in text.splitlines()[2:7]] == [
        "asked the running node",
        f"price-load {Fraction(1200, 7) * 11 / 8} wei <- decides",
        f"price-per-gateway {Fraction(1200, 7)} wei",
        "price-per-capability 9 wei",
        "configuration 1 wei",
    ]


async def test_explain_does_without_a_node(world, start, explain, tmp_path):
    """The same plugins, loaded by the command, say what a node that just started would."""
    options = {"prices": [{"gateway": GATEWAYS[0], "price": "0.3"}]}
    node, _ = await start({"price-per-gateway": options}, auto_adjust=True)
    sender = await world.sender(node, KEYS[0])
    path = tmp_path / "alone.toml"
    path.write_text(
        f"""
        [node]
        admin_listen = "127.0.0.1:1"
        data_dir = "{tmp_path / "alone"}"
        [account]
        private_key = "{"11" * 32}"
        [payments]
        ticket_ev_wei = 8_000_000_000
        max_face_value_wei = 40_000_000_000
        [chain.local]
        gas_price_wei = {GAS_PRICE}
        [plugins.price-per-gateway]
        enabled = true
        [[plugins.price-per-gateway.prices]]
        gateway = "{GATEWAYS[0]}"
        price = "0.3"
        """
    )
    args = ["price", "explain", "-c", str(path), "--sender", GATEWAYS[0], "--json"]
    done = await asyncio.to_thread(CliRunner().invoke, cli, args)
    told = json.loads(done.stdout)
    assert told["by"] == "command"
    assert Fraction(told["quoted"]) == quoted(sender) > Fraction("0.3")
    assert not (tmp_path / "alone").exists()


async def test_what_explain_is_asked_wrongly_is_refused(world, start):
    node, _ = await start({})
    client = await world.client(http2=False)
    uri = f"http://127.0.0.1:{node.admin.port}/podium/price"
    for query in ("", "?sender=0x12", f"?sender={GATEWAYS[0]}&capability=x", "?sender=zz"):
        assert (await client.get(uri + query)).status_code == 400
    assert (await client.get(f"{uri}?sender={GATEWAYS[0]}")).json()["quoted"] == "1"


class Llm(HttpPipeline):
    """Work of two models, counted in tokens."""

    name, unit, capability = "llm", "token", CAPABILITY_NUMBERS["llm"]

    def offers(self, workers):
        return tuple(Offer(self.capability, model) for model in ("big", "small"))

    async def parse(self, request):
        raise BadInput("this test only asks for prices")

    def require(self, request):
        raise NotImplementedError

    estimate = run = require

    @hookimpl
    def podium_pipelines(self, config, context):
        return [self]


async def test_models_have_prices_of_their_own(world, explain):
    lines = [
        {"capability": "llm", "model": "big", "unit": "token", "price": "10/3"},
        {"capability": "llm", "price": 2},
    ]
    node = await world.node(
        Overrides(plugins={"commanded": null, "llm": Llm()}),
        plugins={
            "llm": PluginSettings(enabled=True),
            "price-per-capability": PluginSettings(enabled=True, options={"prices": lines}),
        },
        payments={"auto_adjust_price": False},
    )
    sender = await world.sender(node)
    assert quoted(sender) == 1
    listed = {one.constraint: one.pricePerUnit for one in sender.info.capabilities_prices}
    assert listed == {"big": 3, "small": 2}  # the list is in whole wei
    for model, price in (("big", Fraction(10, 3)), ("small", Fraction(2))):
        wanted = pb.Capabilities(bitstring=[1 << Llm.capability], capacities={Llm.capability: 1})
        wanted.constraints.PerCapability[Llm.capability].models[model].warm = False
        sender.info = await sender.rpc.get_orchestrator(
            node.service_uri, orchestrator_request(sender.signer, wanted), 5
        )
        assert quoted(sender) == price
        more = ("--capability", "llm", "--model", model, "--json")
        told = json.loads(await explain(node, GATEWAYS[0], *more))
        assert (told["unit"], Fraction(told["quoted"])) == ("token", price)
