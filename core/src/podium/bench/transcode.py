"""How fast the transcoder plugin is, against the ``ffmpeg`` command line in the same run.

The plugin is found through its entry point and driven through the hooks' objects, as the node
does it. Each round measures all kinds in turn on the same segments, so that what else the
machine does hits all of them; the figures are medians over the rounds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from datetime import datetime
from fractions import Fraction
from importlib.metadata import entry_points
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from podium_hookspecs import Chunk, Job, Profile, Result, TranscodeRequest, Units

from podium.bench.process import BenchError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from podium_hookspecs import Pipeline, Worker

SEGMENT_S = 2
LADDER = (
    Profile("P240p30fps16x9", 426, 240, 600_000, Fraction(30), 30),
    Profile("P360p30fps16x9", 640, 360, 1_200_000, Fraction(30), 30),
    Profile("P576p30fps16x9", 1024, 576, 1_500_000, Fraction(30), 30),
)
MEMORY_SEGMENTS, MEMORY_SESSIONS = 36, 4
SETTLE_S = 2.0
SESSION_DELAY_S = 0.3
JOB_TIMEOUT_S = 120.0
PSNR_SEGMENTS = 2
KIB = 1024


@frozen
class TranscodeOptions:
    """What to measure.

    Attributes:
        segments: An HLS media playlist, a folder of ``.ts`` files, or such files; empty: cut
            ``count`` segments of 720p25 from the clip that comes with Podium.
        ffmpeg: The program to compare with; empty: the one on the PATH, else imageio-ffmpeg's.
        rounds: Rounds measured.
        count: Segments in a round at most (the reference bench's ``-segs``); 0: all.
        sessions: Sessions in the reference bench's table (``-concurrentSessions``).
        live: Pace each session at real time in that table (``-live``).
    """

    segments: tuple[Path, ...] = ()
    ffmpeg: str = ""
    rounds: int = 3
    count: int = 8
    sessions: int = 1
    live: bool = False


@frozen
class Timing:
    """One segment of the reference bench's table."""

    at: datetime
    session: int
    segment: int
    source_s: float
    seconds: float
    frames: int

    def csv(self) -> str:
        """Return the line the reference bench prints."""
        at = self.at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-2]
        head = f"{at},{self.session},{self.segment}"
        return f"{head},{self.source_s:.4g},{self.seconds:.4g},{self.frames}"


