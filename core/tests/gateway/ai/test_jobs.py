"""AI jobs from a real client to a scripted orchestrator over TLS, HTTP/2 and gRPC."""

import asyncio
import json
from base64 import b64encode
from fractions import Fraction

import pytest
from podium.crypto import NoSigner
from podium.testing.gateway.ai import (
    MediaLost,
    NobodyAnswered,
    RequestRefused,
    StreamCut,
    Upload,
)
from podium.testing.gateway.ai.events import text_of
from podium.testing.gateway.errors import InputError
from podium.testing.gateway.tickets import ALWAYS, Caps

from .conftest import EV, Reply

TICKET = Fraction(5 * EV * (ALWAYS // 5), ALWAYS)
SEE = ("image-to-text", "acme/see", {"prompt": "what?"})
FEE = 96 * 64 * 3


async def see(gateway, png, **more):
    return await gateway.run(*SEE, Upload("in.png", png), **more)


def event(**changes):
    said = {"index": 0, "delta": {"content": "hi "}, "finish_reason": ""} | changes
    return b"data: " + json.dumps({"choices": [said]}).encode() + b"\n\n"


LAST = event(finish_reason="stop", delta={"content": ""})


async def test_a_paid_job(orchestrators, sender, png):
    node = await orchestrators()
    async with sender(node) as gateway:
        first, second = [await see(gateway, png) for _ in range(2)]
        ((key, account),) = gateway.accounts
    assert (first.status, first.json, first.attempts) == (200, {"text": "hello"}, 1)
    assert (first.units, first.unit, first.fee_wei) == (96 * 64, "pixel", FEE)
    assert first.orchestrator == node.uri
    assert (first.tickets, second.tickets) == (19, 18)
    assert [len(seen.payment.ticket_sender_params) for seen in node.seen] == [19, 18]
    assert node.seen[1].payment.ticket_sender_params[0].sender_nonce == 20
    assert node.seen[0].headers["authorization"] == "Livepeer-AI-Worker-1.0"
    assert node.seen[0].segdata.manifestId == b"34_acme/see"
    assert key == "34_acme/see"
    assert account.credited == 37 * TICKET
    assert account.debited == 2 * FEE
    assert account.balance == account.credited - account.debited
    assert node.asked == 1


async def test_off_chain_the_payment_header_is_empty(orchestrators, sender, png):
    node = await orchestrators(paid=False)
    async with sender(node, signer=NoSigner()) as gateway:
        result = await see(gateway, png)
    assert (result.fee_wei, result.tickets) == (0, 0)
    assert node.seen[0].headers["livepeer-payment"] == ""


async def test_concurrent_jobs_never_stake_the_same_credit(orchestrators, sender, png):
    node = await orchestrators()
    async with sender(node) as gateway:
        results = await asyncio.gather(*(see(gateway, png) for _ in range(20)))
        ((_, account),) = gateway.accounts
    nonces = [t.sender_nonce for s in node.seen for t in s.payment.ticket_sender_params]
    assert len(nonces) == len(set(nonces)) == sum(result.tickets for result in results)
    assert account.credited == len(nonces) * TICKET
    assert account.debited == 20 * FEE
    assert account.balance == account.credited - account.debited >= 0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"models": {34: {"acme/other": True}}}, "cannot do this job"),
        ({"models": {33: {"acme/see": True}}}, "does not serve this model"),
        ({"bits": (34,)}, "cannot do this job"),
        ({"price": 11}, "its price of 11 wei per pixel is over the limit of 10"),
    ],
)
async def test_who_will_not_do_is_told(orchestrators, sender, png, settings, says):
    node = await orchestrators(**settings)
    async with sender(node, caps=Caps(max_price=Fraction(10))) as gateway:
        with pytest.raises(NobodyAnswered, match=says) as caught:
            await see(gateway, png)
    assert caught.value.attempts == 0
    assert node.seen == []


async def test_nothing_listens(sender, orchestrators, png):
    node = await orchestrators()
    node.port = 1
    async with sender(node) as gateway:
        with pytest.raises(NobodyAnswered, match="nothing listens on"):
            await see(gateway, png)


async def test_a_fault_of_the_request_ends_after_one_try(orchestrators, sender, png):
    text = b"image-to-text container returned 400: Prompt must be provided.\n"
    node = await orchestrators(replies=[Reply(500, text, "text/plain")])
    async with sender(node) as gateway:
        with pytest.raises(RequestRefused, match=r"^Prompt must be provided\.$") as caught:
            await see(gateway, png)
        ((_, account),) = gateway.accounts
    assert (caught.value.status, caught.value.attempts, len(node.seen)) == (400, 1, 1)
    assert (account.credited, account.debited) == (0, 0)
    assert account.unconfirmed == 19 * TICKET


