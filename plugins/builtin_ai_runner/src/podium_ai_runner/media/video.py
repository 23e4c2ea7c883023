"""Frames as a runner answers them, into the video that a gateway fetches (ai 1.4)."""

from __future__ import annotations

import base64
import binascii
import json
import os
from fractions import Fraction
from typing import Any

import av

BITRATE_BPS = 6_000_000
MAX_FRAMES = 2_000
MAX_FPS = 240
MAX_SIDE = 4096
MAX_FRAME_PIXELS = 2**26
CODECS = {"image/png": "png", "image/jpeg": "mjpeg", "image/jpg": "mjpeg"}


def frames_to_mp4(source: int, target: str, width: int, height: int, fps: int) -> dict[str, Any]:
    """Encode the one batch of frames that a reply holds as H.264 in MP4.

    Args:
        source: Descriptor of the reply, ``{"frames": [[{"url", "seed", "nsfw"}, ...]]}``.
        target: Path to write to.
        width: Of the video; an odd one is made even, as H.264 halves its colours.
        height: The same.
        fps: Frames a second.

    Returns:
        ``batches``; and when it is one: ``frames``, and ``seed`` and ``nsfw`` of the first frame.

    Raises:
        ValueError: the reply is not what it should be.
    """
    os.lseek(source, 0, os.SEEK_SET)
    with open(source, "rb", closefd=False) as file:
        reply = json.load(file)
    batches = reply.get("frames") if isinstance(reply, dict) else None
    if batches is not None and not isinstance(batches, list):
        raise ValueError("frames is no list")
    if not batches or len(batches) != 1:
        return {"batches": len(batches or ())}
    frames = batches[0]
    if not isinstance(frames, list) or not 0 < len(frames) <= MAX_FRAMES:
        raise ValueError("no batch of frames")
    _encode(frames, target, _even(width), _even(height), min(MAX_FPS, max(1, fps)))
    first = frames[0]
    return {
        "batches": 1,
        "frames": len(frames),
        "seed": first.get("seed") if isinstance(first.get("seed"), int) else 0,
        "nsfw": first.get("nsfw") is True,
    }


def _even(side: int) -> int:
    if not 2 <= side <= MAX_SIDE:
        raise ValueError(f"a side of {side} pixels")
    return side + side % 2


def _encode(frames: list[Any], target: str, width: int, height: int, fps: int) -> None:
    with av.open(target, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = BITRATE_BPS
        stream.time_base = Fraction(1, fps)
        for number, one in enumerate(frames):
            picture = _decode(one).reformat(width=width, height=height, format="yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _decode(frame: Any) -> av.VideoFrame:
    url = frame.get("url") if isinstance(frame, dict) else None
    head, comma, data = (url if isinstance(url, str) else "").partition(",")
    codec = CODECS.get(head.removeprefix("data:").removesuffix(";base64"))
    if not comma or codec is None or not head.endswith(";base64"):
        raise ValueError("a frame is no data URL of an image")
    try:
        packet = av.Packet(base64.b64decode(data, validate=True))
    except binascii.Error:
        raise ValueError("a frame is no base64") from None
    context = av.CodecContext.create(codec, "r")
    assert isinstance(context, av.VideoCodecContext)
    context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}
    pictures = [*context.decode(packet), *context.decode(None)]
    if not pictures:
        raise ValueError("a frame holds no picture")
    return pictures[0]
