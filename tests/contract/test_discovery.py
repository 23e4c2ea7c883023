"""Every recorded GetOrchestrator, Ping and EndTranscodingSession, on chain, as raw gRPC frames."""

import json
from pathlib import Path

import pytest
from podium.wire.pb import lp_rpc_pb2 as pb

CASES = json.loads((Path(__file__).parent / "data/onchain-video/getorchestrator.json").read_text())
REPLIES = {
    "GetOrchestrator": pb.OrchestratorInfo,
    "Ping": pb.PingPong,
    "EndTranscodingSession": pb.EndTranscodingSessionResponse,
}
FIRST_OF_ORCH2 = 42
NOT_FUNDED_YET = {1, 52}
CAPPED = 53
FOREIGN_TOKEN = {54}
ISSUED_ANEW = "the process's secrets are not known, so our node issued the token"


def name(case):
    return case["method"].rpartition("/")[2]


def reply_params(case):
    return case["response"].get("message", {}).get("ticket_params")


def recorded_view(case):
    response = case["response"]
    message = dict(response.get("message") or {})
    message.pop("auth_token", None)
    return {
        "http": "h2",
        "status": response["status"],
        "headers": sorted(response["headers"]),
        "trailers": sorted(map(tuple, response["trailers"])),
        "message": message,
    }


@pytest.fixture(scope="module")
def answers(kit, start_onchain, funds_of, funds):
    """The answers to all of them, in order, on one connection for each process."""
    found = {}
    for process, cases in (
        ("orch1", [c for c in CASES if c["id"] < FIRST_OF_ORCH2]),
        ("orch2", [c for c in CASES if c["id"] >= FIRST_OF_ORCH2]),
    ):
        node = start_onchain(process, cases[0]["timing"]["start_unix"])
        with kit.OverH2(node.port) as client:
            for case in cases:
                found[case["id"]] = replay(kit, node, client, case, funds_of, funds)
        node.app.stop()
    return found


def replay(kit, node, client, case, funds_of, funds):
    number, request = case["id"], case["request"]
    params = reply_params(case)
    node.moment(case["timing"]["start_unix"], params)
    node.chain.funds = dict(funds)
    if number in NOT_FUNDED_YET:
        sender = bytes.fromhex(request["message"]["address"])
        node.chain.funds[sender] = funds_of(0, 0)
    if number == CAPPED:
        node.app.node.sessions.max_sessions = 0
    body = bytes.fromhex(request["body_hex"])
    if number in FOREIGN_TOKEN:
        token = node.app.node.service.tokens.issue()
        message = pb.EndTranscodingSessionRequest()
        message.auth_token.token = token.token
        message.auth_token.session_id = token.session_id
        message.auth_token.expiration = token.expiration
        body = kit.framed(message)
    answer = client.request("POST", case["method"], request["headers"], body)
    message = kit.plain(kit.unframed(REPLIES[name(case)], answer.body) or pb.PingPong())
    kit.own_token(node, message)
    return {
        "http": answer.alpn,
        "status": answer.status,
        "headers": sorted(list(pair) for pair in answer.headers if pair[0] != "date"),
        "trailers": sorted(answer.trailers),
        "message": message,
    }


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['id']}-{name(c)}")
def test_call(kit, tally, answers, case):
    number = case["id"]
    found = kit.differences(recorded_view(case), answers[number])
    standing = []
    if "capabilities" in case["response"].get("message", {}):
        standing.append(kit.capabilities_at("message.capabilities"))
    remade = ISSUED_ANEW if number in FOREIGN_TOKEN else None
    tally.judge(("getorchestrator", number), found, standing=standing, remade=remade)


def test_discovery_covers_every_kind_of_answer(answers):
    assert len(answers) == 49
    statuses = [dict(answer["trailers"])["grpc-status"] for answer in answers.values()]
    assert statuses.count("2") == 6
