"""Chat completions as OpenAI's API has them."""

import json

import pytest

MODEL = "tiny/reciter"
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "say it"}], "temperature": 0}
URL = "/v1/chat/completions"


@pytest.fixture(scope="module")
def runner(running_long, llm_dir):
    with running_long(PIPELINE="llm", MODEL_ID=MODEL, MODEL_DIR=str(llm_dir)) as runner:
        assert runner.wait("OK", "ERROR") == "OK", runner.log.read_text()
        yield runner


def ask(runner, **more):
    return runner.client.post(URL, json=ASK | more)


def stream(runner, **more):
    with runner.client.stream("POST", URL, json=ASK | {"stream": True} | more) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def test_the_models_are_listed(runner):
    body = runner.client.get("/v1/models").json()
    assert body["object"] == "list"
    assert [entry["id"] for entry in body["data"]] == [MODEL]


def test_the_whole_answer(runner, sentence):
    body = ask(runner).json()
    assert body["object"] == "chat.completion"
    message = {"role": "assistant", "content": sentence}
    assert body["choices"] == [{"index": 0, "message": message, "finish_reason": "stop"}]
    assert body["usage"]["total_tokens"] > 0


def test_the_stream(runner, sentence):
    chunks = stream(runner)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(choice["delta"].get("content", "") for choice in choices) == sentence
    assert [choice["finish_reason"] for choice in choices[:-1]] == [None] * (len(choices) - 1)
    assert choices[-1] == {"index": 0, "delta": {}, "finish_reason": "stop"}
    assert all("usage" not in chunk for chunk in chunks)


def test_usage_comes_last_when_asked_for(runner):
    *_, last = stream(runner, stream_options={"include_usage": True})
    assert last["choices"] == []
    assert last["usage"] == ask(runner).json()["usage"]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_cut_short_says_so(runner, name):
    body = ask(runner, **{name: 2}).json()
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 2
    assert stream(runner, **{name: 2})[-1]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("stop", [" fox", ["nothing", " fox jumps"], "own f"])
def test_a_stop_text_ends_the_answer(runner, stop, sentence):
    body = ask(runner, stop=stop).json()
    first = stop if isinstance(stop, str) else stop[1]
    assert body["choices"][0]["message"]["content"] == sentence[: sentence.index(first)]
    assert body["choices"][0]["finish_reason"] == "stop"


def test_nulls_count_as_left_out_and_contents_may_come_in_parts(runner, sentence):
    parts = [{"type": "text", "text": "say"}, {"type": "text", "text": " it"}]
    messages = [{"role": "developer", "content": "be brief"}, {"role": "user", "content": parts}]
    body = ask(runner, messages=messages, stop=None, max_tokens=None, seed=None, n=1).json()
    assert body["choices"][0]["message"]["content"] == sentence


def test_a_seed_makes_chance_repeat(running, llm_dir):
    with running(PIPELINE="llm", MODEL_ID="tiny/random", MODEL_DIR=str(llm_dir)) as runner:
        runner.wait("OK")
        more = {"model": "tiny/random", "temperature": 2, "max_tokens": 20}
        answers = [ask(runner, **more, seed=seed).json()["choices"] for seed in (1, 1, 2)]
    assert answers[0] == answers[1] != answers[2]


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"model": "gpt"}, 404, "unknown-model"),
        ({"messages": 7}, 400, "invalid-fields"),
        ({"messages": [{"role": "user", "content": {}}]}, 400, "invalid-fields"),
        ({"n": 2}, 400, "invalid-fields"),
        ({"max_tokens": 0}, 400, "invalid-fields"),
        ({"messages": [{"role": "user", "content": "x" * 20_000}]}, 400, "inference"),
    ],
)
def test_errors_have_the_shape_of_openai_s(runner, more, status, code):
    reply = ask(runner, **more)
    assert reply.status_code == status
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert isinstance(error["message"], str)


def test_a_body_that_is_no_object_is_refused(runner):
    assert runner.client.post(URL, json=[1]).status_code == 400
