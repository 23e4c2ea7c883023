"""115 recorded requests of a client on chain, most of them wrong in one point.

Those to the process ``orch1`` go byte for byte to our node with its secrets, clock and chain.
The secrets of ``orch2`` are not known, so what it issued is issued by our node instead: the token
is replaced, the tickets are signed anew with the recorded key over our parameters.
"""

import base64
import hashlib
import json
from email.utils import parsedate_to_datetime
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from podium.crypto import KeySigner, checksum_address, keccak256, sign_message
from podium.payments.params import Terms
from podium.payments.ticket import TicketTerms, wins
from podium.pricing import Rates
from podium.wire.payment import payment_from_pb
from podium.wire.pb import lp_rpc_pb2 as pb

CASES = json.loads((Path(__file__).parent / "data/onchain-video/refusals.json").read_text())
BY_ID = {case["id"]: case for case in CASES}
BASE = Fraction(1_000_000_003, 2)


def recorded_view(kit, case):
    """What the reference answered, in comparable form."""
    response = case["response"]
    if response is None:
        return {"status": None, "text": None}
    text = response["body"].get("text")
    length = response["body"]["length"]
    view = {"status": response["status"], "text": text}
    view["headers"] = kit.named(response["headers"], length)
    if "message" in response:
        view["message"] = response["message"]
    return view


def unix_s(case):
    """When the answer was given; None when there was none."""
    if case["response"] is None:
        return None
    date = dict(case["response"]["headers"])["Date"]
    return int(parsedate_to_datetime(date).timestamp())


def reply_params(case):
    message = (case["response"] or {}).get("message", {})
    return message.get("info", {}).get("ticket_params")


@pytest.fixture(scope="module")
def our_view(kit):
    def view(node, case, answer):
        ours = {"status": answer.status, "headers": kit.named(answer.headers, len(answer.body))}
        if answer.status != 200:
            return ours | {"text": answer.text if answer.status else None}
        kind = pb.PaymentResult if case["request"]["path"] == "/payment" else pb.TranscodeResult
        message = kit.plain(kind.FromString(answer.body))
        segments = message.get("data", {}).get("segments", [])
        renditions = [kit.download(node, segment["url"]) for segment in segments]
        recorded = (case["response"] or {}).get("message", {})
        kit.proved(node, message, renditions, recorded)
        message["info"].pop("capabilities")  # not kept in the recording
        return ours | {"text": None, "message": message}

    return view


def compare(kit, case, ours):
    """Ours where it differs; of two different statuses only status and text."""
    recorded = recorded_view(kit, case)
    if recorded["status"] != ours["status"]:
        return {"status": ours["status"], "text": ours["text"]}
    return kit.differences(recorded, ours)


@pytest.fixture(scope="module")
def bodies(media):
    good = media[CASES[0]["request"]["body"]["sha256"]]
    return {
        body["length"]: good[: body["length"]] for body in (c["request"]["body"] for c in CASES)
    }


# ---------------------------------------------------------------- orch1, byte for byte


@pytest.fixture(scope="module")
def first_answers(kit, start_onchain, our_view, bodies, setup):
    """The answers to everything sent to ``orch1``, and what made the store of winners grow."""
    cases = [case for case in CASES if case["issued_by"] == "orch1"]
    now = unix_s(cases[0])
    node = start_onchain("orch1", now)
    answers, stored = {}, [0]
    for case in cases:
        now = unix_s(case) or now
        node.moment(now, reply_params(case))
        request = case["request"]
        sent = dict(request["headers"])
        if isinstance(sent.get("Livepeer-Payment"), dict):
            sent["Livepeer-Payment"] = many_tickets(node, case, setup)
        answer = kit.over_h1(
            node.port, request["method"], request["path"], sent.items(),
            bodies[request["body"]["length"]],
        )  # fmt: skip
        answers[case["id"]] = our_view(node, case, answer)
        stored.append(node.app.call(node.app.node.payments.intake.store.count_tickets))
    node.app.stop()
    return answers, [c["id"] for c, (a, b) in zip(cases, pairwise(stored), strict=True) if b > a]


