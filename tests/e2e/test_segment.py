"""Paid segments end to end, and every way in which one can be wrong."""

import asyncio
from base64 import b64encode
from fractions import Fraction

import httpx
import pytest
from podium.assembly import Overrides
from podium.crypto import KeySigner, keccak256, recover
from podium.testing.gateway.errors import OrchestratorFailed
from podium.wire.pb import lp_rpc_pb2 as pb
from podium_hookspecs import BadInput, JobFailed, WorkerLost


async def ledger(node):
    async with httpx.AsyncClient() as client:
        reply = await client.get(f"http://127.0.0.1:{node.admin.port}/podium/ledger")
    return reply.json()["entries"]


@pytest.mark.parametrize("http2", [True, False])
async def test_a_paid_segment_comes_back_signed_and_can_be_fetched(world, http2):
    node = await world.node()
    sender = await world.sender(node, http2=http2)
    session = sender.info.auth_token.session_id
    result = await sender.result(b"some video", seq=7)
    (segment,) = result.data.segments
    assert result.seq == 7
    assert segment.pixels == 1000
    assert segment.url == f"{node.service_uri}/stream/{session}/P240p30fps16x9/7.ts"
    assert world.plugin.body == b"some video"
    fetched = await sender.client.get(segment.url)
    assert fetched.status_code == 200
    assert fetched.headers["content-type"] == "video/mp2t"
    assert (
        recover(keccak256(keccak256(fetched.content)), result.data.sig)
        == node.service.signer.address
    )
    assert result.info.auth_token.session_id == session
    (entry,) = await ledger(node)
    assert entry["key"] == session
    assert Fraction(entry["debited"]) == 1000 * Fraction(
        sender.info.price_info.pricePerUnit, sender.info.price_info.pixelsPerUnit
    )
    assert Fraction(entry["credited"]) - Fraction(entry["debited"]) == node.payments.balance(
        sender.signer.address, session
    )


async def test_the_200_leaves_long_before_the_result(world):
    node = await world.node()
    sender = await world.sender(node)
    world.plugin.release.clear()
    request = sender.request()
    url = node.service_uri + "/segment"
    async with (
        asyncio.timeout(10),
        sender.client.stream(
            "POST", url, headers=dict(request.headers), content=request.body
        ) as reply,
    ):
        assert reply.status_code == 200
        assert not world.plugin.release.is_set()
        world.plugin.release.set()
        result = pb.TranscodeResult.FromString(await reply.aread())
    assert result.WhichOneof("result") == "data"


async def test_plain_text_serves_http11_and_h2c(world):
    node = await world.node(node={"listen": "http://127.0.0.1:0"})
    assert node.service_uri.startswith("http://")
    sender = await world.sender(node, http2=False)
    result = await sender.result()
    assert result.data.segments[0].url.startswith(node.service_uri)
    fetched = await sender.client.get(result.data.segments[0].url)
    assert fetched.http_version == "HTTP/1.1"


async def test_off_chain_everything_is_free_and_unsigned(world):
    node = await world.node(paid=False)
    sender = await world.sender(node)
    assert sender.info.address == bytes(20)
    assert not sender.info.HasField("ticket_params")
    assert not sender.info.HasField("price_info")
    result = await sender.result()
    assert result.data.sig == b""
    assert len(result.data.segments) == 1


async def test_ending_a_session_drops_its_results(world):
    node = await world.node()
    sender = await world.sender(node)
    token = sender.info.auth_token
    result = await sender.result()
    assert len(node.sessions) == 1
    await sender.rpc.end_session(node.service_uri, token)
    assert len(node.sessions) == 0
    assert (await sender.client.get(result.data.segments[0].url)).status_code == 404
    await sender.rpc.end_session(node.service_uri, token)
    token.token = b"x" * 32
    with pytest.raises(OrchestratorFailed, match="Invalid auth token"):
        await sender.rpc.end_session(node.service_uri, token)


async def test_ping_signs_digests_only(world):
    node = await world.node()
    sender = await world.sender(node)
    value = keccak256(b"x")
    signature = await sender.rpc.ping(node.service_uri, value)
    assert recover(keccak256(value), signature) == node.service.signer.address
    with pytest.raises(OrchestratorFailed):
        await sender.rpc.ping(node.service_uri, b"a ticket hash is 32 bytes, this is not one")


