"""Inputs made on the spot, and the worker under test with its host's part played straight."""

import io
import logging
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import pytest
from attrs import define, evolve, field
from av.video.frame import PictureType
from podium_hookspecs import (
    BudgetExhausted,
    Chunk,
    Job,
    Profile,
    Result,
    TranscodeRequest,
    Units,
)
from podium_transcode.config import TranscodeConfig
from podium_transcode.engine.request import EngineJob, EngineOptions
from podium_transcode.engine.transcode import transcode
from podium_transcode.plugin import podium_pipelines, podium_workers

DATA = Path(__file__).parent / "data"


class FileBody:
    """A body in an unlinked file."""

    def __init__(self, data: bytes):
        self._descriptor = os.memfd_create("body")
        os.write(self._descriptor, data)
        self.size_bytes = len(data)

    def __del__(self) -> None:
        os.close(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield os.pread(self.fileno(), self.size_bytes, 0)


class PipedBody:
    """A body that is no file."""

    size_bytes = None

    def __init__(self, data: bytes):
        self._data = data

    def fileno(self) -> int:
        raise OSError("not a file")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self._data), 100_000):
            yield self._data[at : at + 100_000]


class QuietLog:
    def __init__(self):
        self._log = logging.getLogger("transcode-test")

    def debug(self, event, **facts):
        self._log.debug("%s %s", event, facts)

    info = warning = error = debug


class Context:
    """What the plugin uses of its context."""

    node_version = "0.9.1"
    orchestrator_id = "offchain"
    log = QuietLog()


@define
class CountingMeter:
    """Counts, and refuses past its budget."""

    budget: int | None = None
    added: list[int] = field(factory=list)

    def add(self, units: Units) -> None:
        if self.budget is not None and sum(self.added) + units.amount > self.budget:
            raise BudgetExhausted("spent")
        self.added.append(units.amount)

    @property
    def total(self) -> Units:
        return Units(sum(self.added), "pixel")


@define
class Done:
    """A run's outputs, sorted out."""

    chunks: list[Chunk] = field(factory=list)
    result: Result | None = None

    @property
    def videos(self) -> dict[int, Chunk]:
        return {chunk.index: chunk for chunk in self.chunks if chunk.kind == "video"}

    @property
    def signatures(self) -> dict[int, bytes]:
        return {chunk.index: chunk.data for chunk in self.chunks if chunk.kind == "signature"}


async def collect(outputs) -> Done:
    done = Done()
    async for output in outputs:
        if isinstance(output, Result):
            done.result = output
        else:
            done.chunks.append(output)
    return done


_ids = iter(range(10**9))


def make_job(data: bytes | None, *profiles: Profile, body=None, timeout_s=60.0, **request) -> Job:
    number = next(_ids)
    return Job(
        id=f"job-{number}",
        session_id=f"session-{number}",
        sender=bytes(20),
        pipeline="transcode",
        capability=0,
        model=None,
        timeout_s=timeout_s,
        request=TranscodeRequest("m", 0, request.pop("duration_ms", 2000), profiles, **request),
        body=body or (None if data is None else FileBody(data)),
    )


@pytest.fixture(scope="session")
def segments() -> list[bytes]:
    return [(DATA / f"seg00{n}.ts").read_bytes() for n in (0, 1)]


@pytest.fixture
async def worker():
    """One slot on the processor, fast preset."""
    worker = podium_workers(TranscodeConfig(slots=1, devices=("cpu",)), Context())[0]
    await worker.start()
    yield worker
    await worker.close()


@pytest.fixture
def pipeline():
    return podium_pipelines(TranscodeConfig(), Context())[0]


FAST = EngineOptions(preset="ultrafast", threads=1)


def run_engine(data: bytes, *profiles: Profile, options=FAST, **job):
    """Transcode in this process; returns the summary and the renditions by place."""
    made = {}
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        summary = transcode(
            file.fileno(), EngineJob(profiles, options=options, **job), made.__setitem__
        )
    return summary, made


