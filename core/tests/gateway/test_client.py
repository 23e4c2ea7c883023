"""The client against real nodes on loopback: TLS, gRPC, HTTP/2, tickets, downloads."""

import asyncio
import json
import socket
import threading
import time
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, HTTPServer

import attrs
import httpx
import pytest
from podium.crypto import NoSigner
from podium.testing.gateway.client import gather
from podium.testing.gateway.errors import (
    NoOrchestrator,
    OrchestratorFailed,
    SegmentRefused,
    TermsRefused,
    VerificationFailed,
)
from podium.testing.gateway.tickets import Caps
from podium.testing.gateway.transport import Rpc
from podium_hookspecs import BadInput, JobFailed

PIXELS = 50 * 1280 * 720


async def books(app):
    """The node's side, by session."""
    async with httpx.AsyncClient(trust_env=False) as client:
        reply = await client.get(app.admin_uri + "/podium/ledger")
    return {line["key"]: line for line in reply.json()["entries"]}


async def assert_equal_books(app, client):
    lines = await books(app)
    paying = [account for account in client.accounts if account.tickets]
    assert paying
    for account in paying:
        line = lines.pop(account.session_id)
        assert Fraction(line["credited"]) == account.credited
        assert Fraction(line["debited"]) == account.debited
        assert line["tickets"] == account.tickets
    assert not lines


async def test_paid_segments_and_equal_books(podium_app, gateway, echo, paid, two_segments):
    app = podium_app(paid, {"transcode": echo})
    async with gateway(app.uri, "P144p30fps16x9,P240p30fps16x9") as client:
        outcomes = [await client.transcode(segment) for segment in two_segments]
        assert len(app.node.sessions) == 1
    for outcome in outcomes:
        assert outcome.attempts == 1
        assert outcome.signature_checked
        assert outcome.debit == 2 * PIXELS * 1200
        assert outcome.tickets > 0
        assert [r.facts.pixels for r in outcome.renditions] == [PIXELS] * 2
    assert client.accounts[0].balance == client.accounts[0].credited - client.accounts[0].debited
    await assert_equal_books(app, client)
    assert len(app.node.sessions) == 0, "EndTranscodingSession reached the node"


async def test_segments_in_parallel_share_one_account(
    podium_app, gateway, echo, paid, two_segments
):
    app = podium_app(paid, {"transcode": echo})
    many = [attrs.evolve(two_segments[n % 2], seq=n) for n in range(4)]
    async with gateway(app.uri, "P720p30fps16x9") as client:
        outcomes = await asyncio.gather(*(client.transcode(segment) for segment in many))
    assert [outcome.segment.seq for outcome in outcomes] == [0, 1, 2, 3]
    assert len(client.accounts) == 1
    await assert_equal_books(app, client)


async def test_off_chain_in_plain_text(podium_app, gateway, echo, two_segments):
    app = podium_app(
        {"account": {"private_key": None}, "node": {"listen": "http://127.0.0.1:0"}},
        {"transcode": echo},
    )
    assert app.uri.startswith("http://")
    async with gateway(app.uri, signer=NoSigner()) as client:
        outcome = await client.transcode(two_segments[0])
    assert not outcome.signature_checked
    assert (outcome.debit, outcome.tickets) == (0, 0)
    assert client.accounts[0].credited == 0


async def test_a_free_node_takes_no_tickets(podium_app, gateway, echo, two_segments):
    app = podium_app({}, {"transcode": echo})
    async with gateway(app.uri) as client:
        outcome = await client.transcode(two_segments[0])
    assert outcome.signature_checked
    assert (outcome.debit, outcome.tickets) == (0, 0)


async def test_another_attempt_after_a_failure(podium_app, gateway, echo, paid, two_segments):
    async def fail_first(job, chunks):
        if job == 1:
            raise JobFailed("the encoder broke")
        return chunks

    echo.worker.bend = fail_first
    app = podium_app(paid, {"transcode": echo})
    async with gateway(app.uri) as client:
        outcome = await client.transcode(two_segments[0])
    assert outcome.attempts == 2
    assert len(client.accounts) == 2, "the failed session was dropped and another found"
    assert client.accounts[0].debited == 0
    await assert_equal_books(app, client)