@frozen
class TranscodeReport:
    """Medians over the rounds.

    Attributes:
        ratio_one_stream: Throughput of one stream over ``ffmpeg`` once per segment.
        ratio_two_streams: The same with two streams at a time on both sides.
        ratio_continuous: One stream over one ``ffmpeg`` over the whole input.
        psnr_delta_db: The worst rendition's PSNR minus ``ffmpeg``'s, dB.
        overhead_p50_ms: From the body's end to the result, less the transcode itself.
        rss_tree_bytes: Resident memory of this process and its children after 36 segments in
            four sessions, when they are idle again.
        rss_peak_bytes: The most seen while they ran.
        seconds: Medians of each kind's wall time for a round.
        ffmpeg: The program compared with.
        timings: The reference bench's lines.
        sessions: Its number of sessions.
        live: Whether they were paced.
    """

    ratio_one_stream: float
    ratio_two_streams: float
    ratio_continuous: float
    psnr_delta_db: float
    overhead_p50_ms: float
    rss_tree_bytes: int
    rss_peak_bytes: int
    seconds: Mapping[str, float]
    ffmpeg: str
    timings: tuple[Timing, ...]
    sessions: int
    live: bool

    def figures(self) -> dict[str, float]:
        """Return the figures by their names in the JSON."""
        names = (
            "ratio_one_stream",
            "ratio_two_streams",
            "ratio_continuous",
            "psnr_delta_db",
            "overhead_p50_ms",
            "rss_tree_bytes",
            "rss_peak_bytes",
        )
        return {f"transcode.{name}": getattr(self, name) for name in names}

    def lines(self) -> list[str]:
        """Return the report as text, the reference bench's table last."""
        walls = ", ".join(f"{name} {wall:.2f} s" for name, wall in self.seconds.items())
        return [
            f"compared with {self.ffmpeg}",
            f"wall time of a round: {walls}",
            f"one stream   {self.ratio_one_stream:>8.2f} x ffmpeg once per segment",
            f"two streams  {self.ratio_two_streams:>8.2f} x two ffmpeg at a time",
            f"one stream   {self.ratio_continuous:>8.2f} x one continuous ffmpeg",
            f"PSNR         {self.psnr_delta_db:>+8.2f} dB to ffmpeg's, worst rendition",
            f"overhead     {self.overhead_p50_ms:>8.1f} ms p50",
            f"memory       {self.rss_tree_bytes / 1e6:>8.0f} MB after "
            f"{MEMORY_SEGMENTS} segments, {self.rss_peak_bytes / 1e6:.0f} MB at most",
            *self._reference_lines(),
        ]

    def _reference_lines(self) -> list[str]:
        total = sum(timing.seconds for timing in self.timings)
        source = sum(timing.source_s for timing in self.timings)
        in_time = sum(timing.seconds <= timing.source_s for timing in self.timings)
        head = [
            ("Transcoding Options", ",".join(profile.name for profile in LADDER)),
            ("Concurrent Sessions", str(self.sessions)),
            ("Live Mode", str(self.live).lower()),
        ]
        tail = [
            ("Concurrent Sessions", str(self.sessions)),
            ("Total Segs Transcoded", str(len(self.timings))),
            ("Real-Time Segs Transcoded", str(in_time)),
            ("* Real-Time Segs Ratio *", f"{in_time / max(1, len(self.timings)):.4g}"),
            ("Total Source Duration", f"{source:.4g}s"),
            ("Total Transcoding Duration", f"{total:.4g}s"),
            ("* Real-Time Duration Ratio *", f"{total / max(source, 1e-9):.4g}"),
        ]
        csv = ["timestamp,session,segment,seg_dur,transcode_time,frames"]
        return [*_table(head), *csv, *(timing.csv() for timing in self.timings), *_table(tail)]


def _table(rows: Sequence[tuple[str, str]]) -> list[str]:
    left, right = (max(len(row[column]) for row in rows) for column in (0, 1))
    rule = f"*{'-' * (left + 2)}*{'-' * (right + 2)}*"
    return [rule, *(f"| {name:<{left}} | {value:<{right}} |" for name, value in rows), rule]


def run_transcode_bench(options: TranscodeOptions | None = None) -> TranscodeReport:
    """Measure the installed transcoder plugin.

    Raises:
        BenchError: there is no plugin, no ``ffmpeg`` or no input, or one of them failed.
    """
    options = options or TranscodeOptions()
    program = _program(options.ffmpeg)
    with tempfile.TemporaryDirectory(prefix="podium-bench-") as folder:
        segments = _segments(options, program, Path(folder))
        return asyncio.run(_Bench(options, program, Path(folder), segments).run())


# --- inputs


def _program(wanted: str) -> str:
    found = shutil.which(wanted or "ffmpeg")
    if found is None and not wanted:
        with contextlib.suppress(ImportError, RuntimeError):
            import imageio_ffmpeg

            found = str(imageio_ffmpeg.get_ffmpeg_exe())
    if found is None:
        raise BenchError(f"no program {wanted or 'ffmpeg'} to compare with")
    return found


def _segments(options: TranscodeOptions, program: str, folder: Path) -> list[Path]:
    if options.segments:
        found = [file for given in options.segments for file in _expand(given)]
    else:
        found = _cut_clip(program, folder, options.count or 8)
    if not found:
        raise BenchError("no segments to transcode")
    return found[: options.count] if options.count else found


