"""What a handler gets, and what its caller gets."""

import asyncio
import json

import httpx
import pytest
from attrs import Factory, frozen
from podium_executor import BadRequest, Call, SetupError, Unavailable, executor


@frozen
class Box:
    width: int
    height: int = 1


@frozen
class Request:
    text: str
    times: int = 1
    boxes: list[Box] = Factory(list)


@frozen
class Reply:
    text: str
    area: int


@executor("shout", capacity=2)
async def shout(request: Request) -> Reply:
    area = sum(box.width * box.height for box in request.boxes)
    return Reply(request.text.upper() * request.times, area)


async def test_a_typed_request_gets_a_typed_reply(start):
    running = await start(shout)
    reply = await running.post(json={"text": "a", "times": 2, "boxes": [{"width": 3}]})
    assert (reply.status_code, reply.json()) == (200, {"text": "AA", "area": 3})
    assert reply.headers["content-type"] == "application/json"
    assert (await shout(Request("b"))).text == "B", "a test calls it like any function"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b"[]", "must be an object"),
        (b"{}", "missing text"),
        (b'{"text": 1}', "text: must be a text"),
        (b'{"text": "a", "times": true}', "times: must be a whole number"),
        (b'{"text": "a", "boxes": [{"width": "1"}]}', "boxes[0].width: must be a whole number"),
        (b'{"text": "a", "color": 1}', "unknown color"),
    ],
)
async def test_a_bad_request_is_told_what_is_wrong(start, body, text):
    running = await start(shout)
    reply = await running.post(content=body)
    assert reply.status_code == 400
    assert text in reply.text


async def test_bodies_and_texts_pass_as_they_are(start):
    @executor("raw")
    async def raw(body: bytes, call: Call) -> bytes:
        call.metadata["path"] = call.path
        return call.content_type.encode() + body[::-1]

    @executor("text")
    def text(body: str) -> str:
        return body.upper()

    @executor("any")
    async def anything(body: dict) -> list:
        return sorted(body)

    running = await start(raw)
    reply = await running.post("a/b", content=b"123", headers={"Content-Type": "x/y"})
    assert reply.content == b"x/y321"
    assert json.loads(reply.headers["x-metadata"]) == {"path": "a/b"}
    running = await start(text)
    assert (await running.post(content="é")).text == "É"
    assert (await running.post(content=b"\xff")).status_code == 400
    assert (await (await start(anything)).post(json={"b": 1, "a": 2})).json() == ["a", "b"]


async def test_a_generator_streams_events(start):
    sent, go_on = asyncio.Event(), asyncio.Event()

    @executor("count")
    async def count(upto: dict):
        yield "one\rline more"
        sent.set()
        await go_on.wait()
        for number in range(upto["n"]):
            yield {"number": number}

    running = await start(count)
    url = running.url
    async with running.client.stream("POST", url, json={"n": 2}) as reply:
        assert reply.headers["content-type"] == "text/event-stream"
        pieces = reply.aiter_text()
        assert await anext(pieces) == "data: one\ndata: line more\n\n"
        go_on.set()
        rest = "".join([piece async for piece in pieces])
    assert rest == 'data: {"number": 0}\n\ndata: {"number": 1}\n\ndata: [DONE]\n\n'


async def test_a_stream_ends_well_whatever_happens(start):
    @executor("fails")
    async def fails(what: dict):
        if what["at"] == 0:
            raise BadRequest("not that")
        yield "begun"
        raise {"known": BadRequest("no more"), "unknown": RuntimeError("a secret")}[what["how"]]

    running = await start(fails)
    reply = await running.post(json={"at": 0})
    assert (reply.status_code, reply.text) == (400, "not that\n")
    for how, text in (("known", "no more"), ("unknown", "internal error")):
        reply = await running.post(json={"at": 1, "how": how})
        error = f'event: error\ndata: {{"error": "{text}"}}\n\n'
        assert reply.text == f"data: begun\n\n{error}data: [DONE]\n\n"


async def test_errors_have_their_status_and_keep_their_secrets(start):
    @executor("fails")
    async def fails(body: str) -> str:
        raise {"full": Unavailable("come again"), "bug": RuntimeError("a secret")}[body]

    running = await start(fails)
    reply = await running.post(content="full")
    assert (reply.status_code, reply.text) == (503, "come again\n")
    reply = await running.post(content="bug")
    assert (reply.status_code, reply.text) == (500, "internal error\n")


async def test_a_client_that_leaves_ends_the_work(start):
    begun, ended = asyncio.Event(), asyncio.Event()
    reports = asyncio.Queue()

    @executor("slow", on_job=reports.put_nowait)
    async def slow(body: bytes) -> bytes:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    running = await start(slow)
    asking = asyncio.create_task(running.post())
    await begun.wait()
    asking.cancel()
    async with asyncio.timeout(10):
        await ended.wait()
        report = await reports.get()
    assert (report.status, report.outcome) == (499, "cancelled")


