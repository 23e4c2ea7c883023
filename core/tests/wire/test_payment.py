"""The payment header (payments 3)."""

import base64
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from podium.model import PriceInfo
from podium.wire import payment as wire
from podium.wire.payment import (
    Base64Error,
    ExpirationParams,
    Payment,
    PaymentDecodeError,
    TicketParams,
    TicketSenderParams,
)
from podium.wire.pb import lp_rpc_pb2 as pb

VECTOR_B = bytes.fromhex(
    "0a8c010a14d71b07d57576d10e59c73d87a51f7330b19fcc7612080de0b6b3a76400001a2080000000000000000000000000000000000000000000000002e2f34caba400002220de38234225ea811ca1f1655cd8c785126a4a76b57aa8602d1e93fc2deb2b18fb2a20083001a6220e1ce71931c8ccbb48a1f24dc860016eb2da47f90bff845c80762a320401406f401214538acba31ea1ff9db925bb84097be65cd098c2421a2508801b122048da033661addf9ea6f70b209d60ff8bebfab23b3df97e1e2a3e16d668f78ee522450801124113c3c37a5b050b07161cebe96ad817e273cd04e2255d0c0adbc7e49069589167485117a9cf55041c215f664a257957c4f80bd72a395adfbcae11626c9d421f791c22450802124174d839641b044817bcfd0bd62f33db945a8cf7485ddd44cf9e0278fe3fec7b543f885f4d1668542832f80a89e45ebd7572e39c52db88b8c3178d105600a1ac541b2a0408651064"
)


def test_the_example_with_tickets():
    header = base64.b64encode(VECTOR_B).decode()
    found = wire.decode_payment(header)
    assert found.sender.hex() == "538acba31ea1ff9db925bb84097be65cd098c242"
    assert found.ticket_params.face_value == 10**18
    assert found.ticket_params.expiration_block == 21000000
    assert found.ticket_params.expiration_params is None
    assert found.expiration_params.creation_round == 3456
    assert [ticket.nonce for ticket in found.ticket_sender_params] == [1, 2]
    assert found.expected_price.wei_per_unit == Fraction(101, 100)
    assert found.has_tickets
    assert len(VECTOR_B) == 352
    assert wire.encode_payment(found) == header


def test_the_example_without_tickets():
    header = "EhSLBhzkhShIZZsWJfjNhDtJ7rBw9CoCEAE="
    found = wire.decode_payment(header)
    sender = bytes.fromhex("8b061CE4852848659b1625F8CD843B49EeB070f4")
    assert found == Payment(sender, expected_price=PriceInfo(0, 1))
    assert not found.has_tickets
    assert wire.encode_payment(found) == header


@pytest.mark.parametrize("header", [None, ""])
def test_no_header_is_the_empty_payment_of_nobody(header):
    found = wire.decode_payment(header)
    assert found == Payment()
    assert found.sender == bytes(20)
    assert found.expected_price is None


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("!", 0),
        ("not base64", 3),
        ("=", 0),
        ("A", 0),
        ("AA", 0),
        ("AAA", 0),
        ("AAAA=", 4),
        ("A===", 1),
        ("AA=", 3),
        ("AA=A", 2),
        ("AA==A", 4),
        ("AAA=A", 4),
        ("AA===", 4),
        ("AAAAAAAA AAA", 8),
        ("AAAAAA", 4),
        ("A\nA", 1),
        ("AA\n=\nB=", 4),
        ("AAAA-AAA", 4),
        ("AAAA\xe4AAA", 4),
        ("AAAA\u2028AAA", 4),
    ],
)
def test_offsets_of_illegal_base64(text, offset):
    """By hand from Go's encoding/base64, decodeQuantum."""
    with pytest.raises(Base64Error) as caught:
        wire.decode_payment(text)
    expected = f"base64 decode error: illegal base64 data at input byte {offset}"
    assert str(caught.value) == expected
    assert caught.value.code == "payment_base64"


def test_line_ends_are_skipped():
    assert wire.go_base64decode("AA\r\nEC\nAw=\n=\n") == b"\x00\x01\x02\x03"


@given(st.binary(max_size=200))
def test_well_formed_base64(data):
    assert wire.go_base64decode(base64.b64encode(data).decode()) == data


@given(st.text(alphabet="AZ+/=\n-é", max_size=24))
def test_what_is_taken_is_base64(text):
    try:
        data = wire.go_base64decode(text)
    except Base64Error:
        return
    assert base64.b64decode(text.replace("\n", ""), validate=True) == data


@given(st.binary(min_size=1, max_size=60))
@example(b"\xff\xff\xff")
@example(b"\x0a\xff\xff\xff\xff\x0f")
def test_any_bytes_decode_or_are_refused(data):
    header = base64.b64encode(data).decode()
    try:
        found = wire.decode_payment(header)
    except PaymentDecodeError:
        return
    assert len(found.sender) == 20


def test_the_text_for_what_is_no_protobuf():
    with pytest.raises(PaymentDecodeError, match=r"^protobuf unmarshal error: proto: "):
        wire.decode_payment("////")


def test_long_and_short_fields_are_cropped_and_padded():
    message = pb.Payment(sender=b"\x01" * 3 + b"\x02" * 20)
    message.ticket_params.recipient = b"\x05"
    message.ticket_params.recipient_rand_hash = b"\x06" * 40
    message.ticket_params.face_value = b"\x00\x00\x01\x00"
    message.expiration_params.creation_round_block_hash = b"\x07"
    found = wire.payment_from_pb(message)
    assert found.sender == b"\x02" * 20
    assert found.ticket_params.recipient == bytes(19) + b"\x05"
    assert found.ticket_params.recipient_rand_hash == b"\x06" * 32
    assert found.ticket_params.face_value == 256
    assert found.expiration_params.block_hash == bytes(31) + b"\x07"


def test_unknown_fields_are_ignored():
    found = wire.payment_from_pb(pb.Payment.FromString(VECTOR_B + b"\xa0\x06\x01"))
    assert found == wire.payment_from_pb(pb.Payment.FromString(VECTOR_B))


big = st.integers(0, 2**256 - 1)
int64 = st.integers(-(2**63), 2**63 - 1)
expirations = st.builds(ExpirationParams, int64, st.binary(min_size=32, max_size=32))
payments = st.builds(
    Payment,
    sender=st.binary(min_size=20, max_size=20),
    ticket_params=st.none()
    | st.builds(
        TicketParams,
        recipient=st.binary(min_size=20, max_size=20),
        face_value=big,
        win_prob=big,
        recipient_rand_hash=st.binary(min_size=32, max_size=32),
        seed=big,
        expiration_block=big,
        expiration_params=st.none() | expirations,
    ),
    expiration_params=st.none() | expirations,
    ticket_sender_params=st.lists(
        st.builds(TicketSenderParams, st.integers(0, 2**32 - 1), st.binary(max_size=70)),
        max_size=5,
    ).map(tuple),
    expected_price=st.none()
    | st.builds(PriceInfo, int64, int64, st.integers(0, 2**32 - 1), st.text(max_size=9)),
)


@given(payments)
def test_round_trip(payment):
    assert wire.decode_payment(wire.encode_payment(payment)) == payment


@given(big)
def test_integers_travel_without_leading_zeros(value):
    data = wire.min_bytes(value)
    assert int.from_bytes(data, "big") == value
    assert not data.startswith(b"\0")