def _expand(given: Path) -> Iterator[Path]:
    if given.is_dir():
        yield from sorted(given.glob("*.ts"))
    elif given.suffix == ".m3u8":
        lines = given.read_text("utf-8").splitlines()
        yield from (given.parent / line for line in lines if line and not line.startswith("#"))
    else:
        yield given


def _cut_clip(program: str, folder: Path, count: int) -> list[Path]:
    """Make segments of 720p25 from the clip, repeated as often as it takes."""
    with as_file(files("podium.assets") / "clip" / "bigbuckbunny.mp4") as clip:
        _call(
            [program, "-nostdin", "-v", "error", "-stream_loop", "-1", "-i", str(clip)],
            ["-t", str(count * SEGMENT_S), "-map", "0:v:0", "-map", "0:a:0"],
            ["-vf", "scale=1280:720,fps=25", "-c:v", "libx264", "-crf", "20", "-bf", "2"],
            ["-g", str(25 * SEGMENT_S), "-sc_threshold", "0", "-pix_fmt", "yuv420p"],
            ["-c:a", "aac", "-ac", "2", "-f", "segment", "-segment_time", str(SEGMENT_S)],
            ["-segment_format", "mpegts", str(folder / "in%03d.ts")],
        )
    return sorted(folder.glob("in*.ts"))


def _call(*parts: Sequence[str]) -> str:
    command = [word for part in parts for word in part]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{command[0]} failed: {done.stderr.strip()[-500:]}")
    return done.stderr


def _command(program: str, source: Path, prefix: Path) -> list[str]:
    """Return the command line that makes the ladder with the same settings."""
    command = [program, "-nostdin", "-v", "error", "-y", "-copyts", "-i", str(source)]
    for profile in LADDER:
        rate = str(profile.bitrate_bps)
        command += ["-map", "0:v:0", "-map", "0:a:0?", "-c:a", "copy", "-c:v", "libx264"]
        command += ["-vf", f"scale={profile.width}:{profile.height},fps={profile.fps}"]
        command += ["-preset", "medium", "-bf", "3", "-forced-idr", "1", "-pix_fmt", "yuv420p"]
        command += ["-b:v", rate, "-minrate", rate, "-maxrate", rate, "-bufsize", rate]
        command += ["-muxdelay", "0", "-muxpreload", "0", "-f", "mpegts"]
        command += [f"{prefix}.{profile.name}.ts"]
    return command


# --- the plugin, as the node holds it


class _SilentLog:
    """The plugin's log goes nowhere."""

    def debug(self, event: str, **facts: Any) -> None:
        """Say nothing."""

    info = warning = error = debug


@define
class _Context:
    """What a plugin needs of its context to make its pipeline and worker."""

    plugin: str = "transcode"
    node_version: str = "0.0.0"
    orchestrator_id: str = "offchain"
    log: _SilentLog = field(factory=_SilentLog)


@define
class _CountingMeter:
    """A balance without end."""

    total: Units = field(factory=lambda: Units(0, "pixel"))

    def add(self, units: Units) -> None:
        """Count."""
        self.total = self.total + units


class _FileBody:
    """A segment's file as a job's body."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self.size_bytes: int | None = path.stat().st_size

    def fileno(self) -> int:
        return self._file.fileno()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield os.pread(self.fileno(), self.size_bytes or 0, 0)

    def close(self) -> None:
        self._file.close()


def _plugin() -> tuple[Pipeline, Worker]:
    found = list(entry_points(group="podium", name="transcode"))
    if not found:
        raise BenchError("the plugin transcode is not installed")
    module = found[0].load()
    config, context = module.podium_config_class()(), _Context()
    return module.podium_pipelines(config, context)[0], module.podium_workers(config, context)[0]


@frozen
class _Run:
    """One job's figures, seconds; and its renditions."""

    seconds: float
    transcode_s: float
    frames: int
    videos: Mapping[int, bytes]