async def test_capacity(world):
    node = await world.node(node={"max_sessions": 1})
    first, second = await world.sender(node), await world.sender(node, key=b"\x33" * 32)
    await first.result()
    reply = await second.send()
    assert (reply.status_code, reply.text) == (403, "OrchestratorCapped\n")
    with pytest.raises(
        OrchestratorFailed, match=r"^Invalid orchestrator request: OrchestratorCapped$"
    ):
        await second.discover()
    await first.result(seq=1)


async def test_a_session_queues_four_and_the_next_is_busy(world):
    node = await world.node()
    sender = await world.sender(node)
    world.plugin.release.clear()
    tasks = []
    for seq in range(6):
        # One connection each: this client reads only one stream of a connection at a time.
        client = await world.client()
        tasks.append(asyncio.create_task(sender.send(seq=seq, client=client)))
        await asyncio.sleep(0.05)
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=5)
    (busy,) = done
    result = pb.TranscodeResult.FromString(busy.result().content)
    assert result.error == "OrchestratorBusy"
    assert result.info.HasField("auth_token")
    world.plugin.release.set()
    replies = await asyncio.gather(*(t for t in tasks if t is not busy))
    assert all(
        pb.TranscodeResult.FromString(r.content).WhichOneof("result") == "data" for r in replies
    )
    assert [job.request.seq for job in world.plugin.jobs] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (BadInput("not video", public="TranscoderInvalidVideo"), "TranscoderInvalidVideo"),
        (JobFailed("the encoder broke", public="Encoder not found"), "Encoder not found"),
        (WorkerLost("killed", public="TranscoderStopped"), "TranscoderStopped"),
        (RuntimeError("secret path /root"), "internal error"),
    ],
)
async def test_failures_are_told_inside_the_200(world, error, text):
    node = await world.node()
    sender = await world.sender(node)
    world.plugin.error = error
    result = await sender.result()
    assert result.error == text
    world.plugin.error = None
    assert (await sender.result(seq=1)).WhichOneof("result") == "data"
    (entry,) = await ledger(node)
    assert Fraction(entry["debited"]) == 1000 * Fraction(
        sender.info.price_info.pricePerUnit, sender.info.price_info.pixelsPerUnit
    ), "only the good segment is billed"


