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
from pathlib import Path

import pytest
from podium.crypto import KeySigner
from podium.payments.params import Terms
from podium.payments.ticket import TicketTerms, wins
from podium.pricing import Rates
from podium.wire.payment import decode_payment, params_from_pb, payment_from_pb
from podium.wire.pb import lp_rpc_pb2 as pb

CASES = json.loads((Path(__file__).parent / "data/onchain-video/refusals.json").read_text())
BY_ID = {case["id"]: case for case in CASES}
BASE = Fraction(1_000_000_003, 2)


def recorded_view(case):
    """What the reference answered, in comparable form."""
    response = case["response"]
    if response is None:
        return {"status": None, "text": None}
    text = response["body"].get("text")
    view = {"status": response["status"], "text": text, "headers": headers(response["headers"])}
    if "message" in response:
        view["message"] = response["message"]
    return view


def headers(pairs):
    """Headers by lower-case name; of the date only that there is one."""
    found = {name.lower(): value for name, value in pairs}
    return found | {name: "..." for name in ("date",) if name in found}


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
        ours = {"status": answer.status, "headers": headers(answer.headers)}
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
    recorded = recorded_view(case)
    if recorded["status"] != ours["status"]:
        return {"status": ours["status"], "text": ours["text"]}
    return kit.differences(recorded, ours)


@pytest.fixture(scope="module")
def bodies(media):
    good = media[CASES[0]["request"]["body"]["sha256"]]
    return {body["length"]: good[: body["length"]] for body in (c["request"]["body"] for c in CASES)}


# ---------------------------------------------------------------- orch1, byte for byte


@pytest.fixture(scope="module")
def first_answers(kit, start_onchain, our_view, bodies, setup):
    """The answers to everything sent to ``orch1``, in order."""
    cases = [case for case in CASES if case["issued_by"] == "orch1"]
    now = unix_s(cases[0])
    node = start_onchain("orch1", now)
    answers = {}
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
    node.app.stop()
    return answers


def many_tickets(node, case, setup):
    """The one header that was too long to be kept: 601 losing tickets in order of nonces.

    Signatures are deterministic, so it comes out byte for byte.
    """
    recorded = case["payment"]
    message = pb.Payment(sender=bytes.fromhex(recorded["sender"]))
    for name, value in recorded["ticket_params"].items():
        setattr(message.ticket_params, name, bytes.fromhex(value))
    expiration = recorded["expiration_params"]
    message.expiration_params.creation_round = expiration["creation_round"]
    block_hash = bytes.fromhex(expiration["creation_round_block_hash"])
    message.expiration_params.creation_round_block_hash = block_hash
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


EXPLAINED = {}


@pytest.mark.parametrize(
    "case", [c for c in CASES if c["issued_by"] == "orch1"], ids=lambda c: f"{c['id']}-{c['case']}"
)
def test_sent_byte_for_byte(kit, tally, first_answers, case):
    found = compare(kit, case, first_answers[case["id"]])
    tally.judge(("refusals", case["id"]), found, EXPLAINED.get(case["id"]))
