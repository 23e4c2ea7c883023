"""Events over HTTP: signed, in order, retried, bounded, flushed."""

import asyncio
import hashlib
import hmac
import json
import time

import pytest
from aiohttp import web
from podium.errors import ConfigInvalid
from podium_hookspecs import NodeStopping, RoundStarted
from podium_observers import pump

SECRET = "0123456789abcdef"


@pytest.fixture
async def told(serve, load, monkeypatch):
    """A server and a node that tells it what happens; waits between tries are short."""
    monkeypatch.setattr(pump, "FIRST_DELAY_S", 0.01)
    server = await serve()

    async def make(more=""):
        section = f"""
        [plugins.events-webhook]
        enabled = true
        url = "{server.url}"
        secret = "{SECRET}"
        {more if "delay_s" in more else "delay_s = 0"}
        {"" if "delay_s" in more else more}
        """
        return await load(section)

    make.server = server
    return make


def rounds(request):
    return [event["data"]["round_number"] for event in json.loads(request.body)["events"]]


async def test_a_delivery_is_signed_and_says_whose_it_is(told):
    node = await told()
    node.host.emit(RoundStarted(7, True))
    request = await told.server.next()
    assert request.method == "POST"
    body = json.loads(request.body)
    assert body["node"] == {
        "orchestrator": "0xOrch", "service_uri": "https://127.0.0.1:1", "version": "0.9.1"
    }  # fmt: skip
    (event,) = body["events"]
    assert (event["type"], event["data"]) == ("RoundStarted", {"round_number": 7, "active": True})
    timestamp = request.headers["podium-timestamp"]
    assert abs(int(timestamp) - time.time()) < 60
    signed = hmac.new(SECRET.encode(), timestamp.encode() + b"." + request.body, hashlib.sha256)
    assert request.headers["podium-signature"] == "sha256=" + signed.hexdigest()


async def test_events_come_in_order_and_none_twice(told):
    node = await told("batch = 3")
    for number in range(10):
        node.host.emit(RoundStarted(number, True))
    seen, ids = [], []
    while len(seen) < 10:
        request = await told.server.next()
        assert len(rounds(request)) <= 3
        seen += rounds(request)
        ids += [event["id"] for event in json.loads(request.body)["events"]]
    assert seen == list(range(10))
    assert len(set(ids)) == 10


async def test_a_server_that_fails_is_tried_again_with_the_same_events(told):
    node = await told()
    told.server.answers = [lambda: web.Response(status=503), lambda: web.Response(status=429)]
    node.host.emit(RoundStarted(1, True))
    tries = [await told.server.next() for _ in range(3)]
    assert len({json.loads(one.body)["events"][0]["id"] for one in tries}) == 1
    node.host.emit(RoundStarted(2, True))
    assert rounds(await told.server.next()) == [2]
    await node.host.close()
    assert b"podium_events_webhook_delivered_total 2" in node.page()
    assert b"podium_events_webhook_dropped_total{" not in node.page()


@pytest.mark.parametrize("status", [400, 404, 302])
async def test_a_refusal_that_would_come_again_is_final(told, status):
    node = await told()
    told.server.answers = [lambda: web.Response(status=status, headers={"Location": "/other"})]
    node.host.emit(RoundStarted(1, True))
    assert rounds(await told.server.next()) == [1]
    node.host.emit(RoundStarted(2, True))
    request = await told.server.next()
    assert (request.path, rounds(request)) == ("/hook", [2])
    assert b'podium_events_webhook_dropped_total{reason="refused"} 1' in node.page()
    (line,) = [line for line in node.log.lines if line.event == "events were lost"]
    assert line.facts == {
        "events": 1, "reason": "refused", "error": f"127.0.0.1 answered {status}"
    }  # fmt: skip


async def test_a_batch_is_given_up_after_its_tries(told):
    node = await told("attempts = 3")
    told.server.answers = [lambda: web.Response(status=500)] * 3
    node.host.emit(RoundStarted(1, True))
    for _ in range(3):
        assert rounds(await told.server.next()) == [1]
    node.host.emit(RoundStarted(2, True))
    assert rounds(await told.server.next()) == [2]
    assert b'podium_events_webhook_dropped_total{reason="refused"} 1' in node.page()


