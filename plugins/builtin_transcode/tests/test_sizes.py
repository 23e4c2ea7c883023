"""The size rule, with the reference's vectors (wire-video 12.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from podium_hookspecs import BadInput, Codec
from podium_transcode.engine.sizes import LIMITS, MAX_FOLLOWING_SIDE, output_size

VECTORS = [
    ((150, 200), (0, 250), (188, 250)),
    ((200, 300), (0, 427), (284, 426)),
    ((200, 300), (426, 0), (284, 426)),
    ((123, 456), (0, 426), (146, 542)),
    ((200, 300), (0, 428), (286, 428)),
    ((400, 456), (0, 40), (146, 166)),
    ((1280, 720), (0, 123), (146, 82)),
    ((456, 123), (426, 0), (426, 114)),
    ((456, 123), (0, 301), (300, 80)),
    ((456, 400), (100, 0), (146, 128)),
    ((500, 100), (0, 200), (250, 50)),
    ((456, 120), (0, 400), (400, 106)),
    ((123, 123), (426, 0), (426, 426)),
    ((56, 100), (256, 144), (146, 260)),
    ((100, 56), (256, 144), (256, 144)),
]


@pytest.mark.parametrize(("source", "requested", "expected"), VECTORS)
def test_vectors(source, requested, expected):
    assert output_size(Codec.H264, requested, source) == expected


@pytest.mark.parametrize(("source", "requested", "expected"), VECTORS)
def test_the_orientation_of_the_request_makes_no_difference(source, requested, expected):
    if requested[0] < 146 and requested[1] > 50:
        assert output_size(Codec.H264, requested[::-1], source) == expected


@pytest.mark.parametrize("requested", [(-(2**31), -1), (0, -(2**31)), (-7, 0)])
def test_no_size_or_less_is_the_smallest(requested):
    assert output_size(Codec.H264, requested, (1280, 720)) == (146, 82)


def test_hevc_has_limits_of_its_own():
    assert output_size(Codec.HEVC, (0, 0), (1280, 720)) == (132, 74)
    assert output_size(Codec.HEVC, (9000, 0), (1280, 720)) == (8192, 4608)
    assert output_size(Codec.H264, (9000, 0), (1280, 720)) == (4096, 2304)


def test_a_thread_of_a_picture_is_refused():
    with pytest.raises(BadInput) as caught:
        output_size(Codec.H264, (256, 144), (8192, 2))
    assert caught.value.public == "TranscoderInvalidResolution"


sides = st.integers(1, 8192)
asked = st.integers(-5, 20_000)


@given(st.sampled_from(list(LIMITS)), asked, asked, sides, sides)
def test_sizes_are_even_bounded_and_keep_the_shape(codec, width, height, source_w, source_h):
    try:
        out_w, out_h = output_size(codec, (width, height), (source_w, source_h))
    except BadInput:
        assert max(source_w, source_h) > 10 * min(source_w, source_h)
        return
    limits = LIMITS[codec]
    assert out_w % 2 == out_h % 2 == 0
    assert min(out_w, out_h) >= 2
    assert max(out_w, out_h) <= MAX_FOLLOWING_SIDE
    if source_w >= source_h:
        assert out_h >= limits.min_height
        assert abs(out_w * source_h - out_h * source_w) <= max(source_w, source_h)
    else:
        assert out_w >= limits.min_width
        assert abs(out_w * source_h - out_h * source_w) <= max(source_w, source_h)
