"""Answers: what is forwarded, how large ones pass through, and where videos are fetched."""

import asyncio
import base64
import io
import json
import os

import av
import pytest
from podium_ai_runner.hosting import KEPT_S, PATH, NoRoom, Results
from podium_hookspecs import Job, JobFailed, Result

MIB = 2**20


def parts_of(kit, raw, content_type):
    """A form's parts as a receiver reads them, by an independent reader."""
    from email.parser import BytesParser

    message = BytesParser().parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + raw)
    return [
        (p.get_param("name", header="content-disposition"), p.get_filename(),
         p.get_content_type(), p.get_payload(decode=True))
        for p in message.get_payload()
    ]  # fmt: skip


async def test_a_form_is_forwarded_as_gateways_write_it(host, runner, kit):
    runner.answers(kit.ANSWERS["image-to-image"])
    content_type, raw = kit.form(
        file=("image", 'odd \\" näme.png', kit.png()),
        safety_check="T",
        seed="+42",
        strength="0.8",
        guidance_scale="7",
        model_id="acme/image-to-image",
        prompt="ein Bär\r\n--",
        unknown="dropped",
    )
    await host.run("image-to-image", raw, content_type)
    ((request, received),) = runner.requests
    assert int(request.headers["Content-Length"]) == len(received)
    parts = parts_of(kit, received, request.headers["Content-Type"])
    assert parts[0][0] == "image"
    assert parts[0][2:] == ("application/octet-stream", kit.png())
    assert {name: data.decode() for name, _, _, data in parts[1:]} == {
        "prompt": "ein Bär\r\n--",
        "model_id": "acme/image-to-image",
        "strength": "0.800000",
        "guidance_scale": "7.000000",
        "safety_check": "true",
        "seed": "42",
    }


async def test_a_file_name_cannot_break_out_of_its_header(host, runner, kit):
    runner.answers(kit.ANSWERS["upscale"])
    content_type, raw = kit.form(file=("image", 'a\\"\r\rX: y', kit.png()), model_id="m")
    await host.run("upscale", raw, content_type)
    ((request, received),) = runner.requests
    assert [p[0] for p in parts_of(kit, received, request.headers["Content-Type"])] == [
        "image",
        "prompt",
        "model_id",
    ]


@pytest.mark.parametrize("size", [3 * MIB + 17, 20 * MIB])
async def test_a_large_file_is_forwarded_whole(host, runner, kit, size):
    runner.answers(kit.ANSWERS["upscale"])
    file = kit.png() + os.urandom(size)
    content_type, raw = kit.form(file=("image", "a.png", file), model_id="m", prompt="x")
    await host.run("upscale", raw, content_type)
    ((request, received),) = runner.requests
    assert file in received
    assert int(request.headers["Content-Length"]) == len(received)


async def test_json_is_forwarded_without_what_is_unknown(host, runner, kit):
    runner.answers(kit.ANSWERS["text-to-image"])
    request = {**kit.REQUESTS["text-to-image"], "guidance_scale": 7.5, "seed": None, "what": 1}
    await host.run("text-to-image", request)
    ((_, received),) = runner.requests
    assert json.loads(received) == {**kit.REQUESTS["text-to-image"], "guidance_scale": 7.5}


def large_answer(kit, image_bytes):
    noise = kit.png() + os.urandom(image_bytes)
    image = {"url": kit.data_url(noise), "seed": 1, "nsfw": False}
    return json.dumps({"images": [image, image]}).encode()


@pytest.mark.parametrize("image_bytes", [MIB, 30 * MIB])
async def test_a_large_answer_passes_through(host, runner, kit, image_bytes):
    answer = large_answer(kit, image_bytes)
    runner.answers(body=answer)
    runner.reply.body = answer
    job = await host.job(*kit.good_request("text-to-image"))
    sizes, received = [], b""
    async for output in host.pipeline("text-to-image").run(job, host.worker, host.meter):
        if isinstance(output, Result):
            continue
        received += output.data
        sizes.append(len(output.data))
        assert bool(host.meter.added) == (len(received) == len(answer)), "paid before the last"
    assert received == answer
    assert max(sizes) <= 2 * MIB
    assert host.meter.amount == 512 * 512


@pytest.mark.parametrize(
    "answer",
    [
        b'{"images": [{"seed": 1, "nsfw": false, "url": "data:image/png;base64,',
        b' {"images":[ {"nsfw" : true,"url":"data:image/jpeg;base64,',
    ],
)
async def test_large_answers_may_begin_in_any_order(host, runner, kit, answer):
    runner.answers()
    runner.reply.body = answer + b"A" * 2 * MIB + b'"}]}'
    assert (await host.run(*kit.good_request("text-to-image"))).data == runner.reply.body