@define
class Probe:
    """What is in a file."""

    codec: str
    profile: str | None
    size: tuple[int, int]
    frames: list[tuple[int, bool, str, tuple[int, int]]]
    audio: list[tuple[int, bytes]]
    metadata: dict[str, str]
    time_base: Fraction

    @property
    def pts(self) -> list[int]:
        return [frame[0] for frame in self.frames]

    @property
    def keyframes(self) -> list[int]:
        return [place for place, frame in enumerate(self.frames) if frame[1]]

    @property
    def types(self) -> set[str]:
        return {frame[2] for frame in self.frames}

    @property
    def pixels(self) -> int:
        return sum(w * h for *_, (w, h) in self.frames)


def describe(frame: av.VideoFrame) -> tuple[int, bool, str, tuple[int, int]]:
    kind = PictureType(frame.pict_type).name
    return frame.pts, frame.key_frame, kind, (frame.width, frame.height)


def probe(data: bytes) -> Probe:
    """Decode a file from beginning to end."""
    frames, audio = [], []
    with av.open(io.BytesIO(data)) as container:
        video = container.streams.video[0]
        for packet in container.demux():
            if packet.stream is video:
                frames += [describe(frame) for frame in packet.decode()]
            elif packet.stream.type == "audio" and packet.size:
                audio.append((packet.pts, bytes(packet)))
        context = video.codec_context
        return Probe(
            context.name,
            video.profile,
            (context.width, context.height),
            frames,
            audio,
            dict(container.metadata),
            video.time_base,
        )


def make_video(
    count: int,
    size=(320, 180),
    fps=Fraction(30),
    codec="libx264",
    container="mpegts",
    pix_fmt="yuv420p",
    start=0,
    sizes=None,
    options=None,
    pts=None,
) -> bytes:
    """Encode a moving gradient; ``sizes`` gives (frames, size) runs within the one file."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, fps)
        stream.pix_fmt, (stream.width, stream.height) = pix_fmt, (sizes[0][1] if sizes else size)
        context = stream.codec_context
        settings = (
            {"preset": "ultrafast", "bf": "0"}
            if "26" in codec
            else {"deadline": "realtime", "cpu-used": "8"}
        )
        if codec == "libx265":
            settings["x265-params"] = "log-level=none"
        settings |= options or {}
        context.options = dict(settings)
        context.time_base = 1 / fps
        number = 0
        for run, (frames, shape) in enumerate(sizes or [(count, size)]):
            if run:
                for packet in context.encode(None):
                    packet.stream = stream
                    file.mux(packet)
                context = av.CodecContext.create(codec, "w")
                context.width, context.height = shape
                context.pix_fmt, context.time_base, context.framerate = pix_fmt, 1 / fps, fps
                context.options = dict(settings)
            for _ in range(frames):
                frame = av.VideoFrame(*shape, "yuv420p")
                for plane, value in zip(
                    frame.planes, (number * 3 % 200 + 16, 100, 150), strict=True
                ):
                    plane.update(bytes([value]) * plane.buffer_size)
                frame = frame.reformat(format=pix_fmt) if pix_fmt != "yuv420p" else frame
                frame.pts, frame.time_base = start + (pts[number] if pts else number), 1 / fps
                number += 1
                for packet in context.encode(frame):
                    packet.stream = stream
                    file.mux(packet)
        for packet in context.encode(None):
            packet.stream = stream
            file.mux(packet)
    return out.getvalue()


def ffmpeg_program() -> str:
    """The ffmpeg program that some tests compare with; its absence fails under CI."""
    found = shutil.which("ffmpeg")
    if not found:
        try:
            import imageio_ffmpeg

            found = imageio_ffmpeg.get_ffmpeg_exe()
        except (ImportError, RuntimeError):
            found = None
    if not found:
        if os.environ.get("CI"):
            pytest.fail("no ffmpeg program")
        pytest.skip("no ffmpeg program")
    return found


def profile(name="p", width=256, height=144, **more) -> Profile:
    return evolve(Profile(name, width, height), **more)


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """Everything above, for tests, which cannot import one another."""
    return SimpleNamespace(
        Context=Context,
        Meter=CountingMeter,
        PipedBody=PipedBody,
        collect=collect,
        ffmpeg_program=ffmpeg_program,
        make_job=make_job,
        make_video=make_video,
        probe=probe,
        profile=profile,
        run_engine=run_engine,
    )
