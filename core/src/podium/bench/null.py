"""A plugin that does no work: what is left is what the node itself costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podium_hookspecs import (
    Chunk,
    Health,
    Job,
    Offer,
    Output,
    Pipeline,
    Requirements,
    Resources,
    Result,
    Units,
    Worker,
    WorkerState,
    hookimpl,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from podium_hookspecs import Meter, PluginContext

UNIT = "pixel"
CAPABILITIES = frozenset({0, 1, 2, 3, 7, 8, 9, 10, 11, 26})
RENDITION = b"\x47" + bytes(187)
PIXELS_PER_RENDITION = 1000


class NullWorker(Worker):
    """Answers every profile with one empty packet."""

    name = "null"
    resources = Resources({"transcode"}, CAPABILITIES, slots=1000, version="0.9.1")

    async def start(self) -> None:
        """Nothing to start."""

    async def health(self) -> AsyncIterator[Health]:
        """Always well."""
        yield Health(WorkerState.OK)

    async def run(self, job: Job) -> AsyncIterator[Output]:
        """Yield one tiny rendition for each profile."""
        profiles = job.request.profiles
        for index in range(len(profiles)):
            yield Chunk(RENDITION, index, "video", "video/mp2t", PIXELS_PER_RENDITION)
        yield Result(PIXELS_PER_RENDITION * len(profiles))

    async def cancel(self, job_id: str) -> None:
        """Nothing runs long enough."""

    async def close(self) -> None:
        """Nothing to stop."""


class NullPipeline(Pipeline):
    """The transcoding pipeline's place, without transcoding."""

    name = "transcode"
    unit = UNIT

    def offers(self, workers: Sequence[Worker]) -> tuple[Offer, ...]:
        """Offer what a transcoder offers."""
        return tuple(Offer(number) for number in sorted(CAPABILITIES)) if workers else ()

    def require(self, request: Any) -> Requirements:
        """Need nothing."""
        del request
        return Requirements()

    def estimate(self, request: Any) -> Units:
        """Cost next to nothing."""
        return Units(PIXELS_PER_RENDITION * len(request.profiles), UNIT)

    async def run(self, job: Job, worker: Worker, meter: Meter) -> AsyncIterator[Output]:
        """Meter and pass on."""
        async for output in worker.run(job):
            if isinstance(output, Chunk):
                meter.add(Units(output.units, UNIT))
            yield output


@hookimpl
def podium_pipelines(config: Any, context: PluginContext) -> list[Pipeline]:
    """Give the pipeline."""
    del config, context
    return [NullPipeline()]


@hookimpl
def podium_workers(config: Any, context: PluginContext) -> list[Worker]:
    """Give the worker."""
    del config, context
    return [NullWorker()]
