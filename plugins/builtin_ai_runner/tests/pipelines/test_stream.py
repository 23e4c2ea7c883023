"""A chat as events: forwarded at once, paid once, and honest about its end."""

import asyncio
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from podium_ai_runner import sse
from podium_hookspecs import JobFailed, Result


def event(content, finish="", **more):
    return {
        "id": "1",
        "model": "acme/llm",
        "created": 1,
        "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "delta": {"role": "assistant", "content": content},
                "message": None,
            }
        ],
        **more,
    }


def sent(*events):
    return [f"data: {e if isinstance(e, str) else json.dumps(e)}\n\n".encode() for e in events]


def heard(done):
    lines = done.data.decode().split("\n\n")
    assert lines[-1] == ""
    assert all(line.startswith("data: ") and "\n" not in line for line in lines[:-1])
    return [json.loads(line[6:]) for line in lines[:-1]]


async def until_it_fails(outputs):
    """The events that came, and the error that came then."""
    got = []
    try:
        async for output in outputs:
            got.append(json.loads(output.data[6:]))  # noqa: PERF401  what came before counts
    except JobFailed as failure:
        return got, failure
    raise AssertionError("it did not fail")


@pytest.fixture
def chat(host, kit):
    request = {**kit.REQUESTS["llm"], "stream": True}

    async def run(**more):
        return await host.run("llm", request, **more)

    return run


async def test_events_are_forwarded_and_the_last_one_is_paid(host, runner, chat):
    events = [event("a"), event("b"), event("", "stop")]
    runner.answers(pieces=sent(*events, "[DONE]"), content_type="text/event-stream; charset=utf-8")
    done = await chat()
    assert heard(done) == events
    assert {(chunk.kind, chunk.content_type) for chunk in done.chunks} == {
        ("event", "text/event-stream")
    }
    assert [units.amount for units in host.meter.added] == [64]
    assert done.result == Result(64, {"model": "acme/llm"})


async def test_each_event_leaves_before_the_next_one_comes(host, runner, kit):
    gate = asyncio.Semaphore(0)
    pieces = sent(event("a"), event("b"), event("", "stop"))
    runner.answers(pieces=pieces, content_type="text/event-stream", wait=gate.acquire)
    job = await host.job("llm", {**kit.REQUESTS["llm"], "stream": True})
    outputs = host.pipeline("llm").run(job, host.worker, host.meter)
    for number in range(3):
        assert bool(host.meter.added) is False
        gate.release()
        chunk = await anext(outputs)
        assert (
            json.loads(chunk.data[6:])["choices"][0]["delta"]["content"]
            == "ab"[number : number + 1]
        )
    assert host.meter.amount == 64
    assert [type(output) async for output in outputs] == [Result]


async def test_what_is_no_json_is_passed_over(runner, chat):
    runner.answers(
        pieces=[
            b": a comment\n\nretry: 3\n",
            *sent("not json", event("a"), "[1]", event("", "stop")),
        ],
        content_type="text/event-stream",
    )
    assert [e["choices"][0]["delta"]["content"] for e in heard(await chat())] == ["a", ""]


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (sent({"error": "out of memory"}), "LLM container returned 200: out of memory"),
        (sent({"error": {"message": "boom"}}), "LLM container returned 200: boom"),
        (sent({"choices": []}), "LLM container returned 200: an event without choices"),
        ([b"this is no stream"], "LLM container returned 200: no event stream"),
        ([b""], "LLM container returned 200: no event stream"),
        (sent("[DONE]"), "LLM container returned 200: no event stream"),
        (sent(event("x" * 70_000)), "LLM container returned 200: an event that is too long"),
        ([b"data: " + b"x" * 300_000], "LLM container returned 200: an event that is too long"),
    ],
)
async def test_a_stream_that_begins_wrong_is_an_error(host, runner, chat, pieces, text):
    runner.answers(pieces=pieces, content_type="text/event-stream")
    with pytest.raises(JobFailed) as failure:
        await chat()
    assert failure.value.public == text
    assert not host.meter.added


@pytest.mark.parametrize(
    ("rest", "text"),
    [
        ([{"error": "out of memory"}], "LLM container returned 200: out of memory"),
        ([{"choices": []}], "LLM container returned 200: an event without choices"),
        ([], "LLM container returned 200: the stream ended without a finish reason"),
        (["[DONE]"], "LLM container returned 200: the stream ended without a finish reason"),
    ],
)
async def test_a_stream_that_ends_wrong_says_so_and_is_not_paid(host, runner, kit, rest, text):
    runner.answers(pieces=sent(event("a"), *rest), content_type="text/event-stream")
    job = await host.job("llm", {**kit.REQUESTS["llm"], "stream": True})
    got, failure = await until_it_fails(host.pipeline("llm").run(job, host.worker, host.meter))
    assert failure.public == text
    assert got[0] == event("a")
    assert got[1]["error"] == {"message": text}
    assert got[1]["choices"][0]["finish_reason"] == "error", "gateways read choices[0] unchecked"
    assert len(got) == 2
    assert not host.meter.added


