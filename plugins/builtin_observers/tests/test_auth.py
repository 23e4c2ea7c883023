"""The auth webhook: asked as the network's is, believed only when it answers as agreed."""

import asyncio
import json
from fractions import Fraction

import pytest
from aiohttp import web
from podium.errors import ConfigInvalid
from podium_hookspecs import Admission, AdmitRequest, Price, Secret, hookimpl
from podium_observers import auth
from podium_observers.auth import BAD_ANSWER, NO_ANSWER
from podium_observers.http import Answer

SENDER = bytes.fromhex("b5a19836a14ef38d9625fd917f7bd2de9b0b4130")
POLL = AdmitRequest(SENDER, "discover")
VIDEO = AdmitRequest(SENDER, "discover", capabilities=frozenset({0, 1, 12}))
IMAGES = AdmitRequest(SENDER, "discover", capabilities=frozenset({12, 27}))
JOB = AdmitRequest(SENDER, "job", "session", frozenset({0, 1, 12}))


def text(status, body):
    return lambda: web.Response(status=status, text=body)


@pytest.fixture
async def asked(serve, load):
    """A server and a host that asks it."""
    server = await serve()
    server.answer = text(200, "{}")

    async def make(more="", **plugins):
        toml = f'[plugins.auth-webhook]\nenabled = true\nurl = "{server.url}"\n{more}'
        return await load(toml, **plugins)

    make.server = server
    return make


async def test_it_is_asked_as_the_networks_webhook_is(asked):
    node = await asked()
    assert (await node.host.admit(POLL)).allow
    request = await asked.server.next()
    assert (request.method, request.path) == ("POST", "/hook")
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.body) == {"id": "0xb5A19836a14EF38d9625Fd917f7bD2De9B0B4130"}
    assert "authorization" not in request.headers


async def test_it_is_asked_at_every_discovery_and_not_for_the_jobs_that_follow(asked):
    node = await asked()
    for request in (POLL, VIDEO, JOB, JOB, IMAGES):
        assert (await node.host.admit(request)).allow
    assert len(asked.server.seen) == 3


async def test_a_job_of_a_gateway_that_was_not_let_in_is_asked_for(asked):
    node = await asked()
    asked.server.answers = [text(401, "who are you?")]
    refused = await node.host.admit(JOB)
    assert (refused.allow, refused.reason) == (False, "who are you?")
    assert (await node.host.admit(JOB)).allow
    assert (await node.host.admit(JOB)).allow
    assert len(asked.server.seen) == 2


async def test_a_refusal_takes_back_what_was_allowed(asked):
    node = await asked()
    assert (await node.host.admit(POLL)).allow
    asked.server.answer = text(403, "your account\nis empty")
    refused = await node.host.admit(VIDEO)
    assert (refused.allow, refused.reason) == (False, "your account is empty")
    assert not (await node.host.admit(JOB)).allow


async def test_a_server_that_is_away_ends_no_stream(asked):
    node = await asked()
    assert (await node.host.admit(VIDEO)).allow
    asked.server.answer = text(200, "not JSON")
    assert not (await node.host.admit(VIDEO)).allow
    assert (await node.host.admit(JOB)).allow


def test_a_gateway_is_known_for_half_an_hour_and_so_many_of_them(monkeypatch):
    async def nothing(self, sender):
        return Answer(200, b"{}")

    now = [0.0]
    monkeypatch.setattr(auth.Gatekeeper, "_post", nothing)
    monkeypatch.setattr(auth, "KNOWN_LIMIT", 2)
    config = auth.AuthConfig(url=Secret("http://127.0.0.1/"))
    keeper = auth.Gatekeeper(None, config, monotonic=lambda: now[0])
    senders = [bytes([number]) * 20 for number in range(3)]
    for sender in (senders[0], senders[1], senders[0], senders[2]):
        asyncio.run(keeper.ask(AdmitRequest(sender, "discover")))
    assert [keeper.knows(sender) for sender in senders] == [True, False, True]
    now[0] = auth.KNOWN_S
    assert not keeper.knows(senders[0])


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (500, "", "the auth webhook answered 500"),
        (204, "", "the auth webhook answered 204"),
        (201, "{}", "{}"),
        (403, "x" * 2000, "x" * 500),
        (403, "no\0 \x1b[31mway", "no [31mway"),
        (200, "", BAD_ANSWER),
        (200, "yes", BAD_ANSWER),
        (200, "[]", BAD_ANSWER),
        (200, "[" * 60_000, BAD_ANSWER),
        (200, '{"priceInfo": 1}', BAD_ANSWER),
        (200, '{"priceInfo": {}}', BAD_ANSWER),
        (200, '{"priceInfo": {"pricePerUnit": 1}}', BAD_ANSWER),
        (200, '{"priceInfo": {"pricePerUnit": 1, "pixelsPerUnit": 0}}', BAD_ANSWER),
        (200, '{"priceInfo": {"pricePerUnit": -1, "pixelsPerUnit": 1}}', BAD_ANSWER),
        (200, '{"priceInfo": {"pricePerUnit": 1.5, "pixelsPerUnit": 1}}', BAD_ANSWER),
        (200, '{"priceInfo": {"pricePerUnit": true, "pixelsPerUnit": 1}}', BAD_ANSWER),
        (200, '{"pad": "' + "x" * 70_000 + '"}', BAD_ANSWER),
    ],
)
async def test_whatever_is_not_a_yes_is_a_no(asked, status, body, reason):
    node = await asked()
    asked.server.answer = text(status, body)
    answer = await node.host.admit(POLL)
    assert (answer.allow, answer.reason) == (False, reason)


