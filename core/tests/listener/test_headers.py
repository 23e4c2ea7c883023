"""HPACK with cached repeats means what plain HPACK means, in linear time."""

import time

import pytest
from hpack import Decoder, Encoder, NeverIndexedHeaderTuple
from hpack.exceptions import HPACKDecodingError, HPACKError, OversizedHeaderListError
from hypothesis import given
from hypothesis import strategies as st
from podium.listener.headers import (
    FieldDecoder,
    FieldEncoder,
    MalformedFields,
    request_head,
    response_fields,
)

names = st.sampled_from([b":method", b":path", b"content-type", b"x-a", b"x-b", b"content-length"])
values = st.one_of(st.sampled_from([b"", b"GET", b"/", b"a" * 40]), st.binary(max_size=300))
sections = st.lists(st.lists(st.tuples(names, values), min_size=1, max_size=8), max_size=12)


@given(sections, st.booleans())
def test_the_decoder_agrees_with_hpack(sections, huffman):
    encoder, decoder = Encoder(), FieldDecoder(2**20, 256)
    for section in sections:
        for _ in range(3):  # repeats come from the cache
            assert list(decoder.decode(encoder.encode(section, huffman))) == section


@given(sections)
def test_hpack_understands_the_encoder(sections):
    encoder, decoder = FieldEncoder(), Decoder(2**20)
    for number, section in enumerate(sections):
        if number == 4:
            encoder.header_table_size = 100
        for _ in range(3):
            assert list(decoder.decode(encoder.encode(section), raw=True)) == section


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused_as_by_hpack(block):
    def outcome(decoder):
        try:
            return list(decoder.decode(block, raw=True))
        except (HPACKError, OversizedHeaderListError) as error:
            return isinstance(error, HPACKError)

    assert outcome(FieldDecoder(2**16, 256)) == outcome(Decoder(2**16))


def test_never_indexed_fields_stay_so():
    block = Encoder().encode([(b"authorization", b"secret", True)])
    (field,) = FieldDecoder(2**16, 256).decode(block)
    assert isinstance(field, NeverIndexedHeaderTuple)


def test_an_endless_integer_is_refused():
    with pytest.raises(HPACKDecodingError):
        FieldDecoder(2**20, 256).decode(b"\xff" * 100)


def test_a_megabyte_of_small_fields_takes_linear_time():
    block = Encoder().encode(
        [(b"a%d" % number, b"v" * 70) for number in range(9000)], huffman=False
    )
    start_s = time.process_time()
    assert len(list(FieldDecoder(2**20, 9000).decode(block))) == 9000
    assert time.process_time() - start_s < 1.0  # quadratic: several


@pytest.mark.parametrize(
    "block",
    [b"\x82" * 257, b"\x40\x01a\x00" * 257, b"\x20" * 257 + b"\x82"],
    ids=["indexed", "literal", "table size updates"],
)
def test_the_number_of_fields_is_bounded(block):
    decoder = FieldDecoder(2**20, 256)
    with pytest.raises(OversizedHeaderListError):
        decoder.decode(block)
    assert len(list(decoder.decode(b"\x82" * 256))) == 256  # each block counts anew


def test_a_head_at_the_limits_does_not_hold_the_loop():
    """A few hundred bytes of references stand for a mebibyte of values."""
    head = [(b":method", b"GET"), (b":scheme", b"s"), (b":authority", b"x"), (b":path", b"/")]
    start_s = time.process_time()
    request_head([*head, *[(b"a", b"v" * 4000)] * 250])
    assert time.process_time() - start_s < 0.01


def test_response_fields_fit_http2():
    fields = [(b"Content-Type", b"a/b"), (b"Connection", b"close"), (b"Transfer-Encoding", b"x")]
    assert response_fields(fields) == [(b"content-type", b"a/b")]
    for bad in ((b"a b", b""), (b":status", b"200"), (b"a", b"b\nc"), (b"", b"")):
        with pytest.raises(MalformedFields):
            response_fields([bad])
