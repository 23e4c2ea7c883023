"""Cutting an input into segments a Gateway would send: MPEG-TS, each beginning with a keyframe.

Packets are copied where they can be. A source is re-encoded only when MPEG-TS or the network
cannot carry its codec, or when its keyframes are too far apart to cut at.
"""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
from attrs import field, frozen
from av.video.frame import PictureType

from podium.testing.gateway.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream

VIDEO_COPIED = frozenset(("h264", "hevc"))
AUDIO_COPIED = frozenset(("aac", "mp3", "ac3", "eac3"))
MAX_KEYFRAME_GAP = 2.5
"""A source whose keyframes lie further apart than this many segments is re-encoded."""

START_S = Fraction(37, 25)
"""Timestamps begin here, so that no decoding time is negative; as FFmpeg's own segmenter."""

_TS_OPTIONS = {"mpegts_copyts": "1", "avoid_negative_ts": "disabled"}
_MEZZANINE = {
    "preset": "veryfast",
    "crf": "18",
    "tune": "zerolatency",  # no delay: sound and picture leave the encoders side by side
    "forced-idr": "1",
    "sc_threshold": "0",
    "g": "100000",
}
_ENDINGS = (".ts", ".mp4", ".m4s")


@frozen
class Segment:
    """A piece of the source, ready to send.

    Attributes:
        seq: Sequence number.
        data: MPEG-TS or MP4.
        duration_s: Of its video.
        codec: FFmpeg's name of the video codec.
        pixel_format: FFmpeg's name of the pixel format.
    """

    seq: int
    data: bytes = field(repr=lambda data: f"<{len(data)} bytes>")
    duration_s: float
    codec: str = "h264"
    pixel_format: str = "yuv420p"

    @property
    def duration_ms(self) -> int:
        """The duration as it is declared on the wire, at least 1 ms."""
        return max(1, round(self.duration_s * 1000))


def segments(source: Path, segment_s: float = 2.0) -> Iterator[Segment]:
    """Cut a file, or read a folder or an HLS media playlist of segments. Blocking.

    Raises:
        InputError: there is no video to be had from it.
    """
    try:
        if source.is_dir():
            names = sorted(p for p in source.iterdir() if p.suffix in _ENDINGS)
            yield from _from_files(names, source)
        elif source.suffix == ".m3u8":
            yield from _from_files(_playlist(source), source)
        elif source.is_file():
            yield from _cut(source, Fraction(segment_s).limit_denominator(1000))
        else:
            raise InputError(f"there is no file or folder {source}")
    except av.FFmpegError as error:
        raise InputError(f"{source} cannot be read as video: {error.strerror}") from error
    except OSError as error:
        named = error.filename or source
        raise InputError(f"{named} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{source} is no playlist: it is not text") from error


def check_input(source: Path) -> None:
    """Look whether a source can be cut, by opening it. Blocking, and quick.

    Raises:
        InputError: there is no video to be had from it.
    """
    if not source.is_file() or source.suffix == ".m3u8":
        next(segments(source))
        return
    try:
        with av.open(str(source)) as container:
            _video(container, str(source))
    except av.FFmpegError as error:
        raise InputError(f"{source} cannot be read as video: {error.strerror}") from error


def media_seconds(source: Path) -> float | None:
    """Return how long a file plays; None for folders, playlists and files that do not say."""
    if not source.is_file() or source.suffix == ".m3u8":
        return None
    try:
        with av.open(str(source)) as container:
            return container.duration / av.time_base if container.duration else None
    except av.FFmpegError:
        return None


def _playlist(path: Path) -> list[Path]:
    lines = [line.strip() for line in path.read_text().splitlines()]
    names = [line for line in lines if line and not line.startswith("#")]
    if any(name.endswith(".m3u8") for name in names):
        raise InputError(f"{path} is a master playlist; give one of its media playlists")
    return [path.parent / name for name in names]


def _from_files(paths: list[Path], source: Path) -> Iterator[Segment]:
    if not paths:
        kind = "folder" if source.is_dir() else "playlist"
        endings = ", ".join(_ENDINGS)
        raise InputError(f"the {kind} {source} names no segment ({endings})")
    for seq, path in enumerate(paths):
        if not path.is_file():
            raise InputError(f"there is no segment {path}")
        yield probe(path.read_bytes(), seq)


def probe(data: bytes, seq: int) -> Segment:
    """Make a segment of a file's bytes: reads its codec, pixel format and duration."""
    with av.open(io.BytesIO(data), "r") as container:
        video = _video(container, f"segment {seq}")
        stamps = [p.pts for p in container.demux(video) if p.pts is not None]
        rate = video.average_rate or Fraction(25)
        span = (max(stamps) - min(stamps)) * (video.time_base or Fraction(0)) if stamps else 0
        codec = video.codec_context
        name = codec.codec.canonical_name
        return Segment(seq, data, float(span + 1 / rate), name, codec.pix_fmt or "")


def _video(container: InputContainer, name: str) -> VideoStream:
    if not container.streams.video:
        raise InputError(f"{name} holds no video")
    return container.streams.video[0]


def _cut(path: Path, segment_s: Fraction) -> Iterator[Segment]:
    with av.open(str(path), "r") as container:
        video = _video(container, str(path))
        copied = video.codec_context.name in VIDEO_COPIED and _cuttable(container, segment_s)
    with av.open(str(path), "r") as container:
        source = _copied(container) if copied else _encoded(container, segment_s)
        yield from _pieces(source, segment_s)


