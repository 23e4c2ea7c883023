"""A batch pipeline: a description put to work."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from attrs import evolve, frozen
from podium_hookspecs import (
    BadInput,
    Chunk,
    HttpPipeline,
    Offer,
    PluginError,
    Requirements,
    Result,
    Units,
)

from podium_ai_runner.pipelines import answers, stream
from podium_ai_runner.pipelines.describe import Answer, Description
from podium_ai_runner.pipelines.offers import offers_of
from podium_ai_runner.pipelines.parse import MAX_JSON_BYTES, Parser
from podium_ai_runner.pipelines.request import AiRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from podium_hookspecs import HttpRequest, Job, Meter, Output, Worker

    from podium_ai_runner.pipelines.video import VideoMaker

MAX_FORM_BYTES = 64 * 2**20
MARGIN_S = 5.0
"""Our own time limit ends a job this long before the host's, so that the two can be told apart."""

DRAIN_S = 0.5
"""What a worker may take to come to an end after the last event was passed on."""


class Shared(Protocol):
    """What the pipelines share."""

    def start(self) -> None:
        """Start it; a second time is fine."""

    async def close(self) -> None:
        """Close it; a second time is fine."""


@frozen
class Settings:
    """What is the same for all pipelines.

    Attributes:
        queue_timeout_s: How long a job waits for a free worker.
        run_timeout_s: How long it may run.
    """

    queue_timeout_s: float = 1.0
    run_timeout_s: float = 600.0


class AiPipeline(HttpPipeline):
    """One of the network's batch AI pipelines.

    Args:
        description: Which.
        parser: Reads its requests.
        videos: Makes videos of frames, and hosts them.
        settings: What is the same for all.
        parts: What all pipelines share, started with the first and closed with the last.
    """

    def __init__(
        self,
        description: Description,
        parser: Parser,
        videos: VideoMaker,
        settings: Settings,
        parts: Shared,
    ) -> None:
        self.description = description
        self._parts = parts
        self._parser = parser
        self._videos = videos
        self._settings = settings

    @property
    def name(self) -> str:
        """See ``Pipeline``."""
        return self.description.name

    @property
    def unit(self) -> str:
        """See ``Pipeline``."""
        return self.description.unit

    @property
    def capability(self) -> int:
        """See ``HttpPipeline``."""
        return self.description.capability

    @property
    def max_body_bytes(self) -> int:
        """See ``HttpPipeline``."""
        return MAX_JSON_BYTES if self.description.file is None else MAX_FORM_BYTES

    async def start(self) -> None:
        """See ``Pipeline``."""
        self._parts.start()

    async def close(self) -> None:
        """See ``Pipeline``."""
        await self._parts.close()

    def timeout_s(self, request: AiRequest) -> float:
        """See ``HttpPipeline``."""
        del request
        settings = self._settings
        return settings.queue_timeout_s + settings.run_timeout_s + MARGIN_S

    def offers(self, workers: Sequence[Worker]) -> tuple[Offer, ...]:
        """Offer the models that the workers serve; see ``Pipeline``."""
        return offers_of(self.description, workers)

    async def parse(self, request: HttpRequest) -> AiRequest:
        """See ``HttpPipeline``."""
        return await self._parser.parse(request)

    def require(self, request: Any) -> Requirements:
        """See ``Pipeline``."""
        if not isinstance(request, AiRequest) or request.pipeline != self.name:
            raise BadInput(f"no request of {self.name}")
        return Requirements(
            capabilities=frozenset({self.capability}),
            model=request.model,
            sticky=False,
            wait_s=self._settings.queue_timeout_s,
        )

    def estimate(self, request: AiRequest) -> Units:
        """See ``Pipeline``; for these pipelines the estimate is the bill."""
        return Units(request.units, self.unit)

    async def run(self, job: Job, worker: Worker, meter: Meter) -> AsyncIterator[Output]:
        """Do a job; its units are metered once, before what completes the answer is yielded.

        A failure is not charged. A peer that leaves after it was given a part of the answer is:
        else whoever hangs up before the last piece would never pay.
        """
        units = Units(job.request.units, self.unit)
        mine = evolve(job, timeout_s=max(1.0, job.timeout_s - MARGIN_S))
        given = paid = False
        async with contextlib.aclosing(_outputs(worker, mine)) as outputs:
            try:
                async with contextlib.aclosing(self._answer(_chunks(outputs), job)) as answer:
                    async for chunk, last in answer:
                        if last:
                            meter.add(units)
                            paid = True
                        given = True
                        yield chunk
            except (GeneratorExit, asyncio.CancelledError):
                if given and not paid:
                    meter.add(units)
                raise
            await _drained(outputs)
        yield Result(units.amount, {"model": job.request.model})

    def _answer(
        self, chunks: AsyncIterator[Chunk], job: Job
    ) -> AsyncGenerator[tuple[Chunk, bool], None]:
        if job.request.streams:
            return stream.checked(chunks, job.request.model)
        if self.description.answer is Answer.VIDEO:
            return self._videos.answer(chunks, self.description, job)
        return answers.checked(chunks, self.description)


def _outputs(worker: Worker, job: Job) -> Any:
    return worker.run(job)


async def _chunks(outputs: AsyncIterator[Output]) -> AsyncIterator[Chunk]:
    async for output in outputs:
        if isinstance(output, Chunk):
            yield output


async def _drained(outputs: AsyncIterator[Output]) -> None:
    """Let a worker come to its end: what goes wrong after a whole answer concerns nobody."""
    with contextlib.suppress(TimeoutError, PluginError):
        async with asyncio.timeout(DRAIN_S):
            async for _ in outputs:
                pass