async def test_a_stream_that_breaks_off_says_so_too(host, runner, kit):
    runner.answers(pieces=sent(event("a")), cut=True, content_type="text/event-stream")
    job = await host.job("llm", {**kit.REQUESTS["llm"], "stream": True})
    got, failure = await until_it_fails(host.pipeline("llm").run(job, host.worker, host.meter))
    assert "broke off" in failure.public
    assert [e["choices"][0]["finish_reason"] for e in got] == ["", "error"]
    assert not host.meter.added


@pytest.mark.parametrize(("heard_first", "paid"), [(False, 0), (True, 64)])
async def test_who_hangs_up_in_the_middle_pays(host, runner, kit, heard_first, paid):
    runner.answers(
        pieces=sent(event("a")) if heard_first else [], hang=True, content_type="text/event-stream"
    )
    job = await host.job("llm", {**kit.REQUESTS["llm"], "stream": True})
    heard = asyncio.Event()
    listening = asyncio.create_task(
        _listen(host.pipeline("llm").run(job, host.worker, host.meter), heard)
    )
    await (heard.wait() if heard_first else runner.asked.wait())
    listening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await listening
    await runner.left.wait()
    assert host.meter.amount == paid


async def _listen(outputs, heard):
    async with contextlib.aclosing(outputs):
        async for _ in outputs:
            heard.set()


@given(st.data())
async def test_events_are_found_wherever_the_pieces_end(data):
    payloads = data.draw(st.lists(st.text("ab[]{}: \u00e4", min_size=1, max_size=20), max_size=8))
    ending = data.draw(st.sampled_from(["\n", "\r\n"]))
    raw = "".join(f"data: {p}{ending}{ending}" for p in payloads).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))

    async def pieces():
        for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
            yield raw[start:end]

    assert [e.decode() async for e in sse.events(pieces())] == payloads


# ---------------------------------------------------------------- OpenAI's chat completions


@pytest.fixture
async def openai_host(make_host, runner):
    from podium_ai_runner.config import ModelConfig

    model = ModelConfig("llm", "acme/llm", url=runner.url, api="openai", upstream_model="llama3:8b")
    async with make_host(models=(model,)) as host:
        yield host


COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 5,
    "model": "llama3:8b",
    "system_fingerprint": "x",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "details": {}},
}


async def test_an_openai_engine_answers(openai_host, runner, kit):
    runner.answers(COMPLETION)
    done = await openai_host.run("llm", {**kit.REQUESTS["llm"], "top_k": 40, "temperature": 0.5})
    ((request, raw),) = runner.requests
    assert request.path == "/v1/chat/completions"
    assert json.loads(raw) == {
        "model": "llama3:8b",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 64,
        "temperature": 0.5,
        "top_p": 1.0,
        "top_k": 40,
        "stream": False,
    }
    assert done.json == {
        "id": "chatcmpl-1",
        "model": "acme/llm",
        "created": 5,
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Hello."},
            }
        ],
    }
    assert openai_host.meter.amount == 64


def delta(content=None, finish=None, **more):
    said = {} if content is None else {"content": content}
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 5,
        "model": "acme/llm",
        "choices": [{"index": 0, "delta": said, "finish_reason": finish}],
        **more,
    }


@pytest.mark.parametrize("with_usage", [True, False])
async def test_an_openai_engine_streams(openai_host, runner, kit, with_usage):
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    events = [delta("Hel", usage=None), delta("lo."), delta(finish="length")]
    if with_usage:
        events.append({"id": "c", "choices": [], "usage": usage})
    runner.answers(pieces=sent(*events, "[DONE]"), content_type="text/event-stream")
    done = await openai_host.run("llm", {**kit.REQUESTS["llm"], "stream": True})
    found = heard(done)
    assert [e["choices"][0]["delta"]["content"] for e in found] == ["Hel", "lo.", ""]
    assert [e["choices"][0]["finish_reason"] for e in found] == ["", "", "length"]
    assert found[-1]["usage"] == (usage if with_usage else dict.fromkeys(usage, 0))
    assert json.loads(runner.requests[0][1])["stream_options"] == {"include_usage": True}
    assert openai_host.meter.amount == 64


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (
            400,
            {"error": {"message": "too long", "code": 400}},
            "LLM container returned 400: too long",
        ),
        (404, {"object": "error", "message": "no such model"}, None),
        (200, {"choices": None}, "LLM container returned 200: no completion"),
        (200, {"choices": []}, "LLM container returned 200: no choices"),
    ],
)
async def test_an_openai_engine_refuses(openai_host, runner, kit, status, body, text):
    runner.answers(body, status=status)
    with pytest.raises(JobFailed) as failure:
        await openai_host.run(*kit.good_request("llm"))
    assert text is None or failure.value.public == text
    assert failure.value.public.startswith(f"LLM container returned {status}: ")