async def test_a_bad_segment_is_not_tried_again(podium_app, gateway, echo, paid, two_segments):
    async def refuse(job, chunks):
        raise BadInput("TranscoderInvalidVideo", public="TranscoderInvalidVideo")

    echo.worker.bend = refuse
    app = podium_app(paid, {"transcode": echo})
    async with gateway(app.uri) as client:
        with pytest.raises(SegmentRefused, match="TranscoderInvalidVideo"):
            await client.transcode(two_segments[0])
        assert echo.worker.jobs == 1
        echo.worker.bend = None
        assert (await client.transcode(two_segments[1])).attempts == 1
    assert len(client.accounts) == 1, "the session was kept"


async def test_a_lie_about_pixels(podium_app, gateway, echo, paid, two_segments):
    async def one_more(job, chunks):
        return [attrs.evolve(chunk, units=chunk.units + 1) for chunk in chunks]

    echo.worker.bend = one_more
    app = podium_app(paid, {"transcode": echo})
    async with gateway(app.uri) as client:
        with pytest.raises(
            VerificationFailed, match=f"PixelMismatch: .* billed {PIXELS + 1}, decoded {PIXELS}"
        ):
            await client.transcode(two_segments[0])
    assert echo.worker.jobs == 3


async def test_a_rendition_that_is_no_video(podium_app, gateway, echo, two_segments):
    async def junk(job, chunks):
        return [attrs.evolve(chunk, data=b"no video at all" * 100) for chunk in chunks]

    echo.worker.bend = junk
    app = podium_app({}, {"transcode": echo})
    async with gateway(app.uri) as client:
        with pytest.raises(VerificationFailed, match="cannot be decoded"):
            await client.transcode(two_segments[0])


async def test_price_limit(podium_app, gateway, echo, paid, two_segments):
    app = podium_app(paid, {"transcode": echo})
    async with gateway(app.uri, caps=Caps(max_price=Fraction(1199))) as client:
        with pytest.raises(
            NoOrchestrator, match="price of 1200 wei per pixel is over the limit of 1199"
        ):
            await client.transcode(two_segments[0])
    async with gateway(app.uri, caps=Caps(max_ticket_ev=Fraction(1))) as client:
        with pytest.raises(NoOrchestrator, match="max ticket EV"):
            await client.transcode(two_segments[0])


async def test_a_price_that_doubles_is_refused_before_anything_is_sent(
    podium_app, gateway, echo, paid, two_segments
):
    app = podium_app(paid, {"transcode": echo})
    async with gateway(app.uri) as client:
        await client.transcode(two_segments[0])
        (session,) = client.sessions
        balance = session.account.balance
        session.info.price_info.pricePerUnit = 2401
        with pytest.raises(TermsRefused, match="raised its price from 1200 to 2401"):
            await session.transcode(two_segments[1], client.job(two_segments[1]))
        assert session.account.balance == balance
        assert echo.worker.jobs == 1


class OneShotClock:
    """Says once that the parameters are expired."""

    def __init__(self):
        self.due = False

    def expired(self, expiration_block, age_s):
        due, self.due = self.due, False
        return due


async def test_expired_parameters_bring_a_new_session(
    podium_app, gateway, echo, paid, two_segments
):
    app = podium_app(paid, {"transcode": echo})
    clock = OneShotClock()
    async with gateway(app.uri, clock=clock) as client:
        await client.transcode(two_segments[0])
        clock.due = True
        outcome = await client.transcode(two_segments[1])
        first, second = client.accounts
        assert outcome.session_id == second.session_id != first.session_id
        assert len(client.sessions) == 1
    await assert_equal_books(app, client)


async def test_a_token_near_its_end_is_renewed(podium_app, gateway, echo, paid, two_segments):
    app = podium_app(paid, {"transcode": echo})
    async with gateway(app.uri) as client:
        await client.transcode(two_segments[0])
        client.sessions[0].info.auth_token.expiration = int(time.time()) + 170
        await client.transcode(two_segments[1])
    assert len(client.accounts) == 2


async def test_a_restarted_node_with_another_certificate(podium_app, gateway, echo, two_segments):
    app = podium_app({}, {"transcode": echo})
    port = app.node.public.port
    async with gateway(app.uri) as client:
        await client.transcode(two_segments[0])
        app.stop()
        again = podium_app({"node": {"listen": f"127.0.0.1:{port}"}}, {"transcode": type(echo)()})
        outcome = await client.transcode(two_segments[1])
    assert again.uri == app.uri
    assert outcome.attempts > 1


async def test_nobody_there(gateway, two_segments):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        async with gateway(f"127.0.0.1:{port}") as client:
            with pytest.raises(NoOrchestrator, match=rf"127\.0\.0\.1:{port} cannot be reached"):
                await client.transcode(two_segments[0])


