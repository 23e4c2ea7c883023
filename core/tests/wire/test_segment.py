import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from podium import crypto
from podium.errors import WireError
from podium.wire import segment
from podium.wire.pb import lp_rpc_pb2 as pb
from podium_hookspecs import Codec, Container, H264Profile, Profile

KEY = bytes.fromhex("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318")
P144 = Profile("P144p30fps16x9", 256, 144)
P240 = Profile("P240p30fps16x9", 426, 240)

# wire-video appendix A: a complete header.
HEADER = (
    "CgZhYmNkZWYQ0gkaIFMQP4PAPWPlsgsnbZNGyZtVkxIqpxWhsr+6qmEZOzvQIgdpbnZhbGlkKkH8qhttm2D6fFbUzyeWVDa+"
    "VCkgAuq9nAUF8QK20p/MbVLKo6xUkLfGFw2PcBMUuWFfHIUv8+lKMwlkMa0aItuvHDDQDzoGCgKDICoAQi0KIDJIGdKTRqu"
    "kOM4iJLYhZMEBJlhnWyyKUYpJwUww1VV1EgNiYXIYgK6ZpA+KAiGCAQ5QMTQ0cDMwZnBzMTZ4OYgBgAKQAZABmAGAtRigAR"
    "6KAiGCAQ5QMjQwcDMwZnBzMTZ4OYgBqgOQAfABmAHAzySgAR4="
)


def test_go_test_vector_of_the_signed_buffer():
    buffer = segment.signed_bytes(b"abcdef", 1234, b"browns".ljust(32, b"\0"), [P144, P240])
    assert len(buffer) == 86
    assert buffer.endswith(b"fca40bf9c0a6517a")
    assert crypto.keccak256(buffer).hex() == (
        "08a398e7e7a5a545b0b07d9e7e1eab52b4131e0df1621bd53ee6e7550a15465b"
    )


def test_complete_header():
    found = segment.decode_credentials(HEADER)
    assert found.manifest_key == "abcdef"
    assert found.seq == 1234
    assert found.duration_ms == 2000
    assert found.hash == crypto.keccak256(b"hello segment")
    assert found.capabilities.bits == {0, 1, 12}
    assert found.auth_token.session_id == "bar"
    assert [(p.name, p.width, p.height, p.bitrate_bps, p.fps) for p in found.profiles] == [
        ("P144p30fps16x9", 256, 144, 400_000, 30),
        ("P240p30fps16x9", 426, 240, 600_000, 30),
    ]
    signed = segment.signed_bytes(found.manifest_id, found.seq, found.hash, found.profiles)
    address = crypto.recover(crypto.keccak256(signed), found.sig)
    assert address == crypto.KeySigner(KEY).address


def test_result_signature_vector():
    renditions = [b"rendition-0" * 4, b"rendition-1" * 4]
    digest = segment.result_digest(renditions)
    assert digest.hex() == "ea88a18132c45415ddb0b0e255ed8c08d0e1cfd6858893e83563dac2edb9d826"
    assert crypto.KeySigner(KEY).sign_digest(digest).hex() == (
        "d18ef490eab56e56b44d9bd2a676b71be8a17dacf1ea925b9ad0fc471ff51aa935e40108cfb641386086c159ada6f"
        "e1000916ed7da3dc3c7cf2781f0335d92121c"
    )


def decode(**fields):
    message = pb.SegData(**fields)
    return segment.decode_credentials(base64.b64encode(message.SerializeToString()).decode())


@pytest.mark.parametrize(
    ("profile", "text"),
    [
        (pb.VideoProfile(format=7), "unrecognized profile output format"),
        (pb.VideoProfile(profile=9), "unrecognized encoder profile"),
        (pb.VideoProfile(encoder=9), "unrecognized video codec"),
    ],
)
def test_unknown_enumerations(profile, text):
    with pytest.raises(WireError, match=f"^{text}$"):
        decode(fullProfiles=[profile])


@pytest.mark.parametrize("duration", [-1, 300_001])
def test_bad_durations(duration):
    with pytest.raises(WireError, match=r"^invalid duration$"):
        decode(duration=duration)


def test_defaults_and_normalisation():
    found = decode(hash=b"\x01" * 40, manifestId=b"\xff\x00")
    assert found.duration_ms == 2000
    assert found.hash == b"\x01" * 32
    assert found.manifest_key == "\\xff\x00"
    assert found.profiles == ()
    assert found.auth_token is None
    assert found.capabilities.bits == frozenset()
    assert decode(hash=b"\x01").hash == b"\0" * 31 + b"\x01"


def test_the_fullest_list_of_profiles_counts():
    one, two, three = (pb.VideoProfile(name=n) for n in "abc")
    assert decode(fullProfiles=[one], fullProfiles2=[two]).profiles[0].name == "b"
    assert decode(fullProfiles2=[two], fullProfiles3=[three]).profiles[0].name == "c"


def test_profile_fields():
    found = decode(
        fullProfiles3=[
            pb.VideoProfile(
                width=640,
                height=360,
                bitrate=9,
                fps=30000,
                fpsDen=1001,
                gop=-1,
                quality=30,
                format=pb.VideoProfile.MP4,
                encoder=pb.VideoProfile.H265,
                profile=pb.VideoProfile.H264_CONSTRAINED_HIGH,
                colorDepth=2,
                chromaFormat=2,
            )
        ]
    ).profiles[0]
    assert found.name == "net_640x360_9"
    assert found.fps.as_integer_ratio() == (30000, 1001)
    assert found.fps_num == 30000
    assert found.gop_ms == -1
    assert found.quality == 30
    assert found.container is Container.MP4
    assert found.codec is Codec.HEVC
    assert found.h264_profile is H264Profile.CONSTRAINED_HIGH


@pytest.mark.parametrize("header", ["%", "abc", "CgZh\n"])
def test_not_base64(header):
    with pytest.raises(segment.SegmentEncodingError, match=r"^ErrorSegEncoding$"):
        segment.decode_credentials(header)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(raw):
    try:
        found = segment.decode_credentials(base64.b64encode(raw).decode())
    except WireError:
        return
    assert 1 <= found.duration_ms <= 300_000
    assert len(found.hash) == 32


@pytest.mark.parametrize("uri", ["https://127.0.0.1:8935", "https://" + 20_000 * "a"])
def test_result_encoding(uri):
    info = pb.OrchestratorInfo(transcoder=uri).SerializeToString()
    good = pb.TranscodeResult.FromString(
        segment.encode_result(7, [segment.StoredRendition("u", 12, "h")], b"s", info)
    )
    assert good.WhichOneof("result") == "data"
    assert (good.seq, good.data.segments[0].pixels, good.data.sig) == (7, 12, b"s")
    empty = pb.TranscodeResult.FromString(segment.encode_result(0, [], b"", None))
    assert empty.WhichOneof("result") == "data"
    assert not empty.HasField("info")
    bad = pb.TranscodeResult.FromString(segment.encode_failure(7, "OrchestratorBusy", info))
    assert (bad.error, bad.info.transcoder) == ("OrchestratorBusy", uri)


def test_far_too_many_profiles_are_refused_before_they_are_read():
    with pytest.raises(WireError, match=r"^too many profiles$"):
        decode(fullProfiles=[pb.VideoProfile()] * 33)
