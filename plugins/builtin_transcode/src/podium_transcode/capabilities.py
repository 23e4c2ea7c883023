"""What this installation can really do, as the network's capability numbers (wire-video 8.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from av.codec import codecs_available
from podium_hookspecs import GOP_INTRA, Codec, Container, H264Profile

if TYPE_CHECKING:
    from podium_hookspecs import Profile, TranscodeRequest

H264, MPEGTS, MP4, FRACTIONAL_RATES, GOP = 0, 1, 2, 3, 11
SIGNATURE, SLICING = 14, 26
H264_PROFILES = {
    H264Profile.BASELINE: 7,
    H264Profile.MAIN: 8,
    H264Profile.HIGH: 9,
    H264Profile.CONSTRAINED_HIGH: 10,
}
CONTAINERS = {Container.MPEGTS: MPEGTS, Container.MP4: MP4}
ENCODE = {Codec.H264: H264, Codec.HEVC: 16, Codec.VP8: 19, Codec.VP9: 20}
DECODE = {"hevc": 15, "vp9": 18}
H264_FORMATS = frozenset({21, 22, 23, 24, 25})
"""4:4:4 and 4:2:2 in 8 and 10 bits, and 4:2:0 in 10 bits; GPUs take none but 4:2:0."""

ENCODERS = {"libx265": 16, "libvpx-vp9": 20}
"""VP8 is not among them, in or out: neither MPEG-TS nor MP4 can hold it."""


def detect(*, gpu: bool, signature: bool) -> frozenset[int]:
    """Return the capability numbers of this installation.

    Args:
        gpu: Jobs run on GPUs.
        signature: The signature program is there.
    """
    numbers = {H264, MPEGTS, MP4, FRACTIONAL_RATES, GOP, SLICING, *H264_PROFILES.values()}
    numbers |= {number for name, number in DECODE.items() if name in codecs_available}
    numbers |= {number for name, number in ENCODERS.items() if name in codecs_available}
    if not gpu:
        numbers |= H264_FORMATS
    if signature:
        numbers.add(SIGNATURE)
    return frozenset(numbers)


def needed(request: TranscodeRequest) -> frozenset[int]:
    """Return what a request's renditions need; what its input needs only decoding tells."""
    numbers = {SLICING} if request.clip is not None else set()
    for profile in request.profiles:
        numbers |= _needed_by(profile)
    return frozenset(numbers)


def _needed_by(profile: Profile) -> set[int]:
    numbers = {CONTAINERS[profile.container], ENCODE[profile.codec]}
    if profile.fps is not None and profile.fps.denominator > 1:
        numbers.add(FRACTIONAL_RATES)
    if profile.h264_profile in H264_PROFILES:
        numbers.add(H264_PROFILES[profile.h264_profile])
    if profile.gop_ms > 0 or profile.gop_ms == GOP_INTRA:
        numbers.add(GOP)
    return numbers