async def test_plain_http_and_unknown_names_are_told(podium_app, gateway, echo, two_segments):
    app = podium_app(
        {"account": {"private_key": None}, "node": {"listen": "http://127.0.0.1:0"}},
        {"transcode": echo},
    )
    address = app.uri.removeprefix("http://")
    for uri, says in (
        (address, f"it speaks plain HTTP there; try http://{address}"),
        ("podium.invalid", "the name podium.invalid is not known"),
    ):
        async with gateway(uri, signer=NoSigner()) as client:
            with pytest.raises(NoOrchestrator, match=says):
                await client.transcode(two_segments[0])


async def test_a_call_whose_channel_another_closed(two_segments):
    """gRPC cancels the calls of a channel that is closed; that is no Ctrl-C."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        uri = f"http://127.0.0.1:{mute.getsockname()[1]}"
        rpc = Rpc()
        calls = [asyncio.create_task(rpc.ping(uri, b"x", 5.0)) for _ in range(2)]
        await asyncio.sleep(0.2)
        await rpc.close()
        for call in calls:
            with pytest.raises(OrchestratorFailed):
                await call


async def test_the_quick_one_is_used_and_the_mute_one_is_not_waited_for(
    podium_app, gateway, echo, two_segments
):
    app = podium_app({}, {"transcode": echo})
    with socket.create_server(("127.0.0.1", 0)) as mute:
        uris = f"https://127.0.0.1:{mute.getsockname()[1]},{app.uri}"
        async with gateway(uris) as client:
            start = time.monotonic()
            outcome = await client.transcode(two_segments[0])
    assert outcome.orchestrator == app.uri
    assert time.monotonic() - start < 3


async def test_headers_that_do_not_come(gateway, podium_app, echo, two_segments):
    """An orchestrator that never answers ``/segment`` is given up after 2 s."""
    app = podium_app({}, {"transcode": echo})
    with socket.create_server(("127.0.0.1", 0)) as mute:
        async with gateway(app.uri) as client:
            job = client.job(two_segments[0])
            session = await client.session(job, 2.0)
            session.info.transcoder = f"http://127.0.0.1:{mute.getsockname()[1]}"
            with pytest.raises(OrchestratorFailed, match=r"took too long: 2\.\d s"):
                await session.transcode(two_segments[0], job)


class ListOfOrchestrators(BaseHTTPRequestHandler):
    entries = ()

    def do_GET(self):
        body = json.dumps(self.entries).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


async def test_webhook(podium_app, gateway, echo, two_segments):
    app = podium_app({}, {"transcode": echo})
    handler = type(
        "Handler", (ListOfOrchestrators,), {"entries": [{"address": app.uri, "score": 1}]}
    )
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        async with gateway("", webhook=f"http://127.0.0.1:{server.server_port}/") as client:
            outcome = await client.transcode(two_segments[0])
        server.shutdown()
    assert outcome.orchestrator == app.uri
    async with gateway("", webhook=f"http://127.0.0.1:{server.server_port}/") as client:
        with pytest.raises(NoOrchestrator, match="gave no list"):
            await client.transcode(two_segments[0])


async def test_a_rendition_that_cannot_be_fetched(podium_app, gateway, echo, two_segments):
    app = podium_app({}, {"transcode": echo})
    async with gateway(app.uri) as client:
        with pytest.raises(OrchestratorFailed, match="answered 404"):
            await gather(client.http.download(app.uri + "/stream/none/x/0.ts"), asyncio.sleep(9))


async def test_ping_is_answered_with_a_signature(podium_app, gateway, echo):
    from podium.crypto import KeySigner, keccak256, recover
    from podium.testing.node import TEST_KEY

    app = podium_app({}, {"transcode": echo})
    async with gateway(app.uri) as client:
        answer = await client.rpc.ping(app.uri, b"\x05" * 32)
    assert recover(keccak256(b"\x05" * 32), answer) == KeySigner(bytes.fromhex(TEST_KEY)).address


async def test_segments_travel_over_http2_and_the_headers_come_early(
    podium_app, gateway, echo, two_segments
):
    async def slowly(job, chunks):
        await asyncio.sleep(0.5)
        return chunks

    echo.worker.bend = slowly
    app = podium_app({}, {"transcode": echo})
    async with gateway(app.uri) as client:
        job = client.job(two_segments[0])
        session = await client.session(job, 2.0)
        reply = (await session.transcode(two_segments[0], job)).reply
    assert reply.http == "HTTP/2"
    assert "content-type" not in reply.headers
    assert reply.headers_s + 0.4 < reply.total_s
