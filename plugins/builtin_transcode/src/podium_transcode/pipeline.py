"""The pipeline: what a transcoding job is, what it needs and what it counts."""

from __future__ import annotations

import contextlib
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from podium_hookspecs import (
    BadInput,
    Codec,
    Container,
    JobFailed,
    Offer,
    Pipeline,
    Requirements,
    Result,
    TranscodeRequest,
    Units,
    Unsupported,
)

from podium_transcode.capabilities import needed
from podium_transcode.devices import session_cost
from podium_transcode.engine.refusals import (
    INVALID_ARGUMENT,
    INVALID_CLIP,
    INVALID_DURATION,
    INVALID_GOP,
    MUXER_NOT_FOUND,
    TOO_MANY_OUTPUTS,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from podium_hookspecs import Chunk, Job, Meter, Output, Profile, Worker

NAME = "transcode"
UNIT = "pixel"
MAX_OUTPUTS = 10
MAX_DURATION_MS = 300_000
MAX_BITRATE_BPS = 2**31 - 1
MAX_FPS = 1000
ESTIMATED_FPS = 60
SMALLEST_RENDITION_BYTES = 25
MUXABLE = {
    Container.MPEGTS: (Codec.H264, Codec.HEVC),
    Container.MP4: (Codec.H264, Codec.HEVC, Codec.VP9),
}


class TranscodePipeline(Pipeline):
    """Video segments to renditions, counted in encoded pixels."""

    @property
    def name(self) -> str:
        """See ``Pipeline``."""
        return NAME

    @property
    def unit(self) -> str:
        """See ``Pipeline``."""
        return UNIT

    def offers(self, workers: Sequence[Worker]) -> tuple[Offer, ...]:
        """Offer what at least one worker can do."""
        able = [worker.resources for worker in workers if NAME in worker.resources.pipelines]
        numbers = frozenset[int]().union(*(resources.capabilities for resources in able))
        return tuple(
            Offer(number, capacity=sum(r.slots for r in able if number in r.capabilities))
            for number in sorted(numbers)
        )

    def require(self, request: TranscodeRequest) -> Requirements:
        """Check a request and say what it needs; texts are those of wire-video 6.5."""
        if not isinstance(request, TranscodeRequest):
            msg = f"not a transcoding request: {type(request).__name__}"
            raise BadInput(msg)
        if len(request.profiles) > MAX_OUTPUTS:
            raise BadInput(f"{len(request.profiles)} renditions", public=TOO_MANY_OUTPUTS)
        if not 0 <= request.duration_ms <= MAX_DURATION_MS:
            raise BadInput(f"{request.duration_ms} ms", public=INVALID_DURATION)
        _check_clip(request)
        for profile in request.profiles:
            _check_profile(profile)
        return Requirements(capabilities=needed(request), cost=session_cost(request.profiles))

    def estimate(self, request: TranscodeRequest) -> Units:
        """Estimate as senders do: whole frames and whole seconds (payments 8)."""
        seconds = math.ceil(Fraction(request.duration_ms, 1000))
        frames = [
            ESTIMATED_FPS if profile.fps is None else math.ceil(profile.fps)
            for profile in request.profiles
        ]
        pixels = sum(
            max(0, profile.width) * max(0, profile.height) * rate * seconds
            for profile, rate in zip(request.profiles, frames, strict=True)
        )
        return Units(pixels, UNIT)

    async def run(self, job: Job, worker: Worker, meter: Meter) -> AsyncIterator[Output]:
        """Run a job; see ``Pipeline``.

        Raises:
            JobFailed: a rendition is missing or empty (wire-video 6.4).
        """
        if not job.request.profiles:
            yield Result(0)
            return
        made: set[int] = set()
        async with contextlib.aclosing(_outputs(worker, job)) as outputs:
            async for output in outputs:
                if isinstance(output, Result):
                    if len(made) != len(job.request.profiles):
                        msg = f"{len(made)} of {len(job.request.profiles)} renditions"
                        raise JobFailed(msg, public="MismatchedSegments")
                    yield output
                elif output.kind == "video":
                    _check_rendition(output)
                    made.add(output.index)
                    meter.add(Units(output.units, UNIT))
                    yield output
                else:
                    yield output


def _outputs(worker: Worker, job: Job) -> Any:
    return worker.run(job)


def _check_rendition(chunk: Chunk) -> None:
    if len(chunk.data) < SMALLEST_RENDITION_BYTES:
        msg = f"rendition {chunk.index} has {len(chunk.data)} bytes"
        raise JobFailed(msg, public="ZeroSegments")


def _check_clip(request: TranscodeRequest) -> None:
    clip = request.clip
    if clip is not None and clip.from_ms > 0 and 0 < clip.to_ms < clip.from_ms:
        raise BadInput(f"{clip.from_ms} to {clip.to_ms} ms", public=INVALID_CLIP)


def _check_profile(profile: Profile) -> None:
    if profile.gop_ms < -1:
        raise BadInput(f"{profile.name}: GOP {profile.gop_ms}", public=INVALID_GOP)
    if not 0 <= profile.bitrate_bps <= MAX_BITRATE_BPS:
        raise BadInput(f"{profile.name}: {profile.bitrate_bps} b/s", public=INVALID_ARGUMENT)
    if profile.fps is not None and not 0 < profile.fps <= MAX_FPS:
        raise BadInput(f"{profile.name}: {profile.fps} fps", public=INVALID_ARGUMENT)
    if profile.codec not in MUXABLE[profile.container]:
        msg = f"{profile.name}: {profile.codec.value} in {profile.container.name}"
        raise Unsupported(msg, public=MUXER_NOT_FOUND)
