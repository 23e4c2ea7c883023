"""What one run of the engine is given and gives back, and its plain-JSON form.

The form crosses from the node to the child process and back. It is JSON, never
pickle: the child reads hostile media, so nothing it sends may be code.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from attrs import asdict, field, frozen
from podium_hookspecs import Clip, Codec, Container, H264Profile, Profile


@frozen
class EngineOptions:
    """How to transcode: the operator's choices and the node's name.

    Attributes:
        device: ``"cpu"``, or a GPU's index.
        preset: libx264 and libx265 preset.
        threads: Threads of each software encoder; at least 1.
        max_pixels_per_frame: Larger pictures are refused.
        max_decoded_frames: Longer inputs are refused.
        program: Path of an ``ffmpeg`` with the signature filter, or empty.
        label: ``Livepeer Transcoder <version> (<orchestrator>)``, for the metadata.
        timeout_s: Bound for the signature program.
    """

    device: str = "cpu"
    preset: str = "medium"
    threads: int = 2
    max_pixels_per_frame: int = 8192 * 8192
    max_decoded_frames: int = 72_000
    program: str = ""
    label: str = "Livepeer Transcoder"
    timeout_s: float = 60.0


@frozen
class EngineJob:
    """One segment's work."""

    profiles: tuple[Profile, ...]
    clip: Clip | None = None
    want_signature: bool = False
    options: EngineOptions = field(factory=EngineOptions)


@frozen
class Encoded:
    """One finished rendition.

    Attributes:
        data: The file's bytes.
        frames: Encoded frames.
        pixels: Sum of width x height of the encoded frames.
        width: Of the last frame, pixels; 0 without frames.
        height: Of the last frame, pixels.
    """

    data: bytes = field(repr=False)
    frames: int
    pixels: int
    width: int
    height: int


@frozen
class Summary:
    """What decoding the segment took."""

    decoded_frames: int
    decoded_pixels: int
    seconds: float


def job_to_json(job: EngineJob) -> dict[str, Any]:
    """Turn a job into what ``json`` can write."""
    return {
        "profiles": [_profile_to_json(profile) for profile in job.profiles],
        "clip": None if job.clip is None else [job.clip.from_ms, job.clip.to_ms],
        "want_signature": job.want_signature,
        "options": asdict(job.options),
    }


def job_from_json(raw: dict[str, Any]) -> EngineJob:
    """Build a job from :func:`job_to_json`'s form."""
    clip = raw["clip"]
    return EngineJob(
        profiles=tuple(_profile_from_json(profile) for profile in raw["profiles"]),
        clip=None if clip is None else Clip(*clip),
        want_signature=raw["want_signature"],
        options=EngineOptions(**raw["options"]),
    )


def _profile_to_json(profile: Profile) -> dict[str, Any]:
    raw = asdict(profile)
    return raw | {
        "fps": None if profile.fps is None else str(profile.fps),
        "container": profile.container.value,
        "codec": profile.codec.value,
        "h264_profile": profile.h264_profile.value,
    }


def _profile_from_json(raw: dict[str, Any]) -> Profile:
    return Profile(
        **raw
        | {
            "fps": None if raw["fps"] is None else Fraction(raw["fps"]),
            "container": Container(raw["container"]),
            "codec": Codec(raw["codec"]),
            "h264_profile": H264Profile(raw["h264_profile"]),
        }
    )
