"""One rendition: scale, convert the rate, encode, mux (wire-video 12)."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import av
from attrs import define, field
from av.error import BlockingIOError as NothingYet
from av.error import FFmpegError
from av.filter import Graph
from av.video.frame import PictureType
from podium_hookspecs import Container

from podium_transcode.engine.encoders import choose_encoder
from podium_transcode.engine.output import OutputFile
from podium_transcode.engine.refusals import FILTER_FAILED, RUNAWAY, refusal
from podium_transcode.engine.request import Encoded
from podium_transcode.engine.sizes import output_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av import AudioStream, Packet, VideoCodecContext, VideoFrame, VideoStream
    from av.container import OutputContainer
    from podium_hookspecs import Clip, Profile

    from podium_transcode.engine.request import EngineOptions
    from podium_transcode.engine.source import Source

RUNAWAY_FACTOR = 25
CONTAINER_OPTIONS = {
    # Timestamps stay absolute: no delay is added to them. Interleaving waits for the encoder.
    # Continuity counters start anew in each segment; players that join segments are told so.
    Container.MPEGTS: {
        "max_delay": "0",
        "max_interleave_delta": "0",
        "mpegts_flags": "initial_discontinuity",
    },
    Container.MP4: {"movflags": "faststart", "max_interleave_delta": "0"},
}
FORMATS = {Container.MPEGTS: "mpegts", Container.MP4: "mp4"}


@define
class RenditionEncoder:
    """Makes one rendition of the frames and packets it is fed, in one thread.

    Attributes:
        frames: Encoded so far.
        pixels: Sum of width x height of the encoded frames.
    """

    profile: Profile
    source: Source
    clip: Clip | None
    options: EngineOptions
    threads: int
    frames: int = 0
    pixels: int = 0
    _file: OutputFile = field(factory=OutputFile)
    _container: OutputContainer | None = None
    _video: VideoStream | None = None
    _audio: AudioStream | None = None
    _encoder: VideoCodecContext | None = None
    _graph: Graph | None = None
    _input: tuple[int, int, str] | None = None
    _size: tuple[int, int] = (0, 0)
    _last_frame: VideoFrame | None = None
    _taken: int = 0
    _first_pts: int | None = None
    _start_pts: int | None = None
    _last_key_pts: int | None = None
    _waiting_audio: list[Packet[AudioStream]] = field(factory=list)

    def take_frame(self, frame: VideoFrame) -> None:
        """Take the next decoded frame; it stays the source's and is only read."""
        shape = (frame.width, frame.height, frame.format.name)
        if shape != self._input:
            self._reshape(frame, shape)
        self._taken += 1
        self._last_frame = frame
        self._filter(frame)

    def take_audio(self, packet: Packet[AudioStream]) -> None:
        """Take an audio packet; it goes out as it is, once there is a video stream beside it."""
        if self._container is None or self._start_pts is None:
            self._waiting_audio.append(packet)
        else:
            self._mux_audio(packet)

    def finish(self) -> Encoded:
        """Flush everything, write the file's end, and return the rendition."""
        self._drain_graph()
        if self._encoder is not None:
            self._encode(None)
        if self._container is not None:
            self._flush_audio()
            self._container.close()
        return Encoded(self._file.read(), self.frames, self.pixels, *self._size)

    def close(self) -> None:
        """Free everything; safe after ``finish`` and after an error."""
        self._graph = self._encoder = self._video = self._audio = self._last_frame = None
        self._container = None
        self._waiting_audio.clear()
        self._file.close()

    # --- filtering

    def _reshape(self, frame: VideoFrame, shape: tuple[int, int, str]) -> None:
        """Begin with pictures of a new shape: first let the old ones out."""
        self._drain_graph()
        size = output_size(
            self.profile.codec, (self.profile.width, self.profile.height), (shape[0], shape[1])
        )
        if size != self._size and self._encoder is not None:
            self._encode(None)
            self._encoder = None
        self._input, self._size = shape, size
        self._graph = self._build_graph(frame)

    def _build_graph(self, frame: VideoFrame) -> Graph:
        """Scale first, convert the rate after: frames that repeat are not scaled again."""
        graph = Graph()
        graph.threads = 1
        base = self.source.time_base
        nodes = [
            graph.add(
                "buffer",
                f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}"
                f":time_base={base.numerator}/{base.denominator}"
                f":colorspace={frame.colorspace}:range={frame.color_range}",
            ),
            graph.add("scale", f"w={self._size[0]}:h={self._size[1]}:flags=bicubic"),
        ]
        if self.profile.fps is not None:
            fps = self.profile.fps
            nodes.append(graph.add("fps", f"fps={fps.numerator}/{fps.denominator}"))
        nodes += [graph.add("format", "pix_fmts=yuv420p"), graph.add("buffersink")]
        try:
            graph.link_nodes(*nodes).configure()
        except (FFmpegError, ValueError) as error:
            raise refusal(FILTER_FAILED, str(error)) from error
        return graph

    def _filter(self, frame: VideoFrame | None) -> None:
        assert self._graph is not None
        self._graph.vpush(frame)
        for filtered in self._filtered():
            self._guard()
            self._take_filtered(filtered)

    def _filtered(self) -> Iterator[VideoFrame]:
        assert self._graph is not None
        while True:
            try:
                yield self._graph.vpull()
            except (NothingYet, EOFError):
                return

    def _drain_graph(self) -> None:
        """Let the last frames out; the rate filter may owe repeats of the last one."""
        if self._graph is None:
            return
        self._filter(None)
        self._graph = None
        if self.frames == 0 and self._last_frame is not None and self.clip is None:
            self._repeat_last()

    def _repeat_last(self) -> None:
        """Give very short input at least one frame, at the rate's next tick."""
        frame, fps = self._last_frame, self.profile.fps
        assert frame is not None
        assert frame.pts is not None
        if fps is None:
            return
        graph = self._build_graph(frame)
        self._graph = graph
        first = frame.pts
        graph.vpush(frame)
        frame.pts = first + int(2 / (fps * self.source.time_base))
        self._taken += 1
        graph.vpush(frame)
        frame.pts = first
        for filtered in self._filtered():
            self._take_filtered(filtered)
            break
        self._graph = None

    def _guard(self) -> None:
        if self.frames >= RUNAWAY_FACTOR * self._taken:
            raise refusal(RUNAWAY, f"{self.frames} frames encoded of {self._taken} decoded")

    # --- encoding

    def _take_filtered(self, frame: VideoFrame) -> None:
        """Clip, decide whether it must be a keyframe, encode."""
        assert frame.pts is not None
        assert frame.time_base is not None
        if self._first_pts is None:
            self._first_pts = frame.pts
        if not self._inside_clip((frame.pts - self._first_pts) * frame.time_base):
            return
        starts = self._start_pts is None
        if self._start_pts is None:
            self._start_pts = frame.pts
        if self._encoder is None:
            self._open_encoder(frame)
            starts = True
        if self._restarts_at_zero:
            frame.pts -= self._start_pts
        frame.pict_type = PictureType.I if starts or self._due_key(frame) else PictureType.NONE
        self.frames += 1
        self.pixels += frame.width * frame.height
        self._encode(frame)
        if starts:
            self._last_key_pts = frame.pts
            self._flush_audio()

    @property
    def _restarts_at_zero(self) -> bool:
        return self.clip is not None and self.clip.from_ms > 0

    def _inside_clip(self, offset_s: Fraction) -> bool:
        if self.clip is None:
            return True
        after_start = offset_s * 1000 >= self.clip.from_ms
        return after_start and (self.clip.to_ms <= 0 or offset_s * 1000 <= self.clip.to_ms)

    def _due_key(self, frame: VideoFrame) -> bool:
        """With the rate passed through, force a keyframe whenever the interval has passed."""
        if self.profile.fps is not None or self.profile.gop_ms <= 0 or self._last_key_pts is None:
            return False
        assert frame.pts is not None
        assert frame.time_base is not None
        due = (frame.pts - self._last_key_pts) * frame.time_base * 1000 >= self.profile.gop_ms
        if due:
            self._last_key_pts = frame.pts
        return due

    def _open_encoder(self, frame: VideoFrame) -> None:
        choice = choose_encoder(self.profile, self.options, self.threads)
        rate = self.profile.fps or self.source.rate
        if self._container is None:
            self._open_container(choice.name, rate)
            assert self._video is not None
            encoder = self._video.codec_context
        else:
            # A second encoder in one file carries its parameter sets in its stream.
            encoder = av.CodecContext.create(choice.name, "w")  # type: ignore[assignment]
            encoder.framerate = rate
        encoder.width, encoder.height = frame.width, frame.height
        encoder.pix_fmt = "yuv420p"
        encoder.time_base = frame.time_base or 1 / rate
        encoder.color_range, encoder.colorspace = frame.color_range, frame.colorspace
        encoder.color_trc, encoder.color_primaries = frame.color_trc, frame.color_primaries
        encoder.options = dict(choice.options)
        encoder.open()
        self._encoder = encoder

    def _open_container(self, encoder_name: str, rate: Fraction) -> None:
        container = av.open(
            self._file.path,
            mode="w",
            format=FORMATS[self.profile.container],
            container_options=CONTAINER_OPTIONS[self.profile.container],
        )
        container.metadata["service_provider"] = self.options.label
        container.metadata["comment"] = f"Processed by {self.options.label}"
        self._video = container.add_stream(encoder_name, rate)  # type: ignore[assignment]
        if self.source.audio is not None:
            self._audio = container.add_stream_from_template(self.source.audio)
        self._container = container

    def _encode(self, frame: VideoFrame | None) -> None:
        assert self._encoder is not None
        assert self._container is not None
        assert self._video is not None
        for packet in self._encoder.encode(frame):
            packet.stream = self._video
            self._container.mux(packet)

    # --- audio

    def _flush_audio(self) -> None:
        waiting, self._waiting_audio = self._waiting_audio, []
        for packet in waiting:
            self._mux_audio(packet)

    def _mux_audio(self, packet: Packet[AudioStream]) -> None:
        """Copy a packet: muxing changes its timestamps, and other renditions share it."""
        if self._audio is None or self._container is None or packet.pts is None:
            return
        shift = self._audio_shift(packet)
        if shift is None:
            return
        copy = av.Packet(bytes(packet))
        copy.pts = packet.pts - shift
        copy.dts = None if packet.dts is None else packet.dts - shift
        copy.duration, copy.time_base = packet.duration, packet.time_base
        copy.is_keyframe = packet.is_keyframe
        copy.stream = self._audio
        self._container.mux(copy)

    def _audio_shift(self, packet: Packet[AudioStream]) -> int | None:
        """Return what to take from a packet's timestamps; None leaves the packet out."""
        if self.clip is None:
            return 0
        assert packet.pts is not None
        assert self._start_pts is not None
        assert self._first_pts is not None
        base = 1 / self.profile.fps if self.profile.fps is not None else self.source.time_base
        start_s, first_s = self._start_pts * base, self._first_pts * base
        at_s = packet.pts * packet.time_base
        if self.clip.to_ms > 0 and (at_s - first_s) * 1000 > self.clip.to_ms:
            return None
        if not self._restarts_at_zero:
            return 0
        return None if at_s < start_s else round(start_s / packet.time_base)