def many_tickets(node, case, setup):
    """The one header that was too long to be kept: 601 losing tickets in order of nonces.

    Signatures are deterministic, so it comes out byte for byte.
    """
    recorded = case["payment"]
    message = pb.Payment(sender=bytes.fromhex(recorded["sender"]))
    for name, value in recorded["ticket_params"].items():
        setattr(message.ticket_params, name, bytes.fromhex(value))
    set_expiration(message, recorded["expiration_params"])
    message.expected_price.CopyFrom(pb.PriceInfo(**recorded["expected_price"]))
    signer = KeySigner(bytes.fromhex(setup["accounts"]["sender2"]["private_key"][2:]))
    rand = recipient_rand(node, payment_from_pb(message))
    payment = payment_from_pb(message)
    terms = TicketTerms(payment.sender, payment.ticket_params, payment.expiration_params, rand)
    nonce = 0
    while len(message.ticket_sender_params) < 601:
        nonce += 1
        signature = signer.sign_digest(terms.ticket_hash(nonce))
        if not wins(signature, rand, payment.ticket_params.win_prob):
            message.ticket_sender_params.add(sender_nonce=nonce, sig=signature)
    header = base64.b64encode(message.SerializeToString()).decode()
    kept = case["request"]["headers"]["Livepeer-Payment"]
    assert len(header) == kept["length"]
    assert hashlib.sha256(header.encode()).hexdigest() == kept["sha256"]
    return header


def set_expiration(message, recorded):
    message.expiration_params.creation_round = recorded["creation_round"]
    block_hash = bytes.fromhex(recorded["creation_round_block_hash"])
    message.expiration_params.creation_round_block_hash = block_hash


def recipient_rand(node, payment):
    """The node's secret for a payment's parameters."""
    params = payment.ticket_params
    rand = node.app.node.payments.issuer.rand
    return rand.recipient_rand(
        Terms(
            seed=params.seed,
            sender=payment.sender,
            face_value=params.face_value,
            win_prob=params.win_prob,
            expiration_block=params.expiration_block,
            price=payment.expected_price.wei_per_unit,
            expiration=payment.expiration_params,
        )
    )


def refused(text, because):
    return {"status": 400, "text": text + "\n"}, because


PRICE = 'invalid expected price sent with payment err="{}"'
FREE = "work that nobody pays for is refused"
CRASH = "the reference crashes"
SPACE = "Go puts a no-break space into protobuf's error texts"
QUOTED = {
    "message.info.price_info.pricePerUnit": 101000000303,
    "message.info.price_info.pixelsPerUnit": 200,
    "message.info.ticket_params.face_value": "7c585095bde740",
    "message.info.ticket_params.win_prob": (
        "3333332d2fe23e4fd5a4c4252ed20b9de6929e9caca6645e128b8a2eb1e0ad2a"
    ),
}
STILL_PRICED = "a payment without tickets fixes no price of zero for its session"
EXPLAINED = {
    5: (
        {"text": "protobuf unmarshal error: proto: cannot parse invalid wire-format data\n"},
        SPACE,
    ),
    8: ({"text": "proto: cannot parse invalid wire-format data\n"}, SPACE),
    40: refused(PRICE.format("price is negative"), FREE),
    55: refused("Insufficient balance", FREE),
    56: refused("Insufficient balance", FREE),
    57: refused(PRICE.format("expected price is nil"), CRASH),
    59: refused("Insufficient balance", CRASH),
    60: refused("expiration params of tickets are missing", CRASH),
    64: refused(PRICE.format("price is 1, not 101000000303/200 as fixed for the session"), FREE),
    65: refused(PRICE.format("price is negative"), FREE),
    80: (
        QUOTED
        | {
            "message.info.ticket_params.recipient_rand_hash": (
                "aad9b6c654889745fac409585a72da3605c14bdef9065afc4695fd26213f26cd"
            )
        },
        STILL_PRICED,
    ),
    81: (
        QUOTED
        | {
            "message.info.ticket_params.recipient_rand_hash": (
                "348bb62995006e01be30602abffa6b51a4b6b3ce296f5baea48f9211c43ed37b"
            )
        },
        STILL_PRICED,
    ),
    95: (
        {"message.info.price_info.pixelsPerUnit": 200},
        "the price is fixed for a session from the first payment of a sender on, too",
    ),
    106: refused("Insufficient balance", FREE),
    114: refused("Insufficient balance", FREE),
}
"""Where our answer differs: its exact difference, and why."""


