"""What a runner may answer wrongly, and what the peer is told: as recorded, or why not."""

import contextlib
import json
import socket
from pathlib import Path

import pytest
from attrs import evolve
from podium_hookspecs import JobFailed, JobTimeout, WorkerLost

RECORDED = json.loads((Path(__file__).parent / "data/runner-refusals.json").read_text())
TOLD = {
    **RECORDED["told"],
    "429": {"status": 429, "content_type": "application/json", "body": '{"detail":"slow down"}'},
    "badurl": {
        "status": 200,
        "content_type": "application/json",
        "body": '{"images":[{"url":"data:image/png;base64,!!!!","seed":1,"nsfw":false}]}',
    },
    "noimages": {"status": 200, "content_type": "application/json", "body": '{"images":[]}'},
    "two-batches": {
        "status": 200,
        "content_type": "application/json",
        "body": '{"frames":[[{"url":"x"}],[{"url":"x"}]]}',
    },
}
GOOD = ("slow-3", "two-images")

NOT_FOUND = '{"detail":"Not Found"}'
STANDING = {
    # The reference crashes, or answers 200 with null: every capacity unit counts.
    "404/text-to-image": f"text-to-image container returned 404: {NOT_FOUND}",
    "503/text-to-image": 'text-to-image container returned 503: {"detail":{"msg":"busy"}}',
    "429/text-to-image": 'text-to-image container returned 429: {"detail":"slow down"}',
    "html/text-to-image": "text-to-image container returned 200: <html>hello</html>",
    "500text/text-to-image": "text-to-image container returned 500: Internal Server Error",
    "400text/text-to-image": "text-to-image container returned 400: bad",
    "404/llm": f"LLM container returned 404: {NOT_FOUND}",
    # Nothing was made, so nothing may be charged.
    "emptyobj/text-to-image": "text-to-image container returned 200: no images",
    "emptyobj/image-to-image": "image-to-image container returned 200: no images",
    "emptyobj/upscale": "upscale container returned 200: no images",
    "emptyobj/llm": "LLM container returned 200: no choices",
    "emptyobj/image-to-text": "image-to-text container returned 200: no text",
    "emptyobj/audio-to-text": "audio-to-text container returned 200: no text",
    "emptyobj/segment-anything-2": "segment anything 2 container returned 200: "
    "no masks, scores and logits",
    "noimages/text-to-image": "text-to-image container returned 200: no images",
    # Go's own words for what it cannot read; nobody looks for them.
    "wrongtypes/text-to-image": "text-to-image container returned 200: no images",
    "badurl/text-to-image": "text-to-image container returned 200: a url that is no base64",
    # A stream's refusal keeps its status and reason, so that "returned 400" ends the retries.
    "400/llm-stream": "LLM container returned 400: Prompt must be provided.",
    "401/llm-stream": "LLM container returned 401: Invalid bearer token.",
    "500/llm-stream": "LLM container returned 500: "
    "Out of memory error. Try reducing output image resolution.",
    "404/llm-stream": f"LLM container returned 404: {NOT_FOUND}",
    "garbage/llm-stream": "LLM container returned 200: this is not json",
}
for _status in ("413", "415"):
    _body = TOLD[_status]["body"]
    for _name in ("image-to-image", "upscale", "segment-anything-2", "text-to-speech",
                  "image-to-video", "image-to-text"):  # fmt: skip
        _label = _name if _name != "segment-anything-2" else "segment anything 2"
        STANDING[f"{_status}/{_name}"] = f"{_label} container returned {_status}: {_body}"
del STANDING["413/image-to-text"]
for _name in ("llm", "llm-stream"):
    STANDING[f"422/{_name}"] = f"LLM container returned 422: {TOLD['422']['body']}"
"""Where we differ from the recording, each with what we say."""

CASES = sorted(
    name.removeprefix("runner-")
    for name in RECORDED["seen"]
    if not name.removeprefix("runner-").startswith((*GOOD, "sse"))
)


def request_of(kit, name):
    if name == "llm-stream":
        return "llm", {**kit.REQUESTS["llm"], "stream": True}
    return kit.good_request(name)


@pytest.mark.parametrize("case", CASES)
async def test_a_refusal_reads_as_recorded(host, runner, kit, case):
    fault, _, name = case.partition("/")
    told = TOLD[fault]
    runner.answers(
        status=told["status"], content_type=told["content_type"], body=told["body"].encode()
    )
    seen = RECORDED["seen"][f"runner-{case}"]
    with pytest.raises(JobFailed) as failure:
        await host.run(*request_of(kit, name))
    same = seen["status"] == 500 and (seen["text"] or "").rstrip("\n") == failure.value.public
    assert (case not in STANDING) == same, (seen, failure.value.public)
    assert same or failure.value.public == STANDING[case]
    assert not host.meter.added


