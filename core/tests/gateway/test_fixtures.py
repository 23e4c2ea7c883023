"""The fixtures that ``podium[testing]`` gives to plugin authors."""

import asyncio

import pytest
from podium.bench.process import program
from podium.bench.proxy import UNITS, ProxyPlugin
from podium.bench.runner import HOST, MODEL
from podium.errors import ConfigInvalid, StartupError
from podium.payments.ports import SenderFunds
from podium.testing.gateway import BlockClock, NoOrchestrator
from podium_hookspecs import (
    JobFinished,
    NodeStarted,
    PaymentReceived,
    PluginContext,
    SessionClosed,
    TicketParamsIssued,
)


async def test_plugin_context(plugin_context, tmp_path):
    context: PluginContext = plugin_context
    assert context.state_dir == tmp_path
    context.log.warning("slow disk", path="/x")
    assert [(line.level, line.event) for line in context.log.lines] == [("warning", "slow disk")]
    inc = context.metrics.counter("jobs", "Jobs.", ["kind"])
    inc(kind="a")
    inc(2, kind="a")
    context.metrics.gauge("depth", "Depth.")(7)
    context.metrics.histogram("seconds", "Time.", [1.0])(0.5)
    assert context.metrics.values == {("jobs", (("kind", "a"),)): 3, ("depth", ()): 7}
    assert context.metrics.observed == {("seconds", ()): [0.5]}
    with pytest.raises(ValueError, match="there already"):
        context.metrics.gauge("jobs", "Again.")
    with pytest.raises(ValueError, match="has the labels"):
        inc(sort="a")
    assert await context.run_blocking(pow, 2, exp=5) == 32
    done = asyncio.Event()

    async def work():
        done.set()

    context.spawn(work(), name="work")
    await asyncio.gather(*context.tasks)
    assert done.is_set()


async def test_hook_recorder_hears_a_whole_paid_session(
    podium_app, gateway, echo, paid, two_segments, hook_recorder
):
    app = podium_app(paid, {"transcode": echo, "recorder": hook_recorder})
    async with gateway(app.uri) as client:
        outcome = await client.transcode(two_segments[0])
    assert len(hook_recorder.of(NodeStarted)) == 1
    assert hook_recorder.of(TicketParamsIssued)[0].face_value == 40_000_000_000
    (payment,) = hook_recorder.of(PaymentReceived)
    assert payment.tickets == outcome.tickets
    (job,) = hook_recorder.of(JobFinished)
    assert (job.outcome, job.fee_wei) == ("ok", outcome.debit)
    assert hook_recorder.of(SessionClosed)[0].reason == "ended"


async def test_chain_decides_who_can_pay(podium_app, gateway, echo, paid, chain, two_segments):
    app = podium_app(paid, {"transcode": echo}, clock=chain, broker=chain, gas_price=chain)
    async with gateway(app.uri) as client:
        chain.funds[client.signer.address] = SenderFunds(0, 0)
        with pytest.raises(NoOrchestrator, match="insufficient sender reserve"):
            await client.transcode(two_segments[0])


async def test_chain_time_expires_parameters(podium_app, gateway, echo, paid, chain, two_segments):
    chain.wei = 0
    app = podium_app(paid, {"transcode": echo}, clock=chain, broker=chain, gas_price=chain)
    async with gateway(app.uri, clock=BlockClock(lambda: chain.l1_block)) as client:
        await client.transcode(two_segments[0])
        chain.mine(39)
        outcome = await client.transcode(two_segments[1])
    assert outcome.attempts == 1, "the client renewed them in time"
    assert len(client.accounts) == 2


async def test_parameters_used_too_late_are_refused_and_replaced(
    podium_app, gateway, echo, paid, chain, two_segments
):
    chain.wei = 0
    app = podium_app(paid, {"transcode": echo}, clock=chain, broker=chain, gas_price=chain)
    async with gateway(app.uri) as client:
        await client.transcode(two_segments[0])
        chain.mine(40)
        outcome = await client.transcode(two_segments[1])
    assert outcome.attempts == 2
    assert client.accounts[0].unconfirmed > 0


def test_a_node_that_cannot_start_says_why(podium_app):
    with pytest.raises(ConfigInvalid, match="unknown"):
        podium_app({"nonsense": {"a": 1}})
    first = podium_app()
    with pytest.raises(StartupError):
        podium_app({"node": {"listen": f"127.0.0.1:{first.node.public.port}"}})


async def test_an_ai_gateway_pays_a_real_node(podium_app, ai_gateway, paid, hook_recorder):
    fields = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": UNITS}
    heard = []
    with program("podium.bench.runner") as runner:
        plugin = ProxyPlugin(f"http://{HOST}:{runner.port}")
        app = podium_app(paid, {"proxy": plugin, "recorder": hook_recorder})
        async with ai_gateway(app.uri) as gateway:
            result = await gateway.run("llm", MODEL, fields)
            streamed = await gateway.run("llm", MODEL, fields, stream=True, on_event=heard.append)
    assert result.json["choices"][0]["message"]["content"] == "hi"
    assert streamed.json == heard
    assert result.fee_wei == streamed.fee_wei == 1200 * UNITS
    jobs = hook_recorder.of(JobFinished)
    assert [(job.fee_wei, job.account) for job in jobs] == [(1200 * UNITS, f"33_{MODEL}")] * 2
    assert {payment.session_id for payment in hook_recorder.of(PaymentReceived)} == {f"33_{MODEL}"}
