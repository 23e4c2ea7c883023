"""The renditions a Gateway asks for: presets by name, or a ``transcodingOptions.json``.

A rendition is the wire's own ``VideoProfile`` message, so that a test can ask for anything.

Source: lpms ffmpeg/videoprofile.go (``VideoProfileLookup``, ``ParseProfiles``);
go-livepeer core/streamdata.go (which of the three lists carries them).
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.testing.gateway.errors import InputError
from podium.wire.pb import lp_rpc_pb2 as net

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DEFAULT_LADDER = "P240p30fps16x9,P360p30fps16x9,P576p30fps16x9"

PRESETS: Mapping[str, tuple[int, int, int, int]] = {
    "P720p60fps16x9": (1280, 720, 6_000_000, 60),
    "P720p30fps16x9": (1280, 720, 4_000_000, 30),
    "P720p25fps16x9": (1280, 720, 3_500_000, 25),
    "P720p30fps4x3": (960, 720, 3_500_000, 30),
    "P576p30fps16x9": (1024, 576, 1_500_000, 30),
    "P576p25fps16x9": (1024, 576, 1_500_000, 25),
    "P360p30fps16x9": (640, 360, 1_200_000, 30),
    "P360p25fps16x9": (640, 360, 1_000_000, 25),
    "P360p30fps4x3": (480, 360, 1_000_000, 30),
    "P240p30fps16x9": (426, 240, 600_000, 30),
    "P240p25fps16x9": (426, 240, 600_000, 25),
    "P240p30fps4x3": (320, 240, 600_000, 30),
    "P144p30fps16x9": (256, 144, 400_000, 30),
}
"""Width, height, bits per second and frames per second of each selectable preset."""

_PROFILES = {
    "": net.VideoProfile.ENCODER_DEFAULT,
    "none": net.VideoProfile.ENCODER_DEFAULT,
    "h264baseline": net.VideoProfile.H264_BASELINE,
    "h264main": net.VideoProfile.H264_MAIN,
    "h264high": net.VideoProfile.H264_HIGH,
    "h264constrainedhigh": net.VideoProfile.H264_CONSTRAINED_HIGH,
}
_ENCODERS = {
    "": net.VideoProfile.H264,
    "H.264": net.VideoProfile.H264,
    "HEVC": net.VideoProfile.H265,
    "VP8": net.VideoProfile.VP8,
    "VP9": net.VideoProfile.VP9,
}
_NUMBERS = ("width", "height", "bitrate", "fps", "fpsDen", "colorDepth", "chromaFormat", "quality")
_KEYS = frozenset((*_NUMBERS, "name", "profile", "gop", "encoder"))
GOP_INTRA = -1


def parse_ladder(text: str) -> tuple[net.VideoProfile, ...]:
    """Read a ladder: preset names with commas between them, or the path of a JSON file.

    Raises:
        InputError: an unknown preset, an unreadable file, or a rung that makes no sense.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names and all(name in PRESETS for name in names):
        return _distinct(preset(name) for name in names)
    path = Path(text)
    if not path.is_file():
        unknown = next((name for name in names if name not in PRESETS), text)
        raise InputError(
            f"{unknown!r} is neither a preset nor a JSON file; presets: {', '.join(PRESETS)}"
        )
    try:
        rungs = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(rungs, list) or not rungs:
        raise InputError(f"{path} must hold a JSON array of at least one profile")
    return _distinct(_rung(rung, f"{path}[{index}]") for index, rung in enumerate(rungs))


def preset(name: str) -> net.VideoProfile:
    """Return a preset as it travels; a name that is no preset raises ``KeyError``."""
    width, height, bitrate, fps = PRESETS[name]
    return net.VideoProfile(name=name, width=width, height=height, bitrate=bitrate, fps=fps)


def attach(segdata: net.SegData, profiles: Sequence[net.VideoProfile]) -> None:
    """Put the profiles into the one of the three lists that a Gateway would use."""
    if any(p.fpsDen or p.profile or p.gop for p in profiles):
        segdata.fullProfiles3.extend(profiles)
    elif any(p.format != net.VideoProfile.MPEGTS for p in profiles):
        segdata.fullProfiles2.extend(profiles)
    else:
        segdata.fullProfiles.extend(profiles)


def attached(segdata: net.SegData) -> Sequence[net.VideoProfile]:
    """Return the profiles that an orchestrator will read."""
    return segdata.fullProfiles3 or segdata.fullProfiles2 or segdata.fullProfiles


def _distinct(profiles: Iterable[net.VideoProfile]) -> tuple[net.VideoProfile, ...]:
    ladder = tuple(profiles)
    names = [profile.name for profile in ladder]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two profiles are named {name!r}; results are kept by name")
    return ladder


def _rung(rung: Any, where: str) -> net.VideoProfile:
    if not isinstance(rung, dict):
        raise InputError(f"{where}: a profile must be a JSON object")
    if unknown := sorted(set(rung) - _KEYS):
        raise InputError(f"{where}: unknown key {unknown[0]!r}")
    width, height, bitrate = (_number(rung, key, where) for key in ("width", "height", "bitrate"))
    try:
        return net.VideoProfile(
            name=rung.get("name") or f"custom_{width}x{height}_{bitrate}",
            width=width,
            height=height,
            bitrate=bitrate,
            fps=_number(rung, "fps", where),
            fpsDen=_number(rung, "fpsDen", where),
            profile=_PROFILES[str(rung.get("profile", "")).lower()],
            gop=_gop(rung.get("gop", ""), where),
            encoder=_ENCODERS[rung.get("encoder", "")],
            colorDepth=_number(rung, "colorDepth", where),
            chromaFormat=net.VideoProfile.ChromaSubsampling.Name(
                _number(rung, "chromaFormat", where)
            ),
            quality=_number(rung, "quality", where),
        )
    except KeyError as error:
        raise InputError(f"{where}: unknown profile or encoder {error.args[0]!r}") from error
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def _number(rung: Mapping[str, Any], key: str, where: str) -> int:
    value = rung.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InputError(f"{where}.{key}: must be a whole number, not negative")
    return value


def _gop(text: Any, where: str) -> int:
    """Seconds as text, ``"intra"`` or nothing; milliseconds on the wire."""
    if text in ("", None):
        return 0
    if text == "intra":
        return GOP_INTRA
    try:
        gop_ms = int(Decimal(text) * 1000)
    except (InvalidOperation, TypeError, ValueError) as error:
        raise InputError(f'{where}.gop: must be seconds as text, "intra" or empty') from error
    if gop_ms < 0:
        raise InputError(f"{where}.gop: must not be negative")
    return gop_ms
