"""Opening, demuxing and decoding a segment that may be hostile."""

from __future__ import annotations

import io
import os
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
from attrs import define
from av.codec.hwaccel import HWAccel
from av.error import FFmpegError
from av.video.frame import PictureType

from podium_transcode.engine.refusals import (
    INVALID_DATA,
    INVALID_DURATION,
    INVALID_RESOLUTION,
    INVALID_VIDEO,
    NO_KEYFRAMES,
    UNSUPPORTED_CODEC,
    UNSUPPORTED_PIXEL_FORMAT,
    refusal,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av import AudioStream, Packet, VideoFrame, VideoStream
    from av.container import InputContainer
    from podium_hookspecs import PluginError

    from podium_transcode.engine.request import EngineOptions

DEMUXERS = "mpegts,mov,mp4"
"""What gateways send. Every other demuxer is refused before it reads a byte."""

DECODERS = frozenset({"h264", "hevc", "vp9"})
MAX_DURATION_US = 300_000_000
MAX_RATE = 1000
GPU_FORMATS = frozenset({"yuv420p", "yuvj420p", "nv12", "p010le", "yuv420p10le"})


class DescriptorReader(io.RawIOBase):
    """Read a descriptor by position, so that its shared file offset neither matters nor moves."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._position = 0
        self._size = os.fstat(descriptor).st_size

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` from the current position."""
        count = os.preadv(self._descriptor, [buffer], self._position)
        self._position += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position


@define
class Source:
    """An opened segment, decoded once for all renditions.

    Attributes:
        video: The best video stream.
        audio: The best audio stream, or None.
        frames: Decoded so far.
        pixels: Sum of width x height of the decoded frames.
    """

    container: InputContainer
    video: VideoStream
    audio: AudioStream | None
    options: EngineOptions
    frames: int = 0
    pixels: int = 0
    _last_pts: int | None = None
    _video_seen: bool = False
    _keyframe_seen: bool = False
    _audio_seen: bool = False
    _damaged: bool = False

    @property
    def time_base(self) -> Fraction:
        """The unit of the video's timestamps, seconds."""
        return self.video.time_base or Fraction(1, 90_000)

    @property
    def rate(self) -> Fraction:
        """The source's frame rate, 25 when it says none."""
        rate = self.video.guessed_rate or self.video.average_rate
        return rate if rate and 0 < rate <= MAX_RATE else Fraction(25)

    def items(self) -> Iterator[VideoFrame | Packet[AudioStream]]:
        """Yield decoded frames in order of presentation, and audio packets as they come.

        Damaged packets give nothing; the rest is shown as far as it goes.

        Raises:
            BadInput: nothing that can be shown is in there, or too much.
            JobFailed: the data is damaged and gave not one frame.
        """
        for packet in self._packets():
            if packet.stream_index != self.video.index:
                if self._wanted(packet):
                    yield packet
                continue
            for frame in self._decode(packet):
                self._admit(frame)
                yield frame
        if not self.frames:
            raise self._nothing_shown()

    def _packets(self) -> Iterator[Packet[Any]]:
        """Demux to the end, or to where the container breaks off; then flush the decoder."""
        streams = [self.video] if self.audio is None else [self.video, self.audio]
        try:
            yield from self.container.demux(streams)
        except FFmpegError:
            self._damaged = True
            flush = av.Packet()
            flush.stream = self.video
            yield flush

    def _decode(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        """Decode a packet; damaged ones give nothing, and so do those before any keyframe."""
        if packet.size:
            self._video_seen = True
            self._keyframe_seen |= packet.is_keyframe
            if not self._keyframe_seen:
                return []
        try:
            return packet.decode()
        except EOFError:
            return []
        except FFmpegError:
            self._damaged = True
            return []

    def _admit(self, frame: VideoFrame) -> None:
        """Count a frame, refuse an absurd one, repair its timestamp, drop its picture type."""
        size = frame.width * frame.height
        if size > self.options.max_pixels_per_frame:
            raise refusal(INVALID_RESOLUTION, f"a frame of {frame.width}x{frame.height}")
        if self.options.device != "cpu" and frame.format.name not in GPU_FORMATS:
            raise refusal(UNSUPPORTED_PIXEL_FORMAT, f"{frame.format.name} on a GPU")
        self.frames += 1
        self.pixels += size
        if self.frames > self.options.max_decoded_frames:
            raise refusal(INVALID_DURATION, f"over {self.options.max_decoded_frames} frames")
        frame.pts = self._repaired(frame.pts)
        self._last_pts = frame.pts
        frame.pict_type = PictureType.NONE

    def _repaired(self, pts: int | None) -> int:
        """Make timestamps strictly increasing."""
        if self._last_pts is None:
            return pts or 0
        if pts is None:
            return self._last_pts + max(1, round(1 / (self.rate * self.time_base)))
        return max(pts, self._last_pts + 1)

    def _wanted(self, packet: Packet[AudioStream]) -> bool:
        """Leave out audio without a timestamp, and a first packet of encoder padding."""
        if packet.pts is None or not packet.size:
            return False
        first, self._audio_seen = not self._audio_seen, True
        return not (first and packet.pts != 0 and packet.has_sidedata("skip_samples"))

    def _nothing_shown(self) -> PluginError:
        if self._video_seen and not self._keyframe_seen:
            return refusal(NO_KEYFRAMES)
        return refusal(INVALID_DATA if self._damaged else INVALID_VIDEO, "no frame")


def open_source(descriptor: int, options: EngineOptions) -> Source:
    """Open a segment without letting it reach anything else.

    Only the demuxers and decoders that gateways need are allowed, and no protocol at all: the
    bytes come from the descriptor alone.

    Args:
        descriptor: The whole segment; stays the caller's.
        options: Bounds and the device.

    Raises:
        BadInput: it is no video, too long or too large, or of a codec we do not take.
    """
    try:
        container = av.open(
            DescriptorReader(descriptor),
            mode="r",
            container_options={"format_whitelist": DEMUXERS, "protocol_whitelist": "none"},
            hwaccel=_hardware(options.device),
            buffer_size=1 << 18,
        )
    except (FFmpegError, ValueError) as error:
        raise refusal(INVALID_VIDEO, str(error)) from error
    video: VideoStream | None = container.streams.best("video")  # type: ignore[assignment]
    if video is None:
        raise refusal(INVALID_VIDEO, "no video stream")
    if video.codec_context is None or video.codec_context.name not in DECODERS:
        raise refusal(UNSUPPORTED_CODEC, getattr(video.codec_context, "name", "unknown"))
    if video.width * video.height > options.max_pixels_per_frame:
        raise refusal(INVALID_RESOLUTION, f"{video.width}x{video.height}")
    if (container.duration or 0) > MAX_DURATION_US:
        raise refusal(INVALID_DURATION, f"{(container.duration or 0) / 1e6:.0f} s")
    # One thread: decoding is a tenth of the work, and threads of it only add to that.
    video.thread_count = 1
    audio = container.streams.best("audio")
    return Source(container, video, audio, options)  # type: ignore[arg-type]


def _hardware(device: str) -> HWAccel | None:
    """Decode on the GPU that encodes; frames come back to memory for scaling."""
    if device == "cpu":
        return None
    return HWAccel("cuda", device=device, allow_software_fallback=True)
