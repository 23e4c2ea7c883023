"""The executor SDK at a real node with the BYOC plugin: registered, paid, streamed, gone."""

import asyncio
import json

import httpx
import podium_byoc.plugin
import podium_executor as sdk
import pytest
from attrs import frozen
from podium.testing.hostile import assert_contained, replay_hostile
from podium.testing.paying import NoTerms
from podium_hookspecs import JobFinished

SECRET = "orchestrator-secret"


@frozen
class Request:
    text: str


@frozen
class Reply:
    text: str


def make(events):
    @sdk.executor("shout", capacity=2, price="2000 wei", on_job=events.put_nowait)
    async def shout(request: Request, call: sdk.Call) -> Reply:
        call.metadata["route"] = call.path
        return Reply(request.text.upper())

    @sdk.executor("count", capacity=1, price="1000 wei", on_job=events.put_nowait)
    async def count(request: Request):
        yield "begun"
        await asyncio.sleep(0 if request.text else 3600)
        yield {"text": request.text}

    return shout, count


@pytest.fixture
def app(podium_app, hook_recorder):
    return podium_app(
        {"plugins": {"byoc": {"enabled": True, "secret": SECRET}}},
        plugins={"byoc": podium_byoc.plugin, "ears": hook_recorder},
    )


@pytest.fixture
async def serve(app):
    """Serve executors until the test is over, registered at the node."""
    stopping, tasks = asyncio.Event(), []

    async def serve(executor, secret=SECRET):
        settings = sdk.Settings(
            orchestrator=app.uri, secret=secret, port=0, token="t", verify=False, heartbeat_s=0.2
        )
        tasks.append(asyncio.create_task(sdk.serve(executor, settings, stopping)))
        return tasks[-1]

    serve.stopping = stopping
    yield serve
    stopping.set()
    await asyncio.gather(*tasks, return_exceptions=True)


async def sold(paid_request, app, name):
    """Wait until the node sells a name."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await paid_request.prepare(app.uri, name)
            except NoTerms:
                await asyncio.sleep(0.05)


async def test_a_typed_function_is_paid(app, serve, paid_request, hook_recorder):
    reports = asyncio.Queue()
    shout, _ = make(reports)
    await serve(shout)
    assert (await sold(paid_request, app, "shout")).price.pricePerUnit == 2000
    reply = await paid_request(app.uri, "shout", b'{"text": "hi"}', route="v1/shout")
    assert (reply.status_code, reply.json()) == (200, {"text": "HI"})
    assert json.loads(reply.headers["x-metadata"]) == {"route": "v1/shout"}
    reply = await paid_request(app.uri, "shout", b'{"text": 1}')
    assert reply.status_code == 400
    assert "text: must be a text" in reply.text
    jobs = await hook_recorder.wait_for(JobFinished, 2)
    assert [(job.units, job.fee_wei) for job in jobs] == [(1, 2000), (1, 2000)]
    assert [(await reports.get()).status for _ in jobs] == [200, 400]


async def test_a_stream_ends_with_done_and_its_client_may_leave(app, serve, paid_request):
    reports = asyncio.Queue()
    _, count = make(reports)
    await serve(count)
    await sold(paid_request, app, "count")
    reply = await paid_request(app.uri, "count", b'{"text": "x"}')
    assert reply.text.startswith('data: begun\n\ndata: {"text": "x"}\n\n')
    assert "data: [DONE]" in reply.text
    assert (await reports.get()).outcome == "ok"
    async with paid_request.stream(app.uri, "count", b'{"text": ""}') as reply:
        async for piece in reply.aiter_text():
            assert piece.startswith("data: begun")
            break
    async with asyncio.timeout(10):
        assert (await reports.get()).outcome == "cancelled"
    await sold(paid_request, app, "count")


async def test_what_leaves_is_no_longer_sold(app, serve, paid_request):
    shout, _ = make(asyncio.Queue())
    task = await serve(shout)
    await sold(paid_request, app, "shout")
    serve.stopping.set()
    await task
    with pytest.raises(NoTerms):
        await paid_request.prepare(app.uri, "shout")


async def test_a_wrong_secret_ends_the_executor(serve):
    task = await serve(make(asyncio.Queue())[0], secret="wrong")
    with pytest.raises(sdk.RegistrationRefused):
        await task


async def test_an_executor_outlives_a_hostile_peer():
    stopping, address = asyncio.Event(), asyncio.get_running_loop().create_future()
    settings = sdk.Settings(port=0)
    shout, _ = make(asyncio.Queue())
    task = asyncio.create_task(sdk.serve(shout, settings, stopping, address.set_result))
    assert_contained(await replay_hostile(await address, oversize_bytes=64 * 2**20 + 1))
    async with httpx.AsyncClient() as client:
        reply = await client.post(await address, json={"text": "still here"})
    assert reply.json() == {"text": "STILL HERE"}
    stopping.set()
    await task