def test_no_standing_difference_is_dead():
    assert set(STANDING) <= set(CASES)


async def test_a_runner_that_hangs_up_is_lost(host, runner, kit):
    runner.answers(cut=True)
    with pytest.raises(WorkerLost) as lost:
        await host.run(*kit.good_request("text-to-image"))
    assert lost.value.public == f'Post "{runner.url}/text-to-image": EOF'
    assert not host.meter.added


async def test_a_runner_that_is_gone_is_lost(host, kit, unused_tcp_port):
    host.worker.endpoint = kit.Address(f"http://user:secret@127.0.0.1:{unused_tcp_port}")
    with pytest.raises(WorkerLost) as lost:
        await host.run(*kit.good_request("text-to-image"))
    where = f"127.0.0.1:{unused_tcp_port}"
    text = f'Post "http://{where}/text-to-image": dial tcp {where}: connect: connection refused'
    assert lost.value.public == text


async def test_an_answer_without_an_end_is_bounded(make_host, runner, kit):
    async with make_host(max_reply_mb=2) as host:
        start = json.dumps(kit.ANSWERS["text-to-image"]).encode()[:-4]
        runner.answers(pieces=[start, *[b"A" * 2**20] * 3])
        with pytest.raises(JobFailed, match=f"over {2 * 2**20} bytes"):
            await host.run(*kit.good_request("text-to-image"))
        assert not host.meter.added


async def test_a_silent_answer_is_bounded(make_host, runner, kit):
    async with make_host(idle_timeout_s=1.0) as host:
        runner.answers(pieces=[b'{"images"'], hang=True)
        with pytest.raises(JobTimeout) as late:
            await host.run(*kit.good_request("text-to-image"))
        assert late.value.public.endswith("context deadline exceeded")
        await runner.left.wait()


async def test_a_silent_runner_is_bounded_by_the_job(host, runner, kit):
    runner.answers(hang=True, pieces=[])
    with pytest.raises(JobTimeout):
        await host.run(*kit.good_request("text-to-image"), timeout_s=6.0)
    await runner.left.wait()
    assert not host.meter.added


@pytest.mark.parametrize("more", [b"", b"AAAA" * 2**19])
async def test_an_answer_that_breaks_off_is_not_paid(host, runner, kit, more):
    start = json.dumps(kit.ANSWERS["text-to-image"]).encode().rpartition(b'"')[0]
    runner.answers(pieces=[start[:90] + more], cut=True)
    with pytest.raises(JobFailed, match="broke off"):
        await host.run(*kit.good_request("text-to-image"))
    assert not host.meter.added


async def test_a_compressed_answer_is_refused(host, runner, kit):
    runner.answers(kit.ANSWERS["text-to-image"], headers={"Content-Encoding": "gzip"})
    with pytest.raises(JobFailed, match="compressed"):
        await host.run(*kit.good_request("text-to-image"))


async def test_redirects_are_not_followed(host, runner, kit):
    runner.answers(status=307, headers={"Location": "http://127.0.0.1:9/"})
    with pytest.raises(JobFailed, match="returned 307"):
        await host.run(*kit.good_request("text-to-image"))
    assert len(runner.requests) == 1


async def test_a_runner_that_takes_no_connection_is_lost(host, kit):
    with socket.socket() as deaf, contextlib.ExitStack() as waiting:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        for _ in range(2):  # what nobody accepts fills the queue
            full = waiting.enter_context(socket.socket())
            full.setblocking(False)
            full.connect_ex(("127.0.0.1", port))
        host.state.parts.client.limits = evolve(
            host.state.parts.client.limits, connect_timeout_s=0.3
        )
        host.worker.endpoint = kit.Address(f"http://127.0.0.1:{port}")
        with pytest.raises(WorkerLost) as lost:
            await host.run(*kit.good_request("text-to-image"))
    text = f'Post "http://127.0.0.1:{port}/text-to-image": dial tcp 127.0.0.1:{port}: i/o timeout'
    assert lost.value.public == text


async def test_after_the_close_nobody_is_called(host, runner, kit):
    await host.state.parts.close()
    await host.state.parts.close()
    with pytest.raises(WorkerLost):
        await host.run(*kit.good_request("text-to-image"))
    assert not runner.requests