async def test_only_so_many_at_a_time(start):
    gate = asyncio.Event()
    begun = asyncio.Semaphore(0)

    @executor("slow", capacity=2)
    async def slow(body: bytes) -> bytes:
        begun.release()
        await gate.wait()
        return b"done"

    running = await start(slow)
    asking = [asyncio.create_task(running.post()) for _ in range(2)]
    for _ in asking:
        await begun.acquire()
    assert (await running.post()).status_code == 503
    health = (await running.client.get(running.url + "/healthz")).json()
    assert health == {"status": "ok", "capability": "slow", "capacity": 2, "running": 2}
    gate.set()
    assert [reply.content for reply in await asyncio.gather(*asking)] == [b"done"] * 2
    assert (await running.post()).status_code == 200


async def test_bodies_and_time_are_bounded(start):
    @executor("small", max_body_bytes=10, timeout_s=0.05)
    async def small(body: bytes) -> bytes:
        if body == b"own":
            raise TimeoutError("its own")
        await asyncio.Event().wait()

    running = await start(small)
    assert (await running.post(content=b"x" * 11)).status_code == 413
    assert (await running.post(content=b"x" * 10)).status_code == 504
    assert (await running.post(content=b"own")).status_code == 500


async def test_who_may_ask(start):
    running = await start(shout, token="t0ken")
    body = {"text": "a"}
    assert (await running.post(json=body)).status_code == 401
    wrong = {"Authorization": "Bearer other"}
    assert (await running.post(json=body, headers=wrong)).status_code == 401
    right = {"Authorization": "Bearer t0ken"}
    assert (await running.post(json=body, headers=right)).status_code == 200
    assert (await running.client.get(running.url, headers=right)).status_code == 405
    assert (await running.client.get(running.url + "/healthz")).status_code == 200


async def test_each_job_is_reported(start):
    reports = asyncio.Queue()

    @executor("meter", on_job=reports.put_nowait)
    async def meter(body: bytes) -> bytes:
        return body * 2

    running = await start(meter)
    await running.post("a/b", content=b"12345")
    async with asyncio.timeout(10):
        report = await reports.get()
    assert (report.capability, report.path, report.status, report.outcome) == (
        "meter",
        "a/b",
        200,
        "ok",
    )
    assert (report.received_bytes, report.sent_bytes) == (5, 10)
    assert 0 < report.seconds < 20


async def test_a_faulty_hook_is_not_the_request_s_fault(start, caplog):
    told = asyncio.Event()

    def broken(report):
        told.set()
        raise RuntimeError("the hook's")

    @executor("meter", on_job=broken)
    async def meter(body: bytes) -> bytes:
        return body

    running = await start(meter)
    assert (await running.post()).status_code == 200
    await told.wait()
    assert "on_job failed" in caplog.text


async def test_an_asgi_application_is_an_executor_too(start):
    @executor("app", asgi=True, capacity=1)
    async def app(scope, receive, send):
        message = await receive()
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": scope["path"].encode() + message["body"]})

    running = await start(app, token="t")
    reply = await running.post("x", content=b"y", headers={"Authorization": "Bearer t"})
    assert (reply.status_code, reply.content) == (201, b"/xy")
    assert (await running.post("x")).status_code == 401


async def test_an_asgi_application_hears_of_its_start_and_end(start):
    heard = []

    @executor("app", asgi=True)
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            for what in ("startup", "shutdown"):
                assert (await receive())["type"] == f"lifespan.{what}"
                heard.append(what)
                await send({"type": f"lifespan.{what}.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"".join(w.encode() for w in heard)})

    running = await start(app)
    assert (await running.post()).content == b"startup"
    running.stopping.set()
    await running.task
    assert heard == ["startup", "shutdown"]


async def test_an_application_that_does_not_start_is_told(start):
    @executor("app", asgi=True)
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no model"})

    running = await start(app)
    with pytest.raises(SetupError, match="ended by itself"):
        await running.task


def no_annotation(body):
    pass


def a_number(body: int):
    pass


@pytest.mark.parametrize("function", [no_annotation, a_number])
async def test_a_handler_that_cannot_work_is_refused_at_once(start, function):
    with pytest.raises(SetupError):
        await start(executor("bad")(function))


@pytest.mark.parametrize(
    "given", [{"name": ""}, {"name": "a/b"}, {"capacity": 0}, {"price": "1 €"}]
)
def test_what_cannot_be_registered_is_refused_at_once(given):
    with pytest.raises(SetupError):
        executor(**{"name": "good", **given})(no_annotation)


async def test_half_a_request_is_no_request(start):
    running = await start(shout)
    url = httpx.URL(running.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await running.post(json={"text": "a"})).status_code == 200
    del reader