@pytest.mark.parametrize(
    "case", [c for c in CASES if c["issued_by"] == "orch1"], ids=lambda c: f"{c['id']}-{c['case']}"
)
def test_sent_byte_for_byte(kit, tally, first_answers, case):
    found = compare(kit, case, first_answers[0][case["id"]])
    tally.judge(("refusals", case["id"]), found, *filter(None, [EXPLAINED.get(case["id"])]))


def test_winners_are_stored_even_when_refused(first_answers):
    """Refused as expired (89) or not: with 10 in the segments, the 13 of the recorded metrics, and
    one just before the restart (91).
    """
    assert first_answers[1] == [37, 47, 89, 91]


# ---------------------------------------------------------------- orch2, issued anew


ISSUED_ANEW = "the process's secrets are not known, so our node issued token and parameters"
BYTE_FOR_BYTE = {92}
DOUBLED = {95, 96, 97, 108, 109}
"""Asked while the price was twice the first."""
OFFERED_DOUBLED = DOUBLED | {110}
UNFUNDED = {101, 102}
LIMIT = {98, 99, 100}
INACTIVE = {111: 22, 112: 23, 113: 23, 114: 23}
UNLOCKED = {103: 2, 104: 1, 105: 1, 106: 1}
"""Rounds until the sender may withdraw."""


class Issuer:
    """Puts our node's tokens and parameters in the place of the recorded ones."""

    def __init__(self, kit, node, setup):
        self.kit, self.node = kit, node
        self.signers = {}
        for account in setup["accounts"].values():
            signer = KeySigner(bytes.fromhex(account["private_key"][2:]))
            self.signers[signer.address] = signer
        self.sessions = {}
        self.offers = {}

    def session(self, session_id, sender):
        """Our token for a recorded session: asked for when it is first seen."""
        if session_id not in self.sessions:
            signer = self.signers[sender]
            request = pb.OrchestratorRequest(
                address=sender,
                sig=sign_message(signer, checksum_address(sender).encode()),
            ).SerializeToString()
            with self.kit.OverH2(self.node.port) as client:
                answer = client.request(
                    "POST",
                    "/net.Orchestrator/GetOrchestrator",
                    [("content-type", "application/grpc"), ("te", "trailers")],
                    b"\0" + len(request).to_bytes(4, "big") + request,
                )
            assert dict(answer.trailers)["grpc-status"] == "0", answer
            self.sessions[session_id] = pb.OrchestratorInfo.FromString(answer.body[5:])
        return self.sessions[session_id]

    def segment_header(self, case, info):
        message = pb.SegData.FromString(b64(case["request"]["headers"]["Livepeer-Segment"]))
        message.auth_token.CopyFrom(info.auth_token)
        return encoded(message)

    def payment_header(self, case, info):
        """The payment with our parameters, its tickets signed again for them."""
        header = case["request"]["headers"]["Livepeer-Payment"]
        message = pb.Payment.FromString(b64(header))
        if not message.HasField("ticket_params"):
            return header
        offered = self.offers.get(message.ticket_params.recipient_rand_hash, info.ticket_params)
        message.expiration_params.CopyFrom(offered.expiration_params)
        message.ticket_params.CopyFrom(offered)
        message.ticket_params.ClearField("expiration_params")
        payment = payment_from_pb(message)
        terms = TicketTerms(payment.sender, payment.ticket_params, payment.expiration_params, 0)
        signer = self.signers[payment.sender]
        for ticket in message.ticket_sender_params:
            ticket.sig = signer.sign_digest(terms.ticket_hash(ticket.sender_nonce))
        return encoded(message)

    def learn(self, case, answer):
        """Remember which parameters of ours stand for those of a recorded reply."""
        params = reply_params(case)
        if params is not None and answer.status == 200:
            result = pb.TranscodeResult.FromString(answer.body)
            rand_hash = bytes.fromhex(params["recipient_rand_hash"])
            self.offers[rand_hash] = result.info.ticket_params

    def translate(self, case, info, message):
        """Put the recorded values in the place of ours where ours are what we issued."""
        recorded = case["segdata"]["auth_token"]
        for segment in message.get("data", {}).get("segments", []):
            ours = f"/stream/{info.auth_token.session_id}/"
            segment["url"] = segment["url"].replace(ours, f"/stream/{recorded['session_id']}/")
        found = message["info"]
        if found["auth_token"] == self.kit.plain(info.auth_token):
            found["auth_token"] = recorded
        params = found["ticket_params"]
        if params["recipient_rand_hash"] == self.rand_hash(case, found).hex():
            params["recipient_rand_hash"] = reply_params(case)["recipient_rand_hash"]

    def rand_hash(self, case, info):
        """What our node has to have put into a reply's parameters."""
        message = pb.Payment(sender=bytes.fromhex(case["payment"]["sender"]))
        for name, value in info["ticket_params"].items():
            if name != "expiration_params":
                setattr(message.ticket_params, name, bytes.fromhex(value))
        set_expiration(message, info["ticket_params"]["expiration_params"])
        message.expected_price.CopyFrom(pb.PriceInfo(**info["price_info"]))
        return keccak256(recipient_rand(self.node, payment_from_pb(message)).to_bytes(32, "big"))


