"""What a video transcoding job asks for and returns.

Source of every field: go-livepeer ``net/lp_rpc.proto`` (``VideoProfile``,
``SegData``) and lpms ``ffmpeg/videoprofile.go``.
"""

from __future__ import annotations

from enum import Enum
from fractions import Fraction

from attrs import field, frozen, validators


class Container(Enum):
    """The container of a rendition; the value is its file name ending."""

    MPEGTS = "ts"
    MP4 = "mp4"


class Codec(Enum):
    """The codec of a rendition's video."""

    H264 = "h264"
    HEVC = "hevc"
    VP8 = "vp8"
    VP9 = "vp9"


class H264Profile(Enum):
    """The H.264 profile that a rendition must keep to."""

    DEFAULT = "default"
    BASELINE = "baseline"
    MAIN = "main"
    HIGH = "high"
    CONSTRAINED_HIGH = "constrained_high"


GOP_INTRA = -1
"""Every frame is a keyframe."""


@frozen
class Profile:
    """One requested rendition.

    Attributes:
        name: Unique within a job in practice; used in result paths, so the host sanitises it.
        width: Requested width in pixels; only the larger side counts (wire-video 12.2).
        height: Requested height in pixels.
        bitrate_bps: Target, minimum, maximum and VBV size in bits per second; 0 sets none.
        fps: Frames per second, None passes the source's frames through.
        fps_num: The numerator as sent; a fixed GOP counts with it (wire-video 12.4).
        container: MPEG-TS or MP4.
        codec: Encoder.
        h264_profile: Profile constraint, for H.264 only.
        gop_ms: 0: the encoder's own; > 0: milliseconds; -1: every frame intra.
        quality: 1 to 63: constant rate factor with the bitrate as cap; else unset.
    """

    name: str
    width: int = field(validator=validators.instance_of(int))
    height: int = field(validator=validators.instance_of(int))
    bitrate_bps: int = field(default=0, validator=validators.instance_of(int))
    fps: Fraction | None = None
    fps_num: int = 0
    container: Container = Container.MPEGTS
    codec: Codec = Codec.H264
    h264_profile: H264Profile = H264Profile.DEFAULT
    gop_ms: int = 0
    quality: int = 0

    @property
    def file_name_ending(self) -> str:
        """The ending of this rendition's object name, with its dot."""
        return "." + self.container.value


@frozen
class Clip:
    """The part of a segment to transcode, in ms from its first frame; ``to_ms`` 0: all the rest."""

    from_ms: int
    to_ms: int


@frozen
class TranscodeRequest:
    """The typed part of a transcoding job; the segment itself is the job's body.

    Attributes:
        manifest_id: The gateway's stream identifier; hostile text, never a path.
        seq: Sequence number of the segment.
        duration_ms: Declared duration, 1 to 300 000.
        profiles: The renditions wanted, in the order of the results.
        clip: A window of the segment, or None for all of it.
        want_signature: Also return an MPEG-7 video signature of each rendition.
        force_session_reinit: Rebuild the device session (hardware encoders only).
    """

    manifest_id: str
    seq: int
    duration_ms: int
    profiles: tuple[Profile, ...]
    clip: Clip | None = None
    want_signature: bool = False
    force_session_reinit: bool = False


@frozen
class Rendition:
    """One finished rendition, as a transcoding pipeline's chunks carry it.

    Attributes:
        profile: The profile it answers.
        data: The file, bytes of MPEG-TS or MP4.
        pixels: Encoded frames x width x height of each: what a gateway counts and pays.
        signature: The MPEG-7 signature file, None when not asked for or not to be had.
    """

    profile: Profile
    data: bytes = field(repr=lambda data: f"<{len(data)} bytes>")
    pixels: int
    signature: bytes | None = field(default=None, repr=False)
