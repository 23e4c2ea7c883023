"""Every recorded segment of a gateway on chain: 34 paid segments of five streams.

Payments go byte for byte, so the ledger has to come out as recorded, to the wei. So do the
credentials of the two segments whose media are here; for others the body is one of these two and
the credentials are signed again for it with the gateway's key. They count the same pixels.
"""

import base64
import json
from fractions import Fraction
from math import floor
from pathlib import Path

import pytest
from podium.crypto import KeySigner, keccak256, sign_message
from podium.wire.pb import lp_rpc_pb2 as pb
from podium.wire.segment import decode_credentials, signed_bytes

CASES = json.loads((Path(__file__).parent / "data/onchain-video/segments.json").read_text())
DOWNLOADS = json.loads((Path(__file__).parent / "data/onchain-video/downloads.json").read_text())
PATHS = {download["path"]: number for number, download in enumerate(DOWNLOADS)}
UNKNOWN = "rendition of a segment that was not recorded"
NO_MEDIA = "its media are not kept: another segment, signed for by the gateway's key"


def key_of(case):
    """Whose balance: sender and session."""
    return bytes.fromhex(case["payment"]["sender"]), case["segdata"]["auth_token"]["session_id"]


def resigned(header, body, signer):
    """A credentials header for another body."""
    message = pb.SegData.FromString(base64.b64decode(header))
    message.hash = keccak256(body)
    credentials = decode_credentials(base64.b64encode(message.SerializeToString()).decode())
    signed = signed_bytes(
        credentials.manifest_id, credentials.seq, credentials.hash, credentials.profiles
    )
    message.sig = sign_message(signer, signed)
    return base64.b64encode(message.SerializeToString()).decode()


@pytest.fixture(scope="module")
def gateway(setup):
    return KeySigner(bytes.fromhex(setup["accounts"]["gateway"]["private_key"][2:]))


@pytest.fixture(scope="module")
def replayed(kit, start_onchain, media, gateway):
    """View, balances before and after, and stored winners, by case; downloads by path."""
    found = {}
    for process in ("orch1", "orch3"):
        cases = [case for case in CASES if case["process"] == process]
        node = start_onchain(process, cases[0]["timing"]["start_unix"])
        with kit.OverH2(node.port) as client:
            for case in cases:
                before = node.balance(*key_of(case))
                view, downloads = replay(kit, node, client, case, media, gateway)
                found |= downloads
                winners = node.app.call(node.app.node.payments.intake.store.count_tickets)
                found[case["id"]] = view, before, node.balance(*key_of(case)), winners
        node.app.stop()
    return found


def replay(kit, node, client, case, media, gateway):
    request = case["request"]
    body = media.get(request["body"]["sha256"])
    headers = dict(request["headers"])
    if body is None:
        body = next(iter(media.values()))
        headers["livepeer-segment"] = resigned(headers["livepeer-segment"], body, gateway)
    headers["content-length"] = str(len(body))
    node.moment(case["timing"]["start_unix"], case["response"]["message"]["info"]["ticket_params"])
    answer = client.request(request["method"], request["path"], list(headers.items()), body)
    message = kit.plain(pb.TranscodeResult.FromString(answer.body))
    segments = message.get("data", {}).get("segments", [])
    downloads = {}
    for path in (segment["url"].removeprefix(node.app.uri) for segment in segments):
        recorded = DOWNLOADS[PATHS[path]]["request_headers"]
        downloads[path] = kit.over_h1(node.port, "GET", path, recorded)
    renditions = [download.body for download in downloads.values()]
    kit.proved(node, message, renditions, case["response"]["message"])
    return {
        "alpn": answer.alpn,
        "status": answer.status,
        "headers": [name for name, _ in answer.headers],
        "trailers": list(answer.trailers),
        "message": message,
    }, downloads


def recorded_view(case):
    response = case["response"]
    return {
        "alpn": "h2",
        "status": response["status"],
        "headers": [name for name, _ in response["headers"]],
        "trailers": [],
        "message": response["message"],
    }


def test_all_are_replayed(replayed):
    assert len(replayed) == 34 + 80


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['id']}-{c['stream']}-{c['seq']}")
def test_segment(kit, tally, replayed, media, case):
    view = replayed[case["id"]][0]
    has_media = case["request"]["body"]["sha256"] in media
    tally.judge(
        ("segments", case["id"]),
        kit.differences(recorded_view(case), view),
        standing=[kit.capabilities_at("message.info.capabilities")],
        remade=None if has_media else NO_MEDIA,
    )


@pytest.mark.parametrize("path", PATHS)
def test_download(kit, tally, replayed, path):
    where = ("downloads", PATHS[path])
    if path not in replayed:
        tally.leave_out(where, UNKNOWN)
        return
    recorded, answer = DOWNLOADS[PATHS[path]], replayed[path]
    ours = {"status": answer.status, "headers": kit.named(answer.headers, len(answer.body))}
    theirs = {
        "status": recorded["status"],
        "headers": kit.named(recorded["response_headers"], recorded["body"]["length"]),
    }
    assert len(answer.body) > 10_000
    tally.judge(where, kit.differences(theirs, ours), standing=[kit.mime])


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if c["derived"].get("o_ledger")],
    ids=lambda c: f"{c['stream']}-{c['seq']}",
)
def test_ledger(replayed, setup, case):
    _, before, after, _ = replayed[case["id"]]
    ledger = case["derived"]["o_ledger"]
    tickets = len(case["payment"].get("ticket_sender_params", []))
    params = case["payment"]["ticket_params"]
    value = Fraction(
        int(params["face_value"], 16) * int(params["win_prob"], 16) * tickets, 2**256 - 1
    )
    assert floor(before or 0) == ledger["before_wei_floor"]
    assert floor(value) == ledger["credit_wei_floor"]
    assert after - (before or 0) == value - Fraction(ledger["debit_exact"])
    assert floor(after) == ledger["after_debit_wei_floor"]


def test_parallel_segments_share_one_balance(replayed):
    """The last two of stream zeta were sent at once; the recording keeps no ledger for them."""
    first, second, third = (replayed[number] for number in (31, 32, 33))
    assert second[1] == first[2]
    assert third[1] == second[2]


@pytest.mark.parametrize(("process", "last"), [("orch1", 30), ("orch3", 33)])
def test_every_winner_is_stored(replayed, process, last):
    won = sum(
        ticket["wins"]
        for case in CASES
        if case["process"] == process
        for ticket in case["derived"]["tickets"]
    )
    assert won > 1
    assert replayed[last][3] == won