def b64(text):
    return base64.b64decode(text)


def encoded(message):
    return base64.b64encode(message.SerializeToString()).decode()


def set_price(node, times):
    node.app.node.book.rates = Rates(BASE * times)


def world_before(node, case, funds_of):
    """Bring the node to the state that a case was recorded in."""
    number, chain = case["id"], node.chain
    if number in UNFUNDED:
        chain.funds[bytes.fromhex(case["payment"]["sender"])] = funds_of(0.01, 0.9)
    if number in UNLOCKED:
        withdraw_round = chain.current_round + UNLOCKED[number]
        chain.unlock(bytes.fromhex(case["payment"]["sender"]), withdraw_round)
    elif number > max(UNLOCKED):
        chain.unlock(bytes.fromhex(case["payment"]["sender"]), 0)
    if number in INACTIVE:
        chain.current_round = INACTIVE[number]
        chain.round_hashes[chain.current_round] = keccak256(b"round %d" % chain.current_round)
        chain.inactive_rounds.add(chain.current_round)


@pytest.fixture(scope="module")
def second_answers(kit, start_onchain, our_view, bodies, setup, funds_of):
    """The answers to everything sent to ``orch2``, in order."""
    cases = [case for case in CASES if case["issued_by"] == "orch2"]
    node = start_onchain("orch2", unix_s(cases[0]))
    issuer = Issuer(kit, node, setup)
    answers = {}
    for case in cases:
        number, request = case["id"], case["request"]
        node.moment(unix_s(case), reply_params(case))
        sessions = node.app.node.sessions
        sessions.max_sessions = 1000
        sender = bytes.fromhex(case["payment"]["sender"])
        sent = dict(request["headers"])
        world_before(node, case, funds_of)
        set_price(node, 2 if number in OFFERED_DOUBLED else 1)
        if number not in BYTE_FOR_BYTE:
            info = issuer.session(case["segdata"]["auth_token"]["session_id"], sender)
            sent["Livepeer-Segment"] = issuer.segment_header(case, info)
            if number != 93:
                sent["Livepeer-Payment"] = issuer.payment_header(case, info)
        set_price(node, 2 if number in DOUBLED else 1)
        if number in LIMIT:
            sessions.max_sessions = len(sessions)
        answer = kit.over_h1(
            node.port, request["method"], request["path"], sent.items(),
            bodies[request["body"]["length"]],
        )  # fmt: skip
        issuer.learn(case, answer)
        view = our_view(node, case, answer)
        if number not in BYTE_FOR_BYTE and "message" in view:
            issuer.translate(case, info, view["message"])
        answers[number] = view
    node.app.stop()
    return answers


@pytest.mark.parametrize(
    "case", [c for c in CASES if c["issued_by"] == "orch2"], ids=lambda c: f"{c['id']}-{c['case']}"
)
def test_issued_anew(kit, tally, second_answers, case):
    number = case["id"]
    found = compare(kit, case, second_answers[number])
    remade = None if number in BYTE_FOR_BYTE else ISSUED_ANEW
    tally.judge(("refusals", number), found, *filter(None, [EXPLAINED.get(number)]), remade=remade)
