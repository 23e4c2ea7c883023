"""What our sender makes, against what an unmodified gateway made: byte for byte."""

from base64 import b64encode
from fractions import Fraction

import pytest
from podium.crypto import KeySigner, keccak256
from podium.testing.gateway import profiles, verify
from podium.testing.gateway.account import Account, Nonces
from podium.testing.gateway.capabilities import job_bits, message
from podium.testing.gateway.errors import VerificationFailed
from podium.testing.gateway.requests import (
    build_payment,
    build_segdata,
    orchestrator_request,
    segment_bytes_to_sign,
)
from podium.testing.gateway.tickets import FEE_MARGIN, TicketTerms, estimate_fee, estimate_pixels
from podium.wire.pb import lp_rpc_pb2 as net


@pytest.fixture
def wallet(recorded):
    return KeySigner(bytes.fromhex(recorded["gateway_key"].removeprefix("0x")))


def terms_of(payment):
    """The offer a recorded payment answers: payments carry its expiry beside the parameters."""
    offer = net.TicketParams()
    offer.CopyFrom(payment.ticket_params)
    offer.expiration_params.CopyFrom(payment.expiration_params)
    return TicketTerms.read(offer)


def test_margin_is_the_float():
    assert Fraction(1.02) == FEE_MARGIN


def test_every_payment_is_rebuilt_byte_for_byte(exchanges, wallet):
    for record, _, payment, _ in exchanges:
        nonces = [ticket.sender_nonce for ticket in payment.ticket_sender_params]
        built = build_payment(wallet, payment.expected_price, terms_of(payment), nonces)
        assert b64encode(built.SerializeToString()).decode() == record["payment"], record["id"]


def test_ticket_hashes(exchanges, wallet):
    for record, _, payment, _ in exchanges:
        terms = terms_of(payment)
        hashes = [
            terms.ticket_hash(wallet.address, ticket.sender_nonce).hex()
            for ticket in payment.ticket_sender_params
        ]
        assert hashes == record["ticket_hashes"]


def test_every_segment_header_is_rebuilt_byte_for_byte(exchanges, wallet):
    for record, segdata, _, _ in exchanges:
        built = build_segdata(
            wallet,
            token=segdata.auth_token,
            manifest_id=record["stream"],
            seq=record["seq"],
            body=b"",
            duration_ms=segdata.duration,
            profiles=profiles.attached(segdata),
            capabilities=message(job_bits(profiles.attached(segdata), codec="h264")),
            before_signing=lambda made, hash_=segdata.hash: setattr(made, "hash", hash_),
        )
        assert built == segdata, record["id"]
        assert b64encode(built.SerializeToString()).decode() == record["segment"], record["id"]
        assert keccak256(segment_bytes_to_sign(built)).hex() == record["segment_sig_keccak"]


def test_ticket_counts_follow_the_recorded_estimates(exchanges):
    """Replays the sender's book over all streams, parallel segments included."""
    accounts, nonces, counts = {}, Nonces(), []
    in_flight = []
    for record, segdata, payment, result in exchanges:
        session_id = segdata.auth_token.session_id
        if in_flight and not (record["stream"] == "zeta" and record["seq"] == 1):
            settle(in_flight)
        account = accounts.setdefault(session_id, Account(session_id))
        terms = terms_of(payment)
        price = Fraction(payment.expected_price.pricePerUnit, payment.expected_price.pixelsPerUnit)
        ladder = profiles.attached(segdata)
        estimate = record["estimate"]
        assert estimate_pixels(ladder, segdata.duration) == estimate["pixels"]
        fee = estimate_fee(ladder, segdata.duration, price)
        assert fee // 1 == estimate["fee_wei_floor"]
        assert terms.expected_value // 1 == estimate["ev_one_ticket_wei_floor"]
        if "existing_credit_wei_floor" in estimate:
            assert account.balance // 1 == estimate["existing_credit_wei_floor"], record["id"]
        count = account.count(fee, terms.expected_value)
        taken = nonces.take(terms.recipient_rand_hash, count)
        assert [t.sender_nonce for t in payment.ticket_sender_params] == list(taken), record["id"]
        counts.append(count)
        stake = account.stage(terms.expected_value, taken)
        debit = price * sum(piece.pixels for piece in result.data.segments)
        if record["debit"] is not None:
            assert debit == Fraction(record["debit"])
        in_flight.append((account, stake, debit))
    assert counts == [record["estimate"]["tickets"] for record, *_ in exchanges]
    assert len(counts) == 34


def settle(in_flight):
    for account, stake, debit in in_flight:
        account.accept(stake)
        account.settle(stake, debit)
    in_flight.clear()


def test_result_signatures(exchanges):
    checked = 0
    for record, _, _, result in exchanges:
        hashes = [bytes.fromhex(text) for text in record["renditions"]]
        payload = keccak256(b"".join(hashes))
        assert verify.recover(payload, result.data.sig) == result.info.address
        checked += 1
    assert checked == 34


def test_a_wrong_rendition_or_a_missing_one_is_noticed(exchanges):
    _, _, _, result = exchanges[0]
    for renditions in ([b"a", b"b"], [b"a"]):
        with pytest.raises(VerificationFailed, match="PM Check Failed"):
            verify.check_signature(result.info, result.data, renditions)


def test_the_recipient_signs_when_the_address_is_zero():
    signer = KeySigner(b"\x07" * 32)
    blobs = [b"rendition-0" * 4, b"rendition-1" * 4]
    data = net.TranscodeData(
        segments=[net.TranscodedSegmentData()] * 2,
        sig=signer.sign_digest(verify.result_payload(blobs)),
    )
    info = net.OrchestratorInfo(
        address=bytes(20), ticket_params=net.TicketParams(recipient=signer.address)
    )
    assert verify.check_signature(info, data, blobs)
    assert not verify.check_signature(net.OrchestratorInfo(address=bytes(20)), data, blobs)


def test_discovery_requests(recorded, wallet):
    ours = orchestrator_request(wallet, message(job_bits([profiles.preset("P240p30fps16x9")])))
    framed = b"\0" + len(ours.SerializeToString()).to_bytes(4, "big") + ours.SerializeToString()
    assert framed.hex() in recorded["getorchestrator"]


def test_offchain_jobs(offchain_segments):
    seen = set()
    for segdata in offchain_segments:
        ladder = profiles.attached(segdata)
        assert message(job_bits(ladder)) == segdata.capabilities
        again = net.SegData()
        profiles.attach(again, ladder)
        assert profiles.attached(again) == ladder
        assert bool(again.fullProfiles3) == bool(segdata.fullProfiles3)
        seen.add(segdata.capabilities.bitstring[0])
    assert seen == {67112963, 67116683, 67116685}