async def test_another_failure_is_tried_twenty_times_with_new_terms_each(
    orchestrators, sender, png
):
    node = await orchestrators(replies=[Reply(500, b"container is gone", "text/plain")])
    async with sender(node, retry_window_s=60) as gateway:
        with pytest.raises(NobodyAnswered, match=r"20 attempts failed: .*container is gone"):
            await see(gateway, png)
    assert (len(node.seen), node.asked) == (20, 20)


async def test_no_capacity_is_tried_twenty_times_without_new_terms(orchestrators, sender, png):
    node = await orchestrators(replies=[Reply(503, b"insufficient capacity", "text/plain")])
    async with sender(node, retry_window_s=60) as gateway:
        with pytest.raises(NobodyAnswered, match="insufficient capacity"):
            await see(gateway, png)
    assert (len(node.seen), node.asked) == (20, 1)


async def test_no_try_begins_after_the_window(orchestrators, sender, png):
    node = await orchestrators(replies=[Reply(500, b"broken", "text/plain")])
    async with sender(node, retry_window_s=0) as gateway:
        with pytest.raises(NobodyAnswered, match="1 attempt failed"):
            await see(gateway, png)
    assert len(node.seen) == 1


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (b"TicketParams expired", 2),
        (b"invalid ticket senderNonce: too many values", 2),
        (b"insufficient capacity", 1),
    ],
)
async def test_a_refusal_that_passes(orchestrators, sender, png, text, asked):
    node = await orchestrators(replies=[Reply(400, text, "text/plain"), Reply()])
    async with sender(node) as gateway:
        result = await see(gateway, png)
    assert (result.attempts, node.asked) == (2, asked)


async def test_the_next_orchestrator_is_tried_and_the_bad_one_left_out(orchestrators, sender, png):
    good = await orchestrators(models={34: {"acme/see": False}})
    bad = await orchestrators(replies=[Reply(500, b"broken", "text/plain")])
    async with sender(bad, good) as gateway:
        first, second = [await see(gateway, png) for _ in range(2)]
    assert (first.attempts, first.orchestrator) == (2, good.uri), "warm before cold"
    assert (second.attempts, second.orchestrator) == (1, good.uri)
    assert len(bad.seen) == 1


async def test_terms_are_refreshed_before_they_expire(orchestrators, sender, png):
    node = await orchestrators(life_blocks=3)
    async with sender(node) as gateway:
        await see(gateway, png)
        node.life_blocks = 40
        node_info = next(iter(gateway._pools.values())).sessions[0].info
        node_info.ticket_params.expiration_block = (1).to_bytes(1, "big")
        await see(gateway, png)
        accounts = gateway.accounts
    assert node.asked == 2
    assert [account.session_id for _, account in accounts] == ["s1", "s2"]


async def test_images_inside_the_answer_and_by_url(orchestrators, sender, png):
    node = await orchestrators(models={27: {"acme/draw": True}}, price=0)
    inside = "data:image/png;base64," + b64encode(png).decode()
    node.files["/stream/1/two.png"] = b"second"
    answer = {"images": [{"url": inside}, {"url": f"{node.uri}/stream/1/two.png"}]}
    node.replies = [Reply(body=json.dumps(answer).encode())]
    async with sender(node) as gateway:
        result = await gateway.run("text-to-image", "acme/draw", {"prompt": "a cat"})
    assert [(media.suffix, media.data) for media in result.media] == [
        (".png", png),
        (".png", b"second"),
    ]


@pytest.mark.parametrize(
    ("pipeline", "capability", "answer"),
    [
        ("text-to-image", 27, {"images": [{"url": "data:image/png;base64,bm8="}]}),
        ("text-to-image", 27, {"images": []}),
        ("text-to-image", 27, {"images": [{"url": "data:image/png;base64,bm8="}] * 65}),
        ("text-to-image", 27, {"images": None}),
        ("text-to-speech", 36, {"audio": {"url": "/relative.wav"}}),
        ("text-to-speech", 36, {"audio": {"url": "data:audio/wav;base64,!"}}),
        ("text-to-speech", 36, {}),
    ],
)
async def test_media_that_cannot_be_had(orchestrators, sender, pipeline, capability, answer):
    node = await orchestrators(models={capability: {"acme/m": True}})
    node.replies = [Reply(body=json.dumps(answer).encode())]
    async with sender(node) as gateway:
        with pytest.raises(MediaLost):
            await gateway.run(pipeline, "acme/m", {"text": "hi", "height": 8, "width": 8})
        ((_, account),) = gateway.accounts
    assert account.debited > 0, "the job was done, and is paid for"


