"""llm, with real if tiny models: one recites, one never ends, one is random."""

import json
import threading
import time

import httpx
import pytest

ASK = {"messages": [{"role": "user", "content": "say it"}], "max_tokens": 100}


@pytest.fixture(scope="module")
def reciter(running_long, llm_dir):
    with running_long(PIPELINE="llm", MODEL_ID="tiny/reciter", MODEL_DIR=str(llm_dir)) as runner:
        assert runner.wait("OK", "ERROR") == "OK", runner.log.read_text()
        yield runner


@pytest.fixture(scope="module")
def endless(running_long, llm_dir):
    with running_long(PIPELINE="llm", MODEL_ID="tiny/endless", MODEL_DIR=str(llm_dir)) as runner:
        assert runner.wait("OK", "ERROR") == "OK", runner.log.read_text()
        yield runner


@pytest.fixture(scope="module")
def random(running_long, llm_dir):
    with running_long(PIPELINE="llm", MODEL_ID="tiny/random", MODEL_DIR=str(llm_dir)) as runner:
        assert runner.wait("OK", "ERROR") == "OK", runner.log.read_text()
        yield runner


def ask(runner, **more):
    return runner.client.post("/llm", json=ASK | more)


def events(response):
    return [line.removeprefix("data: ") for line in response.iter_lines() if line]


def stream(runner, **more):
    with runner.client.stream("POST", "/llm", json=ASK | {"stream": True} | more) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache"
        *chunks, done = events(response)
        assert done == "[DONE]"
        return [json.loads(chunk) for chunk in chunks]


def content(reply):
    return reply.json()["choices"][0]["message"]["content"]


