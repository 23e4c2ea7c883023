"""What our AI Gateway sends, against what an unmodified one sent on chain: the same messages."""

import email
import email.policy
import json
from base64 import b64decode
from pathlib import Path

import pytest
from attrs import frozen
from podium.crypto import KeySigner
from podium.testing.gateway.ai.pipelines import Upload, find_pipeline
from podium.testing.gateway.ai.requests import (
    ai_capabilities,
    build_ai_request,
    encode,
    fits,
    manifest_id,
)
from podium.testing.gateway.ai.session import AiSession
from podium.testing.gateway.requests import orchestrator_request
from podium.testing.gateway.tickets import Caps
from podium.wire.pb import lp_rpc_pb2 as net

RECORDED = json.loads((Path(__file__).parent / "data" / "onchain-jobs.json").read_text())
WALLET = KeySigner(bytes.fromhex(RECORDED["gateway_key"].removeprefix("0x")))


@frozen
class Never:
    def expired(self, expiration_block, age_s):
        return False


def parts_of(content_type, body):
    """Fields and file of a multipart body, read by Python's own parser."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    found = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        found[name] = (part.get_filename(), part.get_content_type(), part.get_payload(decode=True))
    return found


def request_of(job):
    """The fields and the file that the recorded Gateway's client must have given."""
    body = bytes.fromhex(job["body_hex"])
    if job["content_type"] == "application/json":
        return json.loads(body), None
    found = parts_of(job["content_type"], body)
    name, _, data = found.pop("image")
    return {key: value.decode() for key, (_, _, value) in found.items()}, Upload(name, data)


def session_of(pipeline, model, recorded):
    info = net.OrchestratorInfo.FromString(bytes.fromhex(recorded["info_hex"]))
    return AiSession(
        uri=info.transcoder,
        info=info,
        signer=WALLET,
        caps=Caps(max_ticket_ev=10**16, max_total_ev=10**18),
        clock=Never(),
        rpc=None,
        http=None,
    )


CASES = {recorded["jobs"][0]["path"].lstrip("/"): recorded for recorded in RECORDED["models"]}


@pytest.fixture(params=CASES)
def case(request):
    """(pipeline, model, recording) of each model that was asked for."""
    recorded = CASES[request.param]
    pipeline = find_pipeline(request.param)
    fields, _ = request_of(recorded["jobs"][0])
    return pipeline, fields[pipeline.model_field], recorded


def test_four_models_were_recorded():
    assert sorted(CASES) == ["image-to-text", "llm", "text-to-image", "text-to-speech"]


def test_the_same_question_is_asked(case):
    pipeline, model, recorded = case
    theirs = net.OrchestratorRequest.FromString(bytes.fromhex(recorded["request_hex"]))
    assert orchestrator_request(WALLET, ai_capabilities(pipeline.capability, model)) == theirs


def test_the_recorded_answer_is_accepted(case):
    pipeline, model, recorded = case
    info = net.OrchestratorInfo.FromString(bytes.fromhex(recorded["info_hex"]))
    assert fits(ai_capabilities(pipeline.capability, model), info.capabilities)
    assert not fits(ai_capabilities(pipeline.capability, "acme/other"), info.capabilities)
    assert not fits(ai_capabilities(29, model), info.capabilities)


def test_the_same_payments_are_made(case):
    """Ticket counts, nonces, signatures, expected price: every byte of every payment in order."""
    pipeline, model, recorded = case
    session = session_of(pipeline, model, recorded)
    for job in recorded["jobs"]:
        fields, upload = request_of(job)
        fee = pipeline.units(pipeline.complete(model, fields, upload), upload) * session.price
        account = session.account
        payment, stake = session.pay(fee)
        theirs = b64decode(job["payment"])
        assert payment == net.Payment.FromString(theirs)
        assert payment.SerializeToString() == theirs
        account.accept(stake)
        account.settle(stake, fee)


def test_the_same_credentials_are_made(case):
    pipeline, model, recorded = case
    session = session_of(pipeline, model, recorded)
    for job in recorded["jobs"]:
        made = build_ai_request(
            WALLET,
            session.info,
            pipeline,
            model,
            ai_capabilities(pipeline.capability, model),
            net.Payment.FromString(b64decode(job["payment"])),
            ("text/plain", b""),
        )
        ours = net.SegData.FromString(b64decode(made.headers["Livepeer-Segment"]))
        assert ours == net.SegData.FromString(b64decode(job["segment"]))
        assert ours.manifestId.decode() == manifest_id(pipeline.capability, model)
        assert made.headers["Livepeer-Payment"] == job["payment"]
        assert made.headers["Authorization"] == job["authorization"]


def test_the_same_bodies_are_made(case):
    pipeline, model, recorded = case
    for job in recorded["jobs"]:
        fields, upload = request_of(job)
        body = bytes.fromhex(job["body_hex"])
        kind, made = encode(pipeline, pipeline.complete(model, fields, upload), upload)
        if upload is None:
            assert kind == job["content_type"]
            assert json.loads(made) == json.loads(body)
        else:
            assert parts_of(kind, made) == parts_of(job["content_type"], body)


def test_form_values_are_written_as_in_the_network(png):
    fields = {"strength": 0.8, "seed": 7, "safety_check": True, "prompt": 'a "cat"', "none": None}
    pipeline = find_pipeline("image-to-image")
    upload = Upload('we"ird.png', png)
    kind, body = encode(pipeline, pipeline.complete("m", fields, upload), upload)
    assert body.index(b'name="image"') < body.index(b'name="strength"')
    found = {name: value[2] for name, value in parts_of(kind, body).items()}
    assert found.pop("image") == png
    assert found == {
        "strength": b"0.800000",
        "seed": b"7",
        "safety_check": b"true",
        "prompt": b'a "cat"',
        "num_images_per_prompt": b"1",
        "model_id": b"m",
    }
