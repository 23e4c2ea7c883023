"""What the suites have in common: a plugin, its options, a loop for each test."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import pytest
from attrs import frozen
from podium_hookspecs import Chunk, Job, Output, Pipeline, Worker

from podium.testing.loading import LoadedPlugin, running_plugin, started
from podium.testing.work import CountingMeter, FileBody, Outcome, Sample

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping

T = TypeVar("T")
HOOK_LIMIT_S = 0.001
"""What the contract gives a synchronous method that runs on the event loop."""

REPEATS = 50


@frozen
class Bench:
    """A pipeline with a worker that was started for it."""

    loaded: LoadedPlugin
    pipeline: Pipeline
    worker: Worker

    @asynccontextmanager
    async def job(self, sample: Sample) -> AsyncIterator[Job]:
        """Have a sample read by the pipeline, as the host does before it leases a worker.

        Raises:
            BadInput: the pipeline refuses it.
        """
        body = FileBody.of(sample.body)
        try:
            request = await sample.parsed(self.pipeline, body)
            needs = self.pipeline.require(request)
            self.pipeline.estimate(request)
            yield sample.job(self.pipeline, request, needs, body)
        finally:
            body.close()

    async def run(self, sample: Sample, meter: CountingMeter) -> Outcome:
        """Do the whole job."""
        outcome = Outcome()
        async with (
            self.job(sample) as job,
            aclosing(self.pipeline.run(job, self.worker, meter)) as outputs,  # type: ignore[type-var]
        ):
            async for output in outputs:
                outcome.take(output)
        return outcome

    def meter(self, budget: int | None = None) -> CountingMeter:
        """Make a meter in the pipeline's unit."""
        return CountingMeter(self.pipeline.unit, budget)


class PluginSuite:
    """Name the plugin and its options; see the subclasses for the samples of work.

    Attributes:
        plugin: The module that the entry point names, or an object with hooks.
        options: Its section, as in TOML.
        timeout_s: What one test may take.
        cancel_within_s: What the contract allows a cancellation to take.
    """

    plugin: ClassVar[object]
    options: ClassVar[Mapping[str, Any]] = {}
    timeout_s: ClassVar[float] = 60.0
    cancel_within_s: ClassVar[float] = 2.0

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """The plugin's state folder."""
        return tmp_path

    def on_loop(self, scenario: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a scenario on a loop of its own, bounded in time."""

        async def bounded() -> T:
            async with asyncio.timeout(self.timeout_s):
                return await scenario()

        return asyncio.run(bounded())

    @asynccontextmanager
    async def loaded(self, folder: Path) -> AsyncIterator[LoadedPlugin]:
        """Load the plugin; override it where it needs something around it."""
        async with running_plugin(type(self).plugin, folder, self.options) as loaded:
            yield loaded

    def pick_pipeline(self, loaded: LoadedPlugin) -> Pipeline:
        """Choose the pipeline under test; override it where the plugin gives several."""
        (pipeline,) = loaded.pipelines.values()
        return pipeline

    def pick_worker(self, loaded: LoadedPlugin) -> Worker:
        """Choose the worker under test; override it where the plugin gives several, or none."""
        (worker,) = loaded.workers.values()
        return worker

    @asynccontextmanager
    async def bench(self, folder: Path) -> AsyncIterator[Bench]:
        """Load the plugin and start the worker."""
        async with self.loaded(folder) as loaded, started(self.pick_worker(loaded)) as worker:
            yield Bench(loaded, self.pick_pipeline(loaded), worker)

    @contextmanager
    def promptly(self, what: str) -> Iterator[None]:
        """Fail when a cancellation takes longer than the contract allows."""
        began_s = time.monotonic()
        yield
        took_s = time.monotonic() - began_s
        assert took_s < self.cancel_within_s, f"{what} took {took_s:.1f} s"


async def begin(outputs: AsyncIterator[Output]) -> asyncio.Task[Output]:
    """Let a run begin: the task ends with its first output."""
    first = asyncio.ensure_future(anext(outputs))
    await asyncio.wait([first], timeout=0.2)
    return first


async def finish(first: asyncio.Task[Output]) -> BaseException | Chunk | Any:
    """Return a started run's first output, or what ended it."""
    first.cancel()
    (ended,) = await asyncio.gather(first, return_exceptions=True)
    return ended


def quickest_s(call: Callable[[], object]) -> float:
    """Return how long a call takes when nothing else disturbs it."""
    took = []
    for _ in range(REPEATS):
        began_s = time.perf_counter()
        call()
        took.append(time.perf_counter() - began_s)
    return min(took)
