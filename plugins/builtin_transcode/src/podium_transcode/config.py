"""The section ``[plugins.transcode]`` of the configuration."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen, validators

PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
)


@frozen
class TranscodeConfig:
    """Options of the built-in transcoder; the defaults suit a machine that does only this."""

    slots: int = field(
        default=0,
        validator=validators.ge(0),
        metadata={
            "help": "Segments transcoded at a time, each in a process of its own. "
            "0: half the processor's threads, at least 2; on GPUs, their session caps."
        },
    )
    devices: tuple[str, ...] = field(
        default=("auto",),
        validator=validators.min_len(1),
        metadata={
            "help": 'Where to encode: ["auto"] takes every NVIDIA GPU that works, else the '
            'processor; ["cpu"]; or GPU indexes, ["0", "1"].'
        },
    )
    threads: int = field(
        default=0,
        validator=validators.ge(0),
        metadata={
            "help": "Threads of each software encoder while one segment is transcoded; "
            "several at a time share them. 0: as many as the processor has."
        },
    )
    preset: str = field(
        default="medium",
        validator=validators.in_(PRESETS),
        metadata={
            "help": "libx264 and libx265 preset. The network's is medium; a faster one is cheaper "
            "and looks worse at the same bitrate."
        },
    )
    memory_limit_mb: int = field(
        default=4096,
        validator=validators.ge(256),
        metadata={
            "help": "Memory one segment's process may have, MiB; beyond it that segment fails."
        },
    )
    device_sessions: int = field(
        default=8,
        validator=validators.ge(1),
        metadata={
            "help": "Segments at a time on each GPU. Consumer cards allow 8 NVENC sessions, and "
            "each rendition is one."
        },
    )
    signature: Literal["auto", "on", "off"] = field(
        default="auto",
        validator=validators.in_(("auto", "on", "off")),
        metadata={
            "help": "MPEG-7 signatures for fast verification. auto: where the ffmpeg program of "
            "imageio-ffmpeg is installed; on: refuse to start without it."
        },
    )
    max_side: int = field(
        default=8192,
        validator=validators.and_(validators.ge(64), validators.le(16384)),
        metadata={"help": "Sources with more than max_side x max_side pixels are refused."},
    )
    max_frames: int = field(
        default=72_000,
        validator=validators.ge(1),
        metadata={"help": "Segments with more frames are refused; 300 s at 240 per second."},
    )