def test_the_whole_answer(reciter, sentence):
    reply = ask(reciter, model="tiny/reciter", temperature=0)
    assert reply.status_code == 200
    body = reply.json()
    assert set(body) == {"id", "model", "created", "usage", "choices"}
    assert body["model"] == "tiny/reciter"
    assert abs(body["created"] - time.time()) < 60
    choice = {"index": 0, "finish_reason": "stop", "delta": None}
    assert body["choices"] == [choice | {"message": {"role": "assistant", "content": sentence}}]
    usage = body["usage"]
    assert usage["prompt_tokens"] > 0
    assert usage["completion_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_the_stream_says_the_same(reciter, sentence):
    chunks = stream(reciter, temperature=0)
    assert all(len(chunk["choices"]) == 1 for chunk in chunks), "gateways index them unchecked"
    assert len({(chunk["id"], chunk["model"], chunk["created"]) for chunk in chunks}) == 1
    choices = [chunk["choices"][0] for chunk in chunks]
    assert "".join(choice["delta"]["content"] for choice in choices) == sentence
    assert [choice["finish_reason"] for choice in choices] == [""] * (len(chunks) - 1) + ["stop"]
    assert choices[-1]["delta"] == {"role": "assistant", "content": ""}
    assert all(choice["message"] is None and choice["index"] == 0 for choice in choices)
    totals = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert totals == sorted(totals)
    whole = ask(reciter, temperature=0).json()
    assert chunks[-1]["usage"] == whole["usage"], "usage adds up"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_max_tokens_is_respected(endless, count):
    usage = ask(endless, max_tokens=count, temperature=0).json()["usage"]
    assert usage["completion_tokens"] == count
    chunks = stream(endless, max_tokens=count, temperature=0)
    assert chunks[-1]["usage"]["completion_tokens"] == count
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_the_prompt_is_read(random):
    other = [{"role": "user", "content": "what else is there?"}]
    answers = {content(ask(random, temperature=0, max_tokens=20)) for _ in range(2)}
    assert len(answers) == 1, "temperature 0 is certain"
    assert content(ask(random, temperature=0, max_tokens=20, messages=other)) not in answers


def test_temperature_makes_answers_differ_and_top_k_and_top_p_restrict_them(random):
    certain = content(ask(random, temperature=0, max_tokens=20))
    assert len({content(ask(random, temperature=2, max_tokens=20)) for _ in range(4)}) > 1
    assert content(ask(random, temperature=2, top_k=1, max_tokens=20)) == certain
    assert content(ask(random, temperature=2, top_p=0, max_tokens=20)) == certain


def test_a_prompt_longer_than_the_model_takes_is_refused(endless):
    messages = [{"role": "user", "content": "one " * 5000}]
    for streams in (False, True):
        reply = ask(endless, messages=messages, stream=streams)
        assert reply.status_code == 400
        assert "the model takes 4095" in reply.json()["detail"]["msg"]


def test_an_answer_ends_where_the_model_does(running, llm_dir):
    with running(
        PIPELINE="llm", MODEL_ID="tiny/endless", MODEL_DIR=str(llm_dir), MAX_MODEL_LEN="40"
    ) as runner:
        runner.wait("OK")
        usage = ask(runner, max_tokens=10**9).json()["usage"]
        assert usage["total_tokens"] == 40


def test_a_client_that_leaves_frees_the_model(endless):
    body = ASK | {"stream": True, "max_tokens": 4000}
    url = endless.url("/llm")
    for _ in range(3):
        with httpx.stream("POST", url, json=body, timeout=60) as response:
            next(response.iter_lines())
    started = time.monotonic()
    assert ask(endless, max_tokens=1).status_code == 200
    assert time.monotonic() - started < 5


def test_one_stream_at_a_time(endless):
    body = ASK | {"stream": True, "max_tokens": 4000}
    second = []

    def wait():
        second.append(httpx.post(endless.url("/llm"), json=ASK | {"max_tokens": 1}, timeout=60))

    with httpx.stream("POST", endless.url("/llm"), json=body, timeout=60) as first:
        lines = first.iter_lines()
        next(lines)
        waiting = threading.Thread(target=wait)
        waiting.start()
        for _ in range(50):
            next(lines)
        assert not second, "the model is taken"
    waiting.join(30)
    assert second[0].status_code == 200


def test_sigterm_ends_a_stream(running, llm_dir):
    with running(PIPELINE="llm", MODEL_ID="tiny/endless", MODEL_DIR=str(llm_dir)) as runner:
        runner.wait("OK")
        body = ASK | {"stream": True, "max_tokens": 4000}
        with httpx.stream("POST", runner.url("/llm"), json=body, timeout=60) as response:
            next(response.iter_lines())
            code, seconds = runner.stop()
    assert code == 0
    assert seconds < 2


@pytest.mark.parametrize(
    ("body", "where", "kind"),
    [
        ({}, ["body", "messages"], "missing"),
        ({"messages": "hello"}, ["body", "messages"], "list_type"),
        ({"messages": [{"role": "user"}]}, ["body", "messages", 0, "content"], "missing"),
        (
            {"messages": [{"role": "robot", "content": ""}]},
            ["body", "messages", 0, "role"],
            "literal_error",
        ),
        (
            {"messages": [{"role": "user", "content": None}]},
            ["body", "messages", 0, "content"],
            "string_type",
        ),
        (ASK | {"max_tokens": None}, ["body", "max_tokens"], "int_type"),
        (ASK | {"max_tokens": -1}, ["body", "max_tokens"], "greater_than_equal"),
        (ASK | {"max_tokens": 1.5}, ["body", "max_tokens"], "int_from_float"),
        (ASK | {"max_tokens": "many"}, ["body", "max_tokens"], "int_parsing"),
        (ASK | {"temperature": 2.1}, ["body", "temperature"], "less_than_equal"),
        (ASK | {"top_p": -0.1}, ["body", "top_p"], "greater_than_equal"),
        (ASK | {"stream": "perhaps"}, ["body", "stream"], "bool_parsing"),
    ],
)
def test_malformed_fields_are_refused(reciter, body, where, kind):
    reply = reciter.client.post("/llm", json=body)
    assert reply.status_code == 422
    detail = reply.json()["detail"][0]
    assert (detail["loc"], detail["type"]) == (where, kind)


def test_another_model_is_refused(reciter):
    reply = ask(reciter, model="tiny/other")
    assert reply.status_code == 400
    text = "pipeline configured with tiny/reciter but called with tiny/other."
    assert reply.json() == {"detail": {"msg": text}}


def test_a_template_that_fails_is_the_model_s_fault(running, llm_dir, tmp_path):
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    for path in (llm_dir / "tiny" / "reciter").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no') }}")
    with running(PIPELINE="llm", MODEL_ID="tiny", MODEL_DIR=str(tmp_path / "models")) as runner:
        assert runner.wait("OK", "ERROR") == "OK"
        for streams in (False, True):
            reply = ask(runner, stream=streams)
            assert reply.status_code == 500
            text = "Internal server error during LLM processing."
            assert reply.json() == {"detail": {"msg": text}}


def test_the_token_is_asked_for(running, llm_dir):
    with running(
        PIPELINE="llm", MODEL_ID="tiny/reciter", MODEL_DIR=str(llm_dir), AUTH_TOKEN="abc"
    ) as runner:
        runner.wait("OK")
        reply = ask(runner)
        assert reply.status_code == 401
        assert reply.json() == {"detail": {"msg": "Invalid bearer token"}}, "no dot here"
        assert runner.client.post("/v1/chat/completions", json=ASK).status_code == 401
        assert runner.client.get("/v1/models").status_code == 401
        reply = runner.client.post("/llm", json=ASK, headers={"authorization": "Bearer abc"})
        assert reply.status_code == 200