def _cuttable(container: InputContainer, segment_s: Fraction) -> bool:
    """Whether keyframes are close enough; reads packets without decoding them."""
    video = container.streams.video[0]
    previous: Fraction | None = None
    last = Fraction(0)
    for packet in container.demux(video):
        if packet.pts is None:
            continue
        at = packet.pts * packet.time_base
        last = max(last, at)
        if packet.is_keyframe:
            if previous is not None and at - previous > MAX_KEYFRAME_GAP * segment_s:
                return False
            previous = at
    return previous is not None and last - previous <= MAX_KEYFRAME_GAP * segment_s


@frozen
class _Source:
    """Packets to cut, in the order to mux them, and the streams they belong to."""

    video: VideoStream
    audio: AudioStream | None
    packets: Iterator[Packet[Stream]]
    frame_s: Fraction

    @property
    def streams(self) -> list[VideoStream | AudioStream]:
        return [self.video, *([self.audio] if self.audio is not None else [])]


class _Piece:
    """The segment being written."""

    def __init__(self, source: _Source) -> None:
        self._buffer = io.BytesIO()
        self._out = av.open(self._buffer, "w", format="mpegts", options=dict(_TS_OPTIONS))
        self._source = source
        self._streams = {s.index: self._out.add_stream_from_template(s) for s in source.streams}
        self._last: dict[int, int] = {}
        self.start: Fraction | None = None
        self.end = Fraction(0)

    def add(self, packet: Packet[Stream], shift: Fraction) -> None:
        """Mux a packet, moved by ``shift`` seconds."""
        index, base = packet.stream.index, packet.time_base
        packet.pts = (packet.pts or 0) + round(shift / base)
        packet.dts = (packet.dts or 0) + round(shift / base)
        if packet.dts <= self._last.get(index, packet.dts - 1):
            return  # a source that repeats a time: the muxer takes rising ones only
        self._last[index] = packet.dts
        if index == self._source.video.index:
            at = packet.pts * base
            self.start = at if self.start is None else min(self.start, at)
            self.end = max(self.end, at + self._source.frame_s)
        packet.stream = self._streams[index]
        self._out.mux(packet)

    def finish(self, seq: int) -> Segment:
        """Close the file."""
        self._out.close()
        codec = self._source.video.codec_context
        duration_s = float(self.end - (self.start or 0))
        data = self._buffer.getvalue()
        return Segment(seq, data, duration_s, codec.codec.canonical_name, codec.pix_fmt or "")


def _pieces(source: _Source, segment_s: Fraction) -> Iterator[Segment]:
    """Cut at the first keyframe after each multiple of the length."""
    piece: _Piece | None = None
    seq, begun, shift = 0, Fraction(0), None
    for packet in source.packets:
        if packet.dts is None or packet.pts is None or packet.time_base is None:
            continue
        at = packet.pts * packet.time_base
        if packet.stream.index == source.video.index and packet.is_keyframe:
            if piece is not None and at - begun >= segment_s - source.frame_s / 2:
                yield piece.finish(seq)
                seq, piece = seq + 1, None
            if piece is None:
                piece, begun = _Piece(source), at
                shift = START_S - at if shift is None else shift
        if piece is not None and shift is not None:
            piece.add(packet, shift)
    if piece is None:
        raise InputError("the video has no keyframe")
    yield piece.finish(seq)


def _copied(container: InputContainer) -> _Source:
    """The input's own packets; audio that MPEG-TS cannot carry is left out."""
    video = container.streams.video[0]
    audio = next(iter(container.streams.audio), None)
    if audio is not None and audio.codec_context.name not in AUDIO_COPIED:
        audio = None
    kept = [video, *([audio] if audio is not None else [])]
    return _Source(video, audio, container.demux(*kept), _frame_s(video))


def _frame_s(video: VideoStream) -> Fraction:
    return 1 / (video.average_rate or video.base_rate or Fraction(25))


def _encoded(container: InputContainer, segment_s: Fraction) -> _Source:
    """Decode, and encode H.264 and AAC with a keyframe wherever a segment begins."""
    video = container.streams.video[0]
    audio = next(iter(container.streams.audio), None)
    encoders = av.open(io.BytesIO(), "w", format="mpegts")
    rate = 1 / _frame_s(video)
    picture = encoders.add_stream("libx264", rate=rate, options=dict(_MEZZANINE))
    picture.width, picture.height = video.width // 2 * 2, video.height // 2 * 2
    picture.pix_fmt = "yuv420p"
    picture.codec_context.time_base = Fraction(1, 90000)
    sound = None
    if audio is not None:
        sound = encoders.add_stream("aac", rate=audio.codec_context.sample_rate)
        sound.codec_context.layout = "mono" if audio.codec_context.channels == 1 else "stereo"
    encoders.start_encoding()  # opens them, and only then do the streams know their parameters
    packets = _encode(container, (video, audio), (picture, sound), segment_s)
    return _Source(picture, sound, packets, 1 / rate)


def _encode(
    container: InputContainer,
    inputs: tuple[VideoStream, AudioStream | None],
    outputs: tuple[VideoStream, AudioStream | None],
    segment_s: Fraction,
) -> Iterator[Packet[Stream]]:
    picture, sound = outputs
    due: Fraction | None = None
    for frame in container.decode(*(stream for stream in inputs if stream is not None)):
        if isinstance(frame, av.AudioFrame):
            if sound is not None:
                yield from sound.encode(frame)
            continue
        if not isinstance(frame, av.VideoFrame) or frame.pts is None or frame.time_base is None:
            continue
        at = frame.pts * frame.time_base
        frame.pts, frame.time_base = round(at * 90000), Fraction(1, 90000)
        first = due is None or at >= due
        if first:
            due = (at if due is None else due) + segment_s
        ready = frame.reformat(picture.width, picture.height, "yuv420p")
        ready.pict_type = PictureType.I if first else PictureType.NONE
        yield from picture.encode(ready)
    for stream in (picture, sound):
        if stream is not None:
            yield from stream.encode(None)
