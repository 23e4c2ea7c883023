"""A segment's credentials, and the answer to it (wire-video 5.2, 5.3, 6.1)."""

from __future__ import annotations

import base64
import binascii
from fractions import Fraction
from typing import TYPE_CHECKING

from attrs import frozen
from google.protobuf.message import DecodeError
from podium_hookspecs import Clip, Codec, Container, H264Profile, Profile

from podium.crypto import keccak256
from podium.errors import WireError
from podium.model import (
    DEFAULT_SEGMENT_MS,
    MAX_SEGMENT_MS,
    AuthToken,
    Capabilities,
    UploadTarget,
)
from podium.wire import capabilities
from podium.wire.pb import lp_rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

HASH_BYTES = 32
MAX_PROFILES = 32
"""Profiles that are read; transcoders refuse more than 10 in words of their own."""

_INFO_KEY = b"\x82\x01"
"""Key of ``TranscodeResult.info``: field 16, with a length."""

_CONTAINERS = {0: Container.MPEGTS, 1: Container.MP4}
_H264_PROFILES = dict(enumerate(H264Profile))
_CODECS = {0: Codec.H264, 1: Codec.HEVC, 2: Codec.VP8, 3: Codec.VP9}


class SegmentEncodingError(WireError):
    """The segment header is not base64."""

    code = "segment_encoding"


@frozen
class SegmentCredentials:
    """The decoded ``Livepeer-Segment`` header.

    Attributes:
        manifest_id: As received: text in practice, any bytes in fact.
        seq: Sequence number.
        hash: Keccak-256 of the segment, 32 bytes.
        sig: The sender's signature; empty off chain.
        duration_ms: 1 to 300 000.
        profiles: Renditions wanted, in order; possibly none.
        capabilities: What the job needs.
        auth_token: The session's token, None when absent.
        upload_target: Where the results go instead of our own store.
    """

    manifest_id: bytes
    seq: int
    hash: bytes
    sig: bytes
    duration_ms: int
    profiles: tuple[Profile, ...]
    capabilities: Capabilities
    auth_token: AuthToken | None
    upload_target: UploadTarget | None = None
    clip: Clip | None = None
    want_signature: bool = False
    force_session_reinit: bool = False

    @property
    def manifest_key(self) -> str:
        """The manifest ID as text; bytes that are not UTF-8 stay distinct."""
        return self.manifest_id.decode(errors="backslashreplace")