async def test_a_video_is_taken_by_url_only(orchestrators, sender, png):
    node = await orchestrators(models={29: {"acme/film": True}}, price=0)
    node.files["/stream/1/a.mp4"] = b"film"
    good = {"images": [{"url": f"{node.uri}/stream/1/a.mp4"}]}
    inside = {"images": [{"url": "data:video/mp4;base64,bm8="}]}
    node.replies = [Reply(body=json.dumps(each).encode()) for each in (good, inside)]
    async with sender(node) as gateway:
        upload = Upload("in.png", png)
        result = await gateway.run("image-to-video", "acme/film", {}, upload)
        assert (result.media[0].suffix, result.media[0].data) == (".mp4", b"film")
        with pytest.raises(MediaLost):
            await gateway.run("image-to-video", "acme/film", {}, upload)


async def test_a_stream_is_passed_on_as_it_comes(orchestrators, sender):
    heard = []
    pieces = (event(), b": comment\n\ndata: junk\n\n", event()[:9], event()[9:], LAST)
    node = await orchestrators(replies=[Reply(200, b"", "text/event-stream", pieces)])
    async with sender(node) as gateway:
        result = await gateway.run(
            "llm",
            "acme/llm",
            {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 7},
            stream=True,
            on_event=heard.append,
        )
    assert json.loads(node.seen[0].body)["stream"] is True
    assert len(heard) == len(result.json) == 3
    assert result.fee_wei == 21
    assert 0 < result.first_s <= result.seconds


@pytest.mark.parametrize(
    ("pieces", "cut", "error", "tries"),
    [
        ((event(),), True, StreamCut, 1),
        ((event(),), False, StreamCut, 1),
        ((event(), b'data: {"error":"out of memory"}\n\n'), False, StreamCut, 1),
        ((b'data: {"error":"out of memory"}\n\n',), False, NobodyAnswered, 20),
        ((b"data: " + b"x" * 70_000,), False, NobodyAnswered, 20),
    ],
)
async def test_a_stream_that_breaks(orchestrators, sender, pieces, cut, error, tries):
    broken = Reply(200, b"", "text/event-stream", pieces, cut=cut)
    node = await orchestrators(replies=[broken])
    async with sender(node, retry_window_s=60) as gateway:
        with pytest.raises(error):
            await gateway.run("llm", "acme/llm", {"messages": [], "max_tokens": 1}, stream=True)
        unsettled = sum(account.unsettled for _, account in gateway.accounts)
    assert len(node.seen) == unsettled == tries


@pytest.mark.parametrize("body", [b"<html>", b"[" * 100_000, b"\xff"])
async def test_an_answer_that_is_no_json_is_tried_again(orchestrators, sender, png, body):
    node = await orchestrators(replies=[Reply(body=body), Reply()])
    async with sender(node) as gateway:
        assert (await see(gateway, png)).attempts == 2


async def test_a_cancelled_job_closes_its_connection_and_counts_its_tickets_as_sent(
    orchestrators, sender, png
):
    gate = asyncio.Event()
    node = await orchestrators(replies=[Reply(gate=gate), Reply()])
    async with sender(node) as gateway:
        task = asyncio.create_task(see(gateway, png))
        await asyncio.wait_for(node.arrived.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.set()
        assert (await see(gateway, png)).attempts == 1
        ((_, account),) = gateway.accounts
    assert account.unconfirmed == 19 * TICKET


async def test_a_slow_answer_is_given_up(orchestrators, sender, png):
    gate = asyncio.Event()
    node = await orchestrators(replies=[Reply(gate=gate)])
    async with sender(node, timeout_s=0.1, retry_window_s=0) as gateway:
        with pytest.raises(NobodyAnswered, match=r"no answer within 0\.1 s"):
            await see(gateway, png)
    gate.set()


async def test_what_no_gateway_would_send_is_not_sent(orchestrators, sender):
    node = await orchestrators()
    async with sender(node) as gateway:
        with pytest.raises(InputError):
            await gateway.run("image-to-text", "acme/see", {}, Upload("x", b"no image"))
    assert (node.asked, node.seen) == (0, [])


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ({}, ""),
        ({"choices": []}, ""),
        ({"choices": {}}, ""),
        ({"choices": ["x"]}, ""),
        ({"choices": [{"delta": "x"}]}, ""),
        ({"choices": [{"delta": None, "message": {"content": "hi"}}]}, "hi"),
    ],
)
def test_odd_events_say_nothing(event, text):
    assert text_of(event) == text
