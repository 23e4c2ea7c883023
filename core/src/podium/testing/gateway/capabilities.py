"""What a job needs, and whether an orchestrator has it: the Gateway's own reading of wire-video 8.

Source: go-livepeer core/capabilities.go (``JobCapabilities``, ``CompatibleWith``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from podium.testing.gateway.errors import InputError
from podium.wire.pb import lp_rpc_pb2 as net

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

AUTH_TOKEN = 12
SIGNATURE = 14
SLICING = 26
_INPUT = {"": 0, "h264": 0, "hevc": 15, "vp8": 17, "vp9": 18}
_H264_FORMATS = {
    "": (),
    "yuv420p": (),
    "yuvj420p": (),
    "yuv444p": (21,),
    "yuvj444p": (21,),
    "yuv422p": (22,),
    "yuvj422p": (22,),
    "yuv444p10le": (23,),
    "yuv422p10le": (24,),
    "yuv420p10le": (25,),
}
_ENCODER = {
    net.VideoProfile.H264: 0,
    net.VideoProfile.H265: 16,
    net.VideoProfile.VP8: 19,
    net.VideoProfile.VP9: 20,
}
_STORAGE = {net.OSInfo.DIRECT: 4, net.OSInfo.S3: 5, net.OSInfo.GOOGLE: 6}


def job_bits(
    profiles: Iterable[net.VideoProfile],
    *,
    codec: str = "",
    pixel_format: str = "",
    push: bool = True,
    signature: bool = False,
    storage: net.OSInfo | None = None,
) -> frozenset[int]:
    """Return the capability numbers a job needs (wire-video 8.4).

    Args:
        profiles: The renditions wanted.
        codec: FFmpeg's name of the source's video codec; empty when undetected.
        pixel_format: FFmpeg's name of the source's pixel format; counts for H.264 only.
        push: The stream came by HTTP push, which always asks for slicing.
        signature: MPEG-7 signatures are wanted.
        storage: Where results go; None is the orchestrator's memory.

    Raises:
        InputError: the network has no number for this codec or pixel format.
    """
    if codec not in _INPUT:
        raise InputError(f"the network cannot decode {codec!r} video")
    bits = {AUTH_TOKEN, _INPUT[codec]}
    if _INPUT[codec] == 0:
        if pixel_format not in _H264_FORMATS:
            raise InputError(f"the network cannot decode H.264 with pixel format {pixel_format!r}")
        bits.update(_H264_FORMATS[pixel_format])
    bits.update({SLICING} if push else ())
    bits.update({SIGNATURE} if signature else ())
    bits.update({_STORAGE[storage.storageType]} if storage is not None else ())
    for profile in profiles:
        bits.update(_profile_bits(profile))
    return frozenset(bits)


def _profile_bits(profile: net.VideoProfile) -> set[int]:
    bits = {_ENCODER[profile.encoder], 2 if profile.format == net.VideoProfile.MP4 else 1}
    if profile.fpsDen:
        bits.add(3)
    if profile.profile:
        bits.add(6 + profile.profile)
    if profile.gop:
        bits.add(11)
    return bits


def pack(bits: Iterable[int]) -> list[int]:
    """Return the 64-bit words of a set of numbers, as many as needed."""
    words: list[int] = []
    for bit in bits:
        words.extend([0] * (bit // 64 + 1 - len(words)))
        words[bit // 64] |= 1 << bit % 64
    return words


def message(bits: Iterable[int], min_version: str = "") -> net.Capabilities:
    """Return a job's set as it travels: no version, constraints always present."""
    constraints = net.Capabilities.Constraints(minVersion=min_version)
    return net.Capabilities(bitstring=pack(bits), constraints=constraints)


def compatible(job: net.Capabilities, node: net.Capabilities) -> bool:
    """Whether a node with these capabilities can do the job (wire-video 8.5)."""
    return (
        version_at_least(node.version, job.constraints.minVersion)
        and _subset(node.mandatories, job.bitstring, equal_length=False)
        and _models_fit(job.constraints, node.constraints)
        and _subset(job.bitstring, node.bitstring, equal_length=True)
    )


def version_at_least(version: str, minimum: str) -> bool:
    """Compare two versions, leaving suffixes out; an unreadable minimum lets all pass."""
    if not minimum:
        return True
    if version in ("", "undefined"):
        return False
    wanted, had = _semver(minimum), _semver(version)
    return wanted is None or (had is not None and had >= wanted)


def _semver(text: str) -> tuple[int, ...] | None:
    found = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)(?:[-+].*)?", text)
    return tuple(int(part) for part in found.groups()) if found else None


def _subset(inner: Sequence[int], outer: Sequence[int], *, equal_length: bool) -> bool:
    if equal_length and len(inner) > len(outer):
        return False  # even if the extra words are zero
    return all(
        word & ~(outer[index] if index < len(outer) else 0) == 0 for index, word in enumerate(inner)
    )


def _models_fit(
    wanted: net.Capabilities.Constraints, offered: net.Capabilities.Constraints
) -> bool:
    for capability, constraint in wanted.PerCapability.items():
        if capability not in offered.PerCapability:
            continue
        models = offered.PerCapability[capability].models
        for name, want in constraint.models.items():
            if name not in models or (want.warm and not models[name].warm):
                return False
            if not version_at_least(models[name].runnerVersion, want.runnerVersion):
                return False
    return True