@define
class _Bench:
    options: TranscodeOptions
    program: str
    folder: Path
    segments: Sequence[Path]
    _pipeline: Pipeline = field(init=False)
    _worker: Worker = field(init=False)
    _slots: asyncio.Semaphore = field(init=False)
    _overheads: list[float] = field(factory=list)
    _walls: dict[str, list[float]] = field(factory=dict)
    _jobs: int = 0

    async def run(self) -> TranscodeReport:
        self._pipeline, self._worker = _plugin()
        self._slots = asyncio.Semaphore(self._worker.resources.slots)
        await self._worker.start()
        try:
            await self._job(self.segments[0], "warm-up")
            for _ in range(self.options.rounds):
                await self._round()
            psnr = await self._psnr()
            rss, peak = await self._memory()
            timings = await self._reference_table()
        finally:
            await self._worker.close()
        return TranscodeReport(
            ratio_one_stream=self._ratio("ffmpeg", "podium"),
            ratio_two_streams=self._ratio("ffmpeg x2", "podium x2"),
            ratio_continuous=self._ratio("ffmpeg continuous", "podium"),
            psnr_delta_db=psnr,
            overhead_p50_ms=1000 * statistics.median(self._overheads),
            rss_tree_bytes=rss,
            rss_peak_bytes=peak,
            seconds={name: statistics.median(walls) for name, walls in self._walls.items()},
            ffmpeg=self.program,
            timings=timings,
            sessions=self.options.sessions,
            live=self.options.live,
        )

    def _ratio(self, theirs: str, ours: str) -> float:
        pairs = zip(self._walls[theirs], self._walls[ours], strict=True)
        return statistics.median(their / our for their, our in pairs)

    async def _round(self) -> None:
        """Measure every kind once, ours and theirs in turn."""
        whole = self.folder / "whole.ts"
        whole.write_bytes(b"".join(segment.read_bytes() for segment in self.segments))
        lanes = (self.segments[::2], self.segments[1::2])
        await self._timed("ffmpeg", self._theirs(self.segments))
        await self._timed("podium", self._ours(self.segments, "one"))
        await self._timed("ffmpeg continuous", self._theirs([whole]))
        await self._timed("ffmpeg x2", *(self._theirs(lane) for lane in lanes))
        await self._timed("podium x2", *(self._ours(lane, f"two-{lane[0]}") for lane in lanes))

    async def _timed(self, name: str, *work: Any) -> None:
        started = time.perf_counter()
        await asyncio.gather(*work)
        self._walls.setdefault(name, []).append(time.perf_counter() - started)

    async def _theirs(self, sources: Sequence[Path]) -> None:
        for source in sources:
            command = _command(self.program, source, self.folder / f"theirs-{source.stem}")
            process = await asyncio.create_subprocess_exec(*command)
            if await process.wait():
                raise BenchError(f"{self.program} failed on {source}")

    async def _ours(self, sources: Sequence[Path], session: str) -> None:
        for source in sources:
            made = await self._job(source, session)
            for index, data in made.videos.items():
                name = LADDER[index].name
                (self.folder / f"ours-{source.stem}.{name}.ts").write_bytes(data)
            if session == "one":
                self._overheads.append(made.seconds - made.transcode_s)

    async def _job(self, source: Path, session: str) -> _Run:
        """Run one segment through the pipeline, as a node with an idle slot does."""
        self._jobs += 1
        request = TranscodeRequest("bench", self._jobs, SEGMENT_S * 1000, LADDER)
        self._pipeline.require(request)
        body = _FileBody(source)
        job = Job(
            *(f"bench-{self._jobs}", session, bytes(20), self._pipeline.name, 0, None),
            *(JOB_TIMEOUT_S, request, body),
        )
        videos: dict[int, Chunk] = {}
        facts: Mapping[str, str] = {}
        async with self._slots:
            started = time.perf_counter()
            async for output in self._pipeline.run(job, self._worker, _CountingMeter()):
                if isinstance(output, Result):
                    facts = output.attributes
                elif output.kind == "video":
                    videos[output.index] = output
            seconds = time.perf_counter() - started
        body.close()
        return _Run(
            seconds,
            float(facts.get("transcode_s", seconds)),
            int(videos[0].attributes.get("frames", 0)),
            {index: chunk.data for index, chunk in videos.items()},
        )

    # --- quality

    async def _psnr(self) -> float:
        """Return the worst rendition's PSNR against the scaled source, minus theirs."""
        deltas = []
        for source in self.segments[:PSNR_SEGMENTS]:
            for profile in LADDER:
                both = [
                    self._psnr_of(self.folder / f"{who}-{source.stem}.{profile.name}.ts", source)
                    for who in ("ours", "theirs")
                ]
                deltas.append(both[0] - both[1])
        return min(deltas)

    def _psnr_of(self, rendition: Path, source: Path) -> float:
        name = rendition.suffixes[-2].lstrip(".")
        profile = next(profile for profile in LADDER if profile.name == name)
        graph = (
            f"[1:v]scale={profile.width}:{profile.height}:flags=bicubic,fps={profile.fps},"
            "setpts=PTS-STARTPTS[ref];[0:v]setpts=PTS-STARTPTS[made];[made][ref]psnr"
        )
        inputs = ["-i", str(rendition), "-i", str(source)]
        said = _call([self.program, "-nostdin", *inputs, "-lavfi", graph, "-f", "null", "-"])
        found = re.search(r"average:([0-9.]+)", said)
        if found is None:
            raise BenchError(f"{self.program} gave no PSNR of {rendition.name}")
        return float(found[1])

    # --- memory

    async def _memory(self) -> tuple[int, int]:
        """Return what 36 segments in four sessions leave behind, and the most they took."""
        peak = 0

        async def session(number: int) -> None:
            nonlocal peak
            for place in range(MEMORY_SEGMENTS // MEMORY_SESSIONS):
                await self._job(self.segments[place % len(self.segments)], f"memory-{number}")
                peak = max(peak, _tree_rss())

        async def watch() -> None:
            nonlocal peak
            while True:
                peak = max(peak, _tree_rss())
                await asyncio.sleep(0.2)

        watching = asyncio.create_task(watch())
        await asyncio.gather(*(session(number) for number in range(MEMORY_SESSIONS)))
        watching.cancel()
        await asyncio.sleep(SETTLE_S)
        return _tree_rss(), peak

    # --- the reference bench's table

    async def _reference_table(self) -> tuple[Timing, ...]:
        sessions = (self._paced(number) for number in range(self.options.sessions))
        rows = [row for rows in await asyncio.gather(*sessions) for row in rows]
        return tuple(sorted(rows, key=lambda row: row.at))

    async def _paced(self, session: int) -> list[Timing]:
        await asyncio.sleep(session * SESSION_DELAY_S)
        rows = []
        for number, source in enumerate(self.segments):
            started = time.perf_counter()
            made = await self._job(source, f"table-{session}")
            seconds = time.perf_counter() - started
            at = datetime.now().astimezone()
            rows.append(Timing(at, session, number, float(SEGMENT_S), seconds, made.frames))
            if self.options.live:
                await asyncio.sleep(max(0.0, SEGMENT_S - seconds))
        return rows


def _tree_rss() -> int:
    """Return the resident memory of this process and all its descendants, bytes."""
    listed = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid=,rss="], capture_output=True, text=True, check=True
    )
    rows = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    family = {os.getpid()}
    grown = 0
    while grown != len(family):
        grown = len(family)
        family |= {pid for pid, parent, _ in rows if parent in family}
    return KIB * sum(rss for pid, _, rss in rows if pid in family)
