"""Every recorded AI job, from the gateway's request to what the runner got, and back."""

import base64
import io
import json

import av
import httpx
import pytest

TOKEN = "the token's secret is not known: our node issued the token"
NAMES = (
    "job-audio-to-text", "job-image-to-image", "job-image-to-text", "job-image-to-video",
    "job-llm", "job-llm-max_tokens-0", "job-llm-stream", "job-segment-anything-2",
    "job-text-to-image", "job-text-to-image-two", "job-text-to-speech", "job-upscale",
)  # fmt: skip


def test_every_recorded_job_is_here(ai_kit):
    assert set(ai_kit.jobs()) == set(NAMES)


def url_view(kit, node, url):
    """What a result's URL is: in place, or hosted by the node and fetched from there."""
    if url.startswith("data:"):
        head, _, data = url.partition(",")
        assert base64.b64decode(data, validate=True)
        return {"kind": "data", "type": head}
    if node is None or not url.startswith(node.app.uri):
        return {"kind": "hosted", "type": url.rpartition(".")[2]}
    path = url.removeprefix(node.app.uri)
    answer = kit.over_h1(node.port, "GET", path)
    assert answer.status == 200
    assert answer.header("content-type") == "video/mp4"
    assert answer.header("access-control-allow-origin") == "*"
    assert int(answer.header("content-length")) == len(answer.body)
    with av.open(io.BytesIO(answer.body)) as video:
        frames = sum(1 for _ in video.decode(video=0))
        stream = video.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height, frames) == (
            "h264",
            64,
            64,
            8,
        )
    return {"kind": "hosted", "type": path.rpartition(".")[2]}


def result_view(kit, node, text):
    result = json.loads(text)
    for image in [*result.get("images", []), *([result["audio"]] if "audio" in result else [])]:
        image["url"] = url_view(kit, node, image["url"])
    return result


def events_view(text):
    lines = text.split("\n\n")
    assert lines.pop() == ""
    assert all(line.startswith("data: ") for line in lines)
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def view(kit, node, response, body):
    kind = dict((k.lower(), v) for k, v in response["headers"])["content-type"]
    text = body.decode()
    return {
        "status": response["status"],
        "headers": kit.named(response["headers"], len(body)),
        "result": events_view(text)
        if kind == "text/event-stream"
        else result_view(kit, node, text),
    }


def recorded_view(kit, response):
    chunks = response.get("chunks") or [response["body"]]
    return view(kit, None, response, b"".join(chunk["text"].encode() for chunk in chunks))


def recorded_received(ai_kit, request):
    headers = dict(request["headers"])
    seen = ai_kit.received_view(request["path"], headers, ai_kit.body_of(request["body"]))
    return seen


WHY_DATA = "images and speech come back in place, as gateways accept them, not as files to fetch"


def explanations(name):
    """Where our answer is meant to differ."""
    if name in ("job-image-to-image", "job-text-to-image", "job-upscale", "job-text-to-image-two"):
        images = 2 if name.endswith("two") else 1
        found = {}
        for index in range(images):
            found[f"result.images[{index}].url.kind"] = "data"
            found[f"result.images[{index}].url.type"] = "data:image/png;base64"
        yield found, WHY_DATA
    if name == "job-text-to-speech":
        url = {"result.audio.url.kind": "data", "result.audio.url.type": "data:audio/wav;base64"}
        yield url, WHY_DATA


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_job(kit, ai_kit, ai_node, tally, name):
    job = ai_kit.jobs()[name]
    exchange = job["gateway_to_orchestrator"]["job"][0]
    request = exchange["request"]
    token = ai_node.discover(kit).auth_token
    headers = [
        (key, ai_kit.credentials(value, token) if key == "livepeer-segment" else value)
        for key, value in request["headers"]
    ]
    before = len(ai_node.runner.requests)
    with kit.OverH2(ai_node.port) as client:
        answer = client.request("POST", request["path"], headers, ai_kit.body_of(request["body"]))
    response = {"status": answer.status, "headers": answer.headers}
    ours = view(kit, ai_node, response, answer.body)
    ((path, received, raw),) = ai_node.runner.requests[before:]
    ours["received"] = ai_kit.received_view(path, received, raw)
    recorded = recorded_view(kit, exchange["response"])
    recorded["received"] = recorded_received(ai_kit, job["orchestrator_to_runner"][0]["request"])
    found = kit.differences(recorded, ours)
    tally.judge((name, 0), found, *explanations(name), remade=TOKEN)


@pytest.mark.parametrize("over", ["h1", "h2"])
def test_the_first_event_leaves_before_the_next_one_is_there(kit, ai_kit, ai_node, over):
    request = ai_kit.jobs()["job-llm-stream"]["gateway_to_orchestrator"]["job"][0]["request"]
    token = ai_node.discover(kit).auth_token
    credentials = ai_kit.credentials(dict(request["headers"])["livepeer-segment"], token)
    body = ai_kit.body_of(request["body"]).replace(b"a cat", b"mode=gated")
    headers = {
        "livepeer-segment": credentials,
        "livepeer-payment": "",
        "content-type": "application/json",
    }
    runner = ai_node.runner
    runner.gate.clear()
    client = httpx.Client(
        verify=False, http1=over == "h1", http2=over == "h2", trust_env=False, timeout=20
    )
    uri = f"https://127.0.0.1:{ai_node.port}/llm"
    with client, client.stream("POST", uri, headers=headers, content=body) as reply:
        lines = reply.iter_lines()
        first = json.loads(next(lines).removeprefix("data: "))
        assert not runner.gate.is_set()
        runner.gate.set()
        rest = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    said = [event["choices"][0]["delta"]["content"] for event in (first, *rest)]
    assert said == ["tok0 ", "tok1 ", "tok2 ", "tok3 ", "tok4 ", ""]