async def test_a_gateway_that_gives_up_frees_the_slot(world):
    node = await world.node()
    sender = await world.sender(node)
    world.plugin.release.clear()
    task = asyncio.create_task(sender.send())
    await asyncio.wait_for(world.plugin.started.wait(), 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await sender.client.aclose()
    for _ in range(100):
        if world.plugin.cancelled:
            break
        await asyncio.sleep(0.02)
    assert world.plugin.cancelled == 1
    world.plugin.release.set()
    fresh = await world.sender(node)
    assert (await fresh.result()).WhichOneof("result") == "data"
    assert [used for _, _, used in node.pool.states()] == [0]


async def test_a_hanging_job_ends_at_its_time_out(world, monkeypatch):
    monkeypatch.setattr("podium.web.segment.MIN_JOB_TIMEOUT_S", 0.2)
    monkeypatch.setattr("podium.web.segment.JOB_TIMEOUT_PER_DURATION", 0.1)
    node = await world.node()
    sender = await world.sender(node)
    world.plugin.release.clear()
    result = await sender.result()
    assert result.error == "Remote transcoder took too long"
    assert world.plugin.cancelled == 1
    assert [used for _, _, used in node.pool.states()] == [0]


WRONG = [
    ({"body_sent": b"another"}, 403, "Forbidden"),
    ({"body_sent": b""}, 403, "Forbidden"),
    (
        {"headers": {"Livepeer-Payment": "%"}},
        402,
        "base64 decode error: illegal base64 data at input byte 0",
    ),
    ({"headers": {"Livepeer-Payment": ""}}, 403, "ErrSegSig"),
    ({"headers": {"Livepeer-Segment": "%"}}, 403, "ErrorSegEncoding"),
    ({"headers": {"Livepeer-Segment": ""}}, 403, "ErrSegSig"),
    ({"after_signing": lambda s: setattr(s, "seq", 9)}, 403, "ErrSegSig"),
    ({"duration_ms": 300_001}, 403, "invalid duration"),
    ({"after_signing": lambda s: s.ClearField("auth_token")}, 403, "missing auth token"),
    ({"after_signing": lambda s: setattr(s.auth_token, "token", b"no")}, 403, "invalid auth token"),
    (
        {"after_signing": lambda s: s.capabilities.bitstring.append(2**40)},
        403,
        "incompatible capabilities",
    ),
    ({"tickets": 0}, 400, "Insufficient balance"),
]


@pytest.mark.parametrize(("wrong", "status", "text"), WRONG)
async def test_wrong_requests_get_the_references_answer_and_leak_nothing(
    world, wrong, status, text
):
    node = await world.node()
    sender = await world.sender(node)
    reply = await sender.send(**wrong)
    assert (reply.status_code, reply.text) == (status, text + "\n")
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert len(node.sessions) == 0
    assert world.plugin.jobs == []
    await sender.discover()
    assert (await sender.result()).WhichOneof("result") == "data"


async def test_a_body_beyond_the_limit(world):
    node = await world.node(limits={"max_body_bytes": 100_000})
    sender = await world.sender(node)
    reply = await sender.send(b"x" * 100_001)
    assert (reply.status_code, reply.text) == (500, "Internal Server Error\n")
    await sender.discover()
    assert (await sender.result(b"x" * 100_000)).WhichOneof("result") == "data"


async def test_the_operators_bound_on_header_fields(world):
    node = await world.node(limits={"max_fields": 64})
    sender = await world.sender(node)
    many = {f"x-{number}": "1" for number in range(65)}
    with pytest.raises(httpx.RemoteProtocolError, match="error_code:11"):  # ENHANCE_YOUR_CALM
        await sender.client.get(node.service_uri + "/", headers=many)
    assert (await sender.result()).WhichOneof("result") == "data"


async def test_a_body_that_stops_coming(world):
    node = await world.node(limits={"body_stall_timeout_s": 0.2})
    sender = await world.sender(node)
    request = sender.request(b"whole body")

    async def slow():
        yield b"whole"
        await asyncio.sleep(2)

    reply = await sender.client.post(
        node.service_uri + "/segment", headers=dict(request.headers), content=slow()
    )
    assert (reply.status_code, reply.text) == (500, "Internal Server Error\n")
    assert world.plugin.jobs == []


@pytest.mark.parametrize(
    "uri",
    [
        b"http://127.0.0.1:1/x",
        b"http://169.254.169.254/latest",
        b"file:///etc/passwd",
        b"",
        b"\xff",
    ],
)
async def test_a_uri_body_may_not_point_inside(world, uri):
    node = await world.node()
    sender = await world.sender(node)
    reply = await sender.send(
        b"x", body_sent=uri, headers={"Content-Type": "application/vnd+livepeer.uri"}
    )
    assert (reply.status_code, reply.text) == (400, "BadRequest\n")
    assert world.plugin.jobs == []


async def test_a_uri_body_is_fetched_and_checked(world):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nvideo")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    uri = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/0.ts".encode()
    node = await world.node(
        Overrides(plugins={"commanded": world.plugin}, allowed_networks=("127.0.0.0/8",))
    )
    sender = await world.sender(node)
    headers = {"Content-Type": "application/vnd+livepeer.uri"}
    result = await sender.result(b"video", body_sent=uri, headers=headers)
    assert result.WhichOneof("result") == "data"
    assert world.plugin.body == b"video"
    reply = await sender.send(b"other", body_sent=uri, headers=headers)
    assert (reply.status_code, reply.text) == (403, "Forbidden\n")
    server.close()
    await server.wait_closed()


async def test_a_replayed_ticket_is_refused(world):
    node = await world.node()
    sender = await world.sender(node)
    request = sender.request()
    url = node.service_uri + "/segment"
    first = await sender.client.post(url, headers=dict(request.headers), content=request.body)
    assert first.status_code == 200
    again = await sender.client.post(url, headers=dict(request.headers), content=request.body)
    assert again.status_code == 400
    assert again.text.startswith("invalid ticket senderNonce: already seen sender=0x")


async def test_a_stolen_token_still_needs_its_own_payment(world):
    node = await world.node()
    owner, thief = await world.sender(node), await world.sender(node, key=b"\x44" * 32)
    await owner.result()
    thief.info.auth_token.CopyFrom(owner.info.auth_token)
    reply = await thief.send(tickets=0)
    assert (reply.status_code, reply.text) == (400, "Insufficient balance\n")


async def test_payment_credits_the_manifest(world):
    node = await world.node()
    sender = await world.sender(node)
    reply = await sender.send(b"", path="/payment")
    assert reply.status_code == 200
    info = pb.PaymentResult.FromString(reply.content).info
    assert info.HasField("ticket_params")
    assert node.payments.balance(sender.signer.address, "movie") >= 8_000_000_000
    assert node.payments.balance(sender.signer.address, sender.info.auth_token.session_id) is None


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a/b", "..", "", "\x00", "x" * 500, "naïve ?#%"]
)
async def test_profile_names_are_no_paths(world, name):
    node = await world.node()
    sender = await world.sender(node)
    profile = pb.VideoProfile(name=name, width=160, height=90, bitrate=1000, fps=25)
    # An unnamed profile is signed under the name that the node gives it.
    profile.name = name or "net_160x90_1000"
    result = await sender.result(profiles=[profile, profile])
    urls = [segment.url for segment in result.data.segments]
    assert len(set(urls)) == 2
    for url in urls:
        assert "/.." not in url
        assert (await sender.client.get(url)).status_code == 200