@pytest.mark.parametrize(
    "answer",
    [
        b'{"images": null, "x": "' + b"A" * 2 * MIB + b'"}',
        b'{"images": [{"url": "http://127.0.0.1/' + b"A" * 2 * MIB + b'"}]}',
        b"A" * 2 * MIB,
        b'{"images": [{"url": "data:image/png;base64,' + b"A" * 2 * MIB,
    ],
)
async def test_large_nonsense_is_not_paid(host, runner, kit, answer):
    runner.answers()
    runner.reply.body = answer
    with pytest.raises(JobFailed, match="container returned 200: "):
        await host.run(*kit.good_request("text-to-image"))
    assert not host.meter.added


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("text-to-image", {"images": [{"url": "http://127.0.0.1/x.png"}]}),
        ("text-to-image", {"images": [{"url": "data:image/png;base64,AAAA"}]}),
        ("text-to-image", {"images": [None]}),
        ("text-to-image", [1]),
        ("text-to-speech", {"audio": {"url": "data:audio/wav;base64,"}}),
        ("text-to-speech", {"audio": None}),
        ("image-to-text", {"text": None}),
        ("audio-to-text", {"text": "x", "chunks": 5}),
        ("segment-anything-2", {"masks": [], "scores": "", "logits": ""}),
        ("llm", {"choices": [{"index": 0}]}),
        ("image-to-video", {"frames": 7}),
        ("image-to-video", {"frames": [[]]}),
        ("image-to-video", {"frames": [[{"url": "data:image/png;base64,AAAA"}]]}),
        ("image-to-video", {"frames": [[{"url": "http://127.0.0.1/"}]]}),
        ("image-to-video", [1]),
    ],
)
async def test_nonsense_is_not_paid(host, runner, kit, name, answer):
    runner.answers(answer)
    with pytest.raises(JobFailed) as failure:
        await host.run(*kit.good_request(name))
    assert failure.value.public
    assert not host.meter.added


# ---------------------------------------------------------------- videos


class Fetched:
    """What an ASGI application answers."""

    def __init__(self):
        self.status, self.headers, self.body = None, {}, b""

    async def send(self, message):
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode().lower(): v.decode() for k, v in message["headers"]}
        else:
            self.body += message.get("body", b"")


async def fetch(app, path, method="GET", **headers):
    fetched = Fetched()
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        "extensions": {},
    }

    async def receive():
        await asyncio.Event().wait()

    await app(scope, receive, fetched.send)
    return fetched


async def test_frames_become_a_video_that_can_be_fetched(host, runner, kit):
    runner.answers(kit.ANSWERS["image-to-video"])
    content_type, raw = kit.form(
        file=("image", "a.png", kit.png()), model_id="m", width="64", height="48", fps="5"
    )
    done = await host.run("image-to-video", raw, content_type)
    (image,) = done.json["images"]
    assert (image["seed"], image["nsfw"]) == (7, False)
    base, _, name = image["url"].rpartition("/")
    assert base == f"https://node.test:8935{PATH}"
    results = host.state.parts.results
    fetched = await fetch(results, f"{PATH}/{name}")
    assert fetched.status == 200
    assert fetched.headers["content-type"] == "video/mp4"
    assert fetched.headers["access-control-allow-origin"] == "*"
    assert int(fetched.headers["content-length"]) == len(fetched.body)
    with av.open(io.BytesIO(fetched.body)) as video:
        stream = video.streams.video[0]
        frames = list(video.decode(stream))
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 64, 48)
        assert (len(frames), stream.average_rate) == (5, 5)
    assert (await fetch(results, f"{PATH}/{name}", range="bytes=0-3")).body == fetched.body[:4]
    assert (await fetch(results, f"{PATH}/{name}", "HEAD")).body == b""
    assert (await fetch(results, f"{PATH}/{name}", "POST")).status == 405
    assert (await fetch(results, f"{PATH}/{'0' * 32}.mp4")).status == 404
    assert (await fetch(results, f"{PATH}/../creator")).status == 404
    assert host.meter.amount == 64 * 48 * 25
    assert [path.name for path in results.folder.iterdir()] == [name]


async def test_results_go_when_they_are_old_and_never_exceed_their_share(tmp_path):
    now = [0.0]
    results = Results(tmp_path / "r", "https://n", 1000, lambda: now[0])

    def publish(size):
        draft = results.draft(".mp4")
        draft.write_bytes(bytes(size))
        return results.publish(draft).removeprefix("https://n")

    first = publish(600)
    assert (await fetch(results, first)).status == 200
    with pytest.raises(NoRoom):
        publish(500)
    now[0] = KEPT_S + 1
    assert (await fetch(results, first)).status == 404
    second = publish(500)
    assert (await fetch(results, second)).status == 200
    assert results.used_bytes == 500
    Results(tmp_path / "r", "https://n", 1000)
    assert not list((tmp_path / "r").iterdir()), "cleaned at the start"


async def test_no_room_for_a_video_is_not_paid(make_host, runner, kit):
    async with make_host() as host:
        host.state.parts.results.limit_bytes = 10
        runner.answers(kit.ANSWERS["image-to-video"])
        with pytest.raises(NoRoom):
            await host.run(*kit.good_request("image-to-video"))
        assert not host.meter.added
        assert not list(host.state.parts.results.folder.iterdir())


async def test_audio_may_be_of_any_kind(host, runner, kit):
    runner.answers({"audio": {"url": "data:audio/mpeg;base64," + base64.b64encode(b"x").decode()}})
    assert (await host.run(*kit.good_request("text-to-speech"))).json["audio"]


async def test_connections_are_used_again(host, runner, kit):
    runner.answers(kit.ANSWERS["text-to-image"])
    for _ in range(5):
        await host.run(*kit.good_request("text-to-image"))
    assert len({id(request.transport) for request, _ in runner.requests}) == 1


def test_a_job_is_data(kit):
    assert Job.__attrs_attrs__
