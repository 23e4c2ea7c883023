"""Which encoder a rendition gets, and with which options (wire-video 12.1, 12.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen
from podium_hookspecs import GOP_INTRA, Codec, H264Profile

if TYPE_CHECKING:
    from podium_hookspecs import Profile

    from podium_transcode.engine.request import EngineOptions

SOFTWARE = {
    Codec.H264: "libx264",
    Codec.HEVC: "libx265",
    Codec.VP9: "libvpx-vp9",
}
NVENC = {Codec.H264: "h264_nvenc", Codec.HEVC: "hevc_nvenc"}

MAX_CRF = 63
VP9_OPTIONS = {"deadline": "good", "cpu-used": "4", "row-mt": "1"}


@frozen
class EncoderChoice:
    """An encoder's FFmpeg name and its options."""

    name: str
    options: dict[str, str]


def choose_encoder(profile: Profile, options: EngineOptions, threads: int) -> EncoderChoice:
    """Choose the encoder for a rendition.

    Args:
        profile: The rendition.
        options: The device and the preset.
        threads: Threads for a software encoder.

    Returns:
        NVENC on a GPU where it has the codec, else the software encoder.
    """
    if options.device != "cpu" and profile.codec in NVENC:
        return EncoderChoice(NVENC[profile.codec], _nvenc(profile, options.device))
    private = VP9_OPTIONS if profile.codec is Codec.VP9 else _x26x(profile, options)
    common = {**_rate(profile), **_gop(profile), "threads": str(threads)}
    return EncoderChoice(SOFTWARE[profile.codec], {**common, **private})


def _rate(profile: Profile) -> dict[str, str]:
    """Target, minimum, maximum and buffer are all the bitrate; the quality is capped by it."""
    rate = str(profile.bitrate_bps)
    chosen = {}
    if profile.bitrate_bps:
        chosen = {"b": rate, "minrate": rate, "maxrate": rate, "bufsize": rate}
    if 1 <= profile.quality <= MAX_CRF:
        chosen["crf"] = str(profile.quality)
    return chosen


def _gop(profile: Profile) -> dict[str, str]:
    """A fixed interval counts frames with the rate's numerator alone, as the reference does.

    With the source's rate passed through the interval is kept by forcing keyframes instead.
    """
    if profile.gop_ms == GOP_INTRA:
        return {"g": "1"}
    if profile.gop_ms > 0 and profile.fps is not None:
        numerator = profile.fps_num or profile.fps.numerator
        frames = profile.gop_ms * numerator // 1000
        return {"g": str(max(1, min(frames, 2**31 - 1)))}
    return {}


def _b_frames(profile: Profile) -> str:
    without = (H264Profile.BASELINE, H264Profile.CONSTRAINED_HIGH)
    return "0" if profile.h264_profile in without or profile.gop_ms == GOP_INTRA else "3"


def _h264_profile(profile: Profile) -> dict[str, str]:
    names = {
        H264Profile.BASELINE: "baseline",
        H264Profile.MAIN: "main",
        H264Profile.HIGH: "high",
        H264Profile.CONSTRAINED_HIGH: "high",
    }
    if profile.codec is not Codec.H264 or profile.h264_profile not in names:
        return {}
    return {"profile": names[profile.h264_profile]}


def _x26x(profile: Profile, options: EngineOptions) -> dict[str, str]:
    chosen = {
        "preset": options.preset,
        "forced-idr": "1",
        "bf": _b_frames(profile),
        **_h264_profile(profile),
    }
    if profile.codec is Codec.HEVC:
        # One pool of the planned size; x265 would else take one thread per core for each encoder.
        chosen["x265-params"] = "log-level=none:frame-threads=1"
    return chosen


def _nvenc(profile: Profile, device: str) -> dict[str, str]:
    chosen = {
        **_rate(profile),
        **_gop(profile),
        **_h264_profile(profile),
        "gpu": device,
        "forced-idr": "1",
        "bf": _b_frames(profile),
    }
    quality = chosen.pop("crf", None)
    if quality is not None:
        chosen |= {"rc": "vbr", "cq": str(min(int(quality), 51))}
    elif profile.bitrate_bps:
        chosen["rc"] = "cbr"
    return chosen