async def test_no_profiles_is_a_success_without_renditions(world):
    node = await world.node()
    sender = await world.sender(node)
    result = await sender.result(profiles=[])
    assert result.WhichOneof("result") == "data"
    assert list(result.data.segments) == []


async def test_unknown_paths_and_methods(world):
    node = await world.node()
    sender = await world.sender(node)
    assert (await sender.client.get(node.service_uri + "/nope")).status_code == 404
    assert (await sender.client.get(node.service_uri + "/stream/x/y/0.ts")).text == "ErrNotFound\n"
    assert (await sender.client.get(node.service_uri + "/healthz")).content == b""
    assert (await sender.client.put(node.service_uri + "/stream/x/y/0.ts")).status_code == 405


async def test_a_request_signed_by_another_key_finds_nothing(world):
    node = await world.node()
    sender = await world.sender(node)
    sender.signer.address = KeySigner(b"\x55" * 32).address
    with pytest.raises(
        OrchestratorFailed,
        match=r"^Invalid orchestrator request: orchestrator req sig check failed$",
    ):
        await sender.discover()


async def test_one_ticket_does_not_pay_for_many_segments_at_once(world):
    node = await world.node()
    sender = await world.sender(node)
    await sender.result(tickets=1)
    world.plugin.release.clear()
    replies = []
    for seq in range(1, 5):
        client = await world.client()
        replies.append(asyncio.create_task(sender.send(seq=seq, tickets=0, client=client)))
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.2)
    refused = [task for task in replies if task.done()]
    assert len(refused) == 4, "the first segment took a part of its ticket"
    assert {task.result().text for task in refused} == {"Insufficient balance\n"}
    paid = [
        asyncio.create_task(sender.send(seq=seq, tickets=1, client=await world.client()))
        for seq in (5, 6, 7)
    ]
    await asyncio.sleep(0.3)
    world.plugin.release.set()
    assert [reply.status_code for reply in await asyncio.gather(*paid)] == [200, 200, 200]
    assert node.service.till._held == {}


async def test_hostile_headers_do_not_hold_the_loop(world):
    node = await world.node()
    # Over HTTP/1.1: the client's HTTP/2 takes the square of a header's length to write it.
    sender = await world.sender(node, http2=False)
    many = pb.SegData(fullProfiles=[pb.VideoProfile()] * 100_000).SerializeToString()
    tickets = pb.Payment(ticket_sender_params=[pb.TicketSenderParams()] * 200_000)
    for headers, status in (
        ({"Livepeer-Segment": b64encode(many).decode()}, 403),
        ({"Livepeer-Payment": b64encode(tickets.SerializeToString()).decode()}, 402),
        ({"Livepeer-Payment": "A" * 500_000 + "!"}, 402),
    ):
        reply = await sender.client.post(node.service_uri + "/segment", headers=headers)
        assert reply.status_code == status


@pytest.mark.parametrize("uri", [b"http://a..b/", b"http://xn--a/"])
async def test_a_failing_uri_body_gives_its_memory_back(world, uri):
    node = await world.node()
    sender = await world.sender(node)
    reply = await sender.send(
        b"x", body_sent=uri, headers={"Content-Type": "application/vnd+livepeer.uri"}
    )
    assert (reply.status_code, reply.text) == (400, "BadRequest\n")
    assert node.service.till._held == {}