@pytest.mark.parametrize("body", ["{}", "null", '{"priceInfo": null}', '{"other": [1]}'])
async def test_json_without_a_price_lets_in_at_the_usual_price(asked, body):
    node = await asked()
    asked.server.answer = text(200, body)
    answer = await node.host.admit(POLL)
    assert (answer.allow, answer.price) == (True, None)


PRICED = text(200, '{"priceInfo": {"pricePerUnit": 7, "pixelsPerUnit": 2}}')
PRICE = Price(Fraction(7, 2), "pixel")


async def test_its_price_is_for_requests_that_name_no_capabilities(asked):
    node = await asked()
    asked.server.answer = PRICED
    answers = [(await node.host.admit(request)).price for request in (POLL, VIDEO, IMAGES, JOB)]
    assert answers == [PRICE, None, None, None]


async def test_its_price_may_be_for_all_video(asked):
    node = await asked("price_always = true")
    asked.server.answer = PRICED
    answers = [(await node.host.admit(request)).price for request in (POLL, VIDEO, IMAGES)]
    assert answers == [PRICE, PRICE, None]


async def test_a_free_price_is_a_price(asked):
    node = await asked()
    asked.server.answer = text(200, '{"priceInfo": {"pricePerUnit": 0, "pixelsPerUnit": 1}}')
    assert (await node.host.admit(POLL)).price == Price(0, "pixel")


async def test_redirects_are_not_followed(asked, serve):
    elsewhere = await serve()
    node = await asked()
    asked.server.answer = lambda: web.Response(status=302, headers={"Location": elsewhere.url})
    assert not (await node.host.admit(POLL)).allow
    assert elsewhere.seen == []


async def test_a_server_that_hangs_refuses_in_time(asked):
    node = await asked("timeout_s = 0.2")
    asked.server.answer = lambda: asyncio.sleep(3600)
    answer = await node.host.admit(POLL)
    assert not answer.allow
    assert "hidden" not in answer.reason
    assert node.errors == [("auth-webhook", "podium_admit")]


async def test_nobody_there_refuses_and_shows_no_url(load):
    toml = '[plugins.auth-webhook]\nenabled = true\nurl = "http://127.0.0.1:1/hook?key=hidden"'
    node = await load(toml)
    answer = await node.host.admit(POLL)
    assert (answer.allow, answer.reason) == (False, NO_ANSWER)
    assert "127.0.0.1" in str(node.log.lines)
    assert "hidden" not in str(node.log.lines)


async def test_what_is_no_http_refuses_and_shows_no_url(load):
    async def mumble(reader, writer):
        await reader.readline()
        writer.write(b"220 mail\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(mumble, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        toml = f"""
        [plugins.auth-webhook]
        enabled = true
        url = "http://127.0.0.1:{port}/?key=hidden"
        """
        node = await load(toml)
        assert (await node.host.admit(POLL)).reason == NO_ANSWER
        assert "hidden" not in str(node.log.lines)
        await node.host.close()


async def test_the_servers_certificate_is_checked(serve, load, certificate):
    tls, trusted = certificate
    server = await serve(tls)
    server.answer = text(200, "{}")
    section = f'[plugins.auth-webhook]\nenabled = true\nurl = "{server.url}"\n'
    node = await load(section)
    assert (await node.host.admit(POLL)).reason == NO_ANSWER
    assert "its certificate is not trusted" in str(node.log.lines)
    assert server.seen == []
    node = await load(section + f'ca_file = "{trusted}"')
    assert (await node.host.admit(POLL)).allow


async def test_a_key_may_be_sent_and_never_shows(asked):
    node = await asked('authorization = "Bearer s3cret"')
    await node.host.admit(POLL)
    assert (await asked.server.next()).headers["authorization"] == "Bearer s3cret"
    assert "s3cret" not in repr(node.host._loaded["auth-webhook"].config)


@pytest.mark.parametrize(
    "url", ["ftp://host/", "https:///x", "nohost", "https://user:pw@host/", "http://h:99999/"]
)
async def test_a_url_that_cannot_be_asked_is_refused_without_being_shown(load, url):
    with pytest.raises(ConfigInvalid) as caught:
        await load(f'[plugins.auth-webhook]\nenabled = true\nurl = "{url}"')
    assert str(caught.value).startswith("plugins.auth-webhook.url: must ")
    assert url not in str(caught.value)


async def test_the_next_plugin_is_asked_where_it_lets_in_without_a_price(asked):
    class No:
        @hookimpl
        def podium_admit(self, request):
            return Admission(False, "not by me")

    node = await asked(no=No())
    assert (await node.host.admit(POLL)).reason == "not by me"