async def test_while_the_server_is_slow_the_oldest_are_dropped_and_counted(told):
    node = await told("queue = 5\nbatch = 1\ntimeout_s = 30")
    release = asyncio.Event()

    async def hold():
        await release.wait()
        return web.Response()

    told.server.answers = [hold]
    node.host.emit(RoundStarted(0, True))
    await told.server.next()
    for number in range(1, 21):
        node.host.emit(RoundStarted(number, True))
    assert b'podium_events_webhook_dropped_total{reason="overflow"} 15' in node.page()
    release.set()
    seen = [rounds(await told.server.next())[0] for _ in range(5)]
    assert seen == [16, 17, 18, 19, 20]


async def test_only_the_wanted_events_are_told(told):
    node = await told('events = ["RoundStarted"]')
    node.host.emit(NodeStopping("SIGTERM"))
    node.host.emit(RoundStarted(3, False))
    (event,) = json.loads((await told.server.next()).body)["events"]
    assert event["type"] == "RoundStarted"


async def test_what_is_left_is_told_when_the_node_stops(told):
    node = await told("delay_s = 3600")
    for number in range(3):
        node.host.emit(RoundStarted(number, True))
    await node.host.close()
    assert rounds(await told.server.next()) == [0, 1, 2]


@pytest.mark.parametrize(("status", "second"), [(200, [2]), (503, [1, 2])])
async def test_a_batch_under_way_when_the_node_stops_is_awaited(told, status, second):
    node = await told()
    started, release = asyncio.Event(), asyncio.Event()

    async def answer_late():
        started.set()
        await release.wait()
        return web.Response(status=status)

    told.server.answers = [answer_late]
    node.host.emit(RoundStarted(1, True))
    await started.wait()
    node.host.emit(RoundStarted(2, True))
    closing = asyncio.create_task(node.host.close())
    await asyncio.sleep(0)
    release.set()
    await closing
    assert rounds(await told.server.next()) == [1]
    assert rounds(await told.server.next()) == second
    assert told.server.requests.empty()
    assert b"podium_events_webhook_delivered_total 2" in node.page()


async def test_a_server_that_hangs_holds_the_stop_up_for_a_bounded_time(told):
    node = await told("flush_timeout_s = 0.2")
    told.server.answer = lambda: asyncio.sleep(3600)
    node.host.emit(RoundStarted(1, True))
    await told.server.next()
    node.host.emit(RoundStarted(2, True))
    async with asyncio.timeout(4):
        await node.host.close()
    assert b'podium_events_webhook_dropped_total{reason="stopped"} 2' in node.page()
    assert any(line.facts.get("events") == 2 for line in node.log.lines)


async def test_neither_the_url_nor_the_secret_is_ever_logged(load, monkeypatch):
    monkeypatch.setattr(pump, "FIRST_DELAY_S", 0.01)
    node = await load(
        f"""
        [plugins.events-webhook]
        enabled = true
        url = "http://127.0.0.1:1/hook?key=hidden"
        secret = "{SECRET}"
        attempts = 2
        delay_s = 0
        """
    )
    node.host.emit(RoundStarted(1, True))
    await node.log.lost()
    shown = str(node.log.lines) + repr(node.host._loaded["events-webhook"].config)
    assert "127.0.0.1" in shown
    assert "hidden" not in shown
    assert SECRET not in shown


async def test_the_servers_certificate_is_checked(serve, load, certificate):
    tls, trusted = certificate
    server = await serve(tls)
    section = f"""
        [plugins.events-webhook]
        enabled = true
        url = "{server.url}"
        secret = "{SECRET}"
        delay_s = 0
        attempts = 1
        """
    node = await load(section)
    node.host.emit(RoundStarted(1, True))
    assert (await node.log.lost())["error"] == "127.0.0.1: its certificate is not trusted"
    node = await load(section + f'ca_file = "{trusted}"')
    node.host.emit(RoundStarted(2, True))
    assert rounds(await server.next()) == [2]


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ('events = ["JobFinishd"]', 'there is no event "JobFinishd"; did you mean JobFinished?'),
        ('secret = "short"', "must have at least 16 characters"),
        ("flush_timeout_s = 10", "must be <= 4.0"),
        ("queue = 0", "must be >= 1"),
    ],
)
async def test_a_wrong_section_is_refused(load, keys, problem):
    given = {"url": '"http://127.0.0.1:1/"', "secret": f'"{SECRET}"'}
    name, _, value = keys.partition(" = ")
    lines = "\n".join(f"{key} = {one}" for key, one in (given | {name: value}).items())
    with pytest.raises(ConfigInvalid) as caught:
        await load(f"[plugins.events-webhook]\nenabled = true\n{lines}")
    (line,) = caught.value.problems
    assert line.startswith(f"plugins.events-webhook.{name}: ")
    assert problem in line
