"""What a Gateway checks in a result: the signature, then every rendition by decoding all of it.

Source: go-livepeer verification/verify.go; wire-video 6.3, 11.
"""

from __future__ import annotations

import io
from fractions import Fraction
from typing import TYPE_CHECKING

import av
from attrs import field, frozen

from podium.crypto import ZERO_ADDRESS, keccak256, recover
from podium.testing.gateway.codecs import codec_string
from podium.testing.gateway.errors import VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podium.wire.pb import lp_rpc_pb2 as net

MAX_RENDITION_S = 300


@frozen
class Facts:
    """What decoding a rendition showed.

    Attributes:
        frames: Decoded video frames.
        pixels: Sum of width times height over them.
        start_s: First video timestamp.
        duration_s: From the first frame's start to the last frame's end.
        width: Of the last frame.
        height: Of the last frame.
        fps: Average frames per second.
        codecs: RFC 6381 names, video first.
        size_bytes: Of the file.
    """

    frames: int
    pixels: int
    start_s: float
    duration_s: float
    width: int
    height: int
    fps: float
    codecs: tuple[str, ...]
    size_bytes: int
    keyframes: int = field(default=0)

    @property
    def bits_per_s(self) -> float:
        """Average bit rate of the whole file."""
        return self.size_bytes * 8 / self.duration_s if self.duration_s else 0.0


def inspect(data: bytes) -> Facts:
    """Decode a rendition from end to end. Blocking: call it in a thread.

    Raises:
        VerificationFailed: it cannot be opened or holds no video.
    """
    try:
        return _inspect(data)
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise VerificationFailed(
            f"a rendition cannot be decoded: {error}", drops_session=True
        ) from error


def _inspect(data: bytes) -> Facts:
    frames = pixels = keyframes = width = height = 0
    first = last = None
    with av.open(io.BytesIO(data), "r") as container:
        video = container.streams.video[0]
        video.thread_type = "AUTO"
        base = video.time_base or Fraction(1, 90000)
        step = 1 / (video.average_rate or video.base_rate or Fraction(25))
        codecs = tuple(codec_string(stream) for stream in container.streams if _plays(stream.type))
        for frame in container.decode(video):
            frames, pixels = frames + 1, pixels + frame.width * frame.height
            keyframes += frame.key_frame
            width, height = frame.width, frame.height
            if frame.pts is not None:
                first = frame.pts if first is None else min(first, frame.pts)
                last = frame.pts if last is None else max(last, frame.pts)
    if first is None or last is None:
        raise VerificationFailed("a rendition holds no video frame", drops_session=True)
    if frames > 1:
        step = (last - first) * base / (frames - 1)
    duration = (last - first) * base + step
    if duration > MAX_RENDITION_S:
        raise VerificationFailed(f"a rendition lasts {float(duration):.0f} s", drops_session=True)
    return Facts(
        frames=frames,
        pixels=pixels,
        start_s=float(first * base),
        duration_s=float(duration),
        width=width,
        height=height,
        fps=float(1 / step),
        codecs=codecs,
        size_bytes=len(data),
        keyframes=keyframes,
    )


def _plays(kind: str) -> bool:
    return kind in ("video", "audio")


def result_payload(renditions: Sequence[bytes]) -> bytes:
    """Return the 32 bytes that a result's signature signs, from the renditions' bytes."""
    return keccak256(b"".join(keccak256(data) for data in renditions))


def check_signature(
    info: net.OrchestratorInfo, data: net.TranscodeData, renditions: Sequence[bytes]
) -> bool:
    """Check who made the renditions.

    Returns:
        False when there is nothing to check: an orchestrator off chain signs nothing.

    Raises:
        VerificationFailed: with the reference's text.
    """
    if not info.address or not info.HasField("ticket_params"):
        return False
    signer = info.address
    if signer == ZERO_ADDRESS:
        signer = info.ticket_params.recipient
    complete = len(renditions) == len(data.segments)
    if not complete or recover(result_payload(renditions), data.sig) != signer:
        raise VerificationFailed("PM Check Failed", drops_session=False)
    return True


def check_pixels(data: net.TranscodeData, facts: Sequence[Facts]) -> None:
    """Compare every billed pixel count with what was decoded: exactly equal.

    Raises:
        VerificationFailed: ``PixelMismatch``, with both numbers.
    """
    for billed, seen in zip(data.segments, facts, strict=True):
        if billed.pixels != seen.pixels:
            raise VerificationFailed(
                f"PixelMismatch: {billed.url} billed {billed.pixels}, decoded {seen.pixels}",
                drops_session=True,
            )