def decode_credentials(header: str) -> SegmentCredentials:
    """Read the header; the empty one is an empty message, as protobuf has it.

    Raises:
        SegmentEncodingError: not base64.
        WireError: not a SegData, or with a profile or duration that cannot be.
    """
    try:
        raw = base64.b64decode(header, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SegmentEncodingError("ErrorSegEncoding") from error
    try:
        message = pb.SegData.FromString(raw)
    except DecodeError as error:
        raise WireError("proto: cannot parse invalid wire-format data") from error
    return from_pb(message)


def from_pb(message: pb.SegData) -> SegmentCredentials:
    """Check and convert a decoded SegData; the checks run in the reference's order."""
    profiles = decode_profiles(
        message.fullProfiles3 or message.fullProfiles2 or message.fullProfiles
    )
    if not 0 <= message.duration <= MAX_SEGMENT_MS:
        raise WireError("invalid duration")
    clip = None
    if message.HasField("segment_parameters"):
        clip = Clip(getattr(message.segment_parameters, "from"), message.segment_parameters.to)
    return SegmentCredentials(
        manifest_id=message.manifestId,
        seq=message.seq,
        hash=message.hash[-HASH_BYTES:].rjust(HASH_BYTES, b"\0"),
        sig=message.sig,
        duration_ms=message.duration or DEFAULT_SEGMENT_MS,
        profiles=profiles,
        capabilities=capabilities.from_pb(message.capabilities),
        auth_token=token_from_pb(message.auth_token) if message.HasField("auth_token") else None,
        upload_target=_upload_target(message.storage),
        clip=clip,
        want_signature=message.calc_perceptual_hash,
        force_session_reinit=message.ForceSessionReinit,
    )


def _upload_target(storage: Sequence[pb.OSInfo]) -> UploadTarget | None:
    kinds = {pb.OSInfo.S3: "s3", pb.OSInfo.GOOGLE: "google"}
    if not storage or storage[0].storageType not in kinds or not storage[0].s3info.host:
        return None
    info = storage[0].s3info
    return UploadTarget(
        kind=kinds[storage[0].storageType],
        host=info.host,
        key=info.key,
        policy=info.policy,
        signature=info.signature,
        credential=info.credential,
        date=info.xAmzDate,
    )


def token_from_pb(message: pb.AuthToken) -> AuthToken:
    """Convert a token."""
    return AuthToken(message.token, message.session_id, message.expiration)


def token_to_pb(token: AuthToken) -> pb.AuthToken:
    """Convert a token."""
    return pb.AuthToken(token=token.token, session_id=token.session_id, expiration=token.expiration)


def decode_profiles(messages: Sequence[pb.VideoProfile]) -> tuple[Profile, ...]:
    """Convert the requested renditions (wire-video 5.2); depth and chroma are always 8-bit 4:2:0.

    Raises:
        WireError: an enumeration value that no version knows, or far too many profiles.
    """
    if len(messages) > MAX_PROFILES:
        raise WireError("too many profiles")
    return tuple(_profile(message) for message in messages)


def _profile(message: pb.VideoProfile) -> Profile:
    if message.format not in _CONTAINERS:
        raise WireError("unrecognized profile output format")
    if message.profile not in _H264_PROFILES:
        raise WireError("unrecognized encoder profile")
    if message.encoder not in _CODECS:
        raise WireError("unrecognized video codec")
    name = message.name or f"net_{message.width}x{message.height}_{message.bitrate}"
    return Profile(
        name=name,
        width=message.width,
        height=message.height,
        bitrate_bps=message.bitrate,
        fps=Fraction(message.fps, message.fpsDen or 1) if message.fps else None,
        fps_num=message.fps,
        container=_CONTAINERS[message.format],
        codec=_CODECS[message.encoder],
        h264_profile=_H264_PROFILES[message.profile],
        gop_ms=message.gop,
        quality=message.quality,
    )


def signed_bytes(
    manifest_id: bytes, seq: int, segment_hash: bytes, profiles: Sequence[Profile]
) -> bytes:
    """Return what the sender signs of a segment (wire-video 5.3)."""
    names = "".join(keccak256(profile.name.encode())[:4].hex() for profile in profiles)
    return manifest_id + abs(seq).to_bytes(32, "big") + segment_hash + names.encode()


@frozen
class StoredRendition:
    """A finished rendition, where the gateway can fetch it."""

    url: str
    pixels: int
    signature_url: str = ""


def encode_result(
    seq: int, renditions: Sequence[StoredRendition], sig: bytes, info: bytes | None
) -> bytes:
    """Encode a success; no renditions are a success too.

    Args:
        seq: The segment's sequence number.
        renditions: In the order of the profiles.
        sig: Our signature of the result.
        info: A serialized OrchestratorInfo.
    """
    result = pb.TranscodeResult(seq=seq)
    result.data.SetInParent()
    for rendition in renditions:
        result.data.segments.add(
            url=rendition.url,
            pixels=rendition.pixels,
            perceptual_hash_url=rendition.signature_url,
        )
    result.data.sig = sig
    return result.SerializeToString() + _info_field(info)


def encode_failure(seq: int, error: str, info: bytes | None) -> bytes:
    """Encode a failure after the 200; peers match ``error`` as a whole string."""
    return pb.TranscodeResult(seq=seq, error=error).SerializeToString() + _info_field(info)


def _info_field(info: bytes | None) -> bytes:
    """Encode a result's ``info`` from a message that is serialized already."""
    if info is None:
        return b""
    size, rest = bytearray(), len(info)
    while rest > 0x7F:
        size.append(rest & 0x7F | 0x80)
        rest >>= 7
    size.append(rest)
    return _INFO_KEY + size + info


def result_digest(renditions: Sequence[bytes]) -> bytes:
    """Return the 32 bytes that the node signs of a result (wire-video 6.3)."""
    return keccak256(b"".join(keccak256(data) for data in renditions))
