"""What must hold of every worker."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
from podium_hookspecs import (
    BadInput,
    Health,
    Job,
    PluginError,
    Requirements,
    Resources,
    Worker,
    WorkerState,
)

from podium.testing.conformance.suite import (
    HOOK_LIMIT_S,
    Bench,
    PluginSuite,
    begin,
    finish,
    quickest_s,
)
from podium.testing.loading import started
from podium.testing.work import Outcome, Sample

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

ANSWER_S = 5.0
UNKNOWN = "never-seen"


class WorkerConformance(PluginSuite):
    """Subclass it, name the plugin, give samples; every test comes by inheritance.

    The samples are read by a pipeline of the same plugin; where the plugin has none, override
    ``pick_pipeline`` to return the pipeline that the worker serves.
    """

    def good(self) -> Sample:
        """Return work that the worker does."""
        raise NotImplementedError

    def bad(self) -> Iterable[Sample]:
        """Return work that is well formed for the pipeline, and that the worker must refuse."""
        return ()

    def lasting(self) -> Sample:
        """Return work that takes a while, to be cancelled under way."""
        return self.good()

    def test_it_says_what_it_has(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.loaded(folder) as loaded:
                worker = self.pick_worker(loaded)
                before = (worker.name, worker.resources)
                assert worker.name
                assert isinstance(worker.resources, Resources)
                assert worker.resources.slots > 0
                async with started(worker):
                    assert (worker.name, worker.resources) == before, "resources never change"

        self.on_loop(scenario)

    def test_it_tells_how_it_is_until_it_is_closed(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.loaded(folder) as loaded:
                worker = self.pick_worker(loaded)
                await worker.recover()
                await worker.start()
                states = aiter(worker.health())
                async with asyncio.timeout(ANSWER_S):
                    first = await anext(states)
                assert isinstance(first, Health)
                assert first.state in (WorkerState.OK, WorkerState.STARTING), first.reason
                await worker.close()
                async with asyncio.timeout(ANSWER_S):
                    async for health in states:
                        if health.state is WorkerState.DOWN:
                            break
                await states.aclose()  # type: ignore[attr-defined]

        self.on_loop(scenario)

    def test_it_recovers_before_it_starts(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.loaded(folder) as loaded:
                worker = self.pick_worker(loaded)
                assert list(await worker.recover()) == [], "there was no earlier life"
                async with started(worker):
                    pass

        self.on_loop(scenario)

    def test_good_work_is_done(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.bench(folder) as bench:
                await _works(bench, self.good())

        self.on_loop(scenario)

    def test_bad_input_is_told_from_a_broken_worker(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.bench(folder) as bench:
                for sample in self.bad():
                    async with bench.job(sample) as job:
                        with pytest.raises(BadInput):
                            await _run(bench.worker, job)
                await _works(bench, self.good())

        self.on_loop(scenario)

    def test_a_cancelled_job_ends_and_frees_its_slot(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.bench(folder) as bench:
                for _ in range(min(bench.worker.resources.slots, 4)):
                    async with bench.job(self.lasting()) as job:
                        running = asyncio.create_task(_run(bench.worker, job))
                        await asyncio.wait([running], timeout=0.2)
                        with self.promptly("cancel"):
                            await bench.worker.cancel(job.id)
                            (ended,) = await asyncio.gather(running, return_exceptions=True)
                        assert isinstance(ended, PluginError | Outcome), f"it ended with {ended!r}"
                await _works(bench, self.good())

        self.on_loop(scenario)

    def test_closing_the_run_frees_the_slot(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.bench(folder) as bench:
                for _ in range(min(bench.worker.resources.slots, 4)):
                    async with bench.job(self.lasting()) as job:
                        outputs = bench.worker.run(job)
                        first = await begin(outputs)
                        with self.promptly("closing the run"):
                            await finish(first)
                            await outputs.aclose()  # type: ignore[attr-defined]
                await _works(bench, self.good())

        self.on_loop(scenario)

    def test_what_it_does_not_know_is_no_error(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.bench(folder) as bench:
                await bench.worker.cancel(UNKNOWN)
                await bench.worker.end_session(UNKNOWN)

        self.on_loop(scenario)

    def test_it_closes_twice_and_takes_no_more_work(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.bench(folder) as bench, bench.job(self.good()) as job:
                await bench.worker.close()
                await bench.worker.close()
                with pytest.raises(PluginError):
                    await _run(bench.worker, job)

        self.on_loop(scenario)

    def test_closing_ends_what_runs(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.bench(folder) as bench, bench.job(self.lasting()) as job:
                running = asyncio.create_task(_run(bench.worker, job))
                await asyncio.wait([running], timeout=0.2)
                await bench.worker.close()
                async with asyncio.timeout(ANSWER_S):
                    (ended,) = await asyncio.gather(running, return_exceptions=True)
                assert isinstance(ended, PluginError | Outcome), f"it ended with {ended!r}"

        self.on_loop(scenario)

    def test_asking_is_quick(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.bench(folder) as bench:
                needs = Requirements()
                assert bench.worker.readiness(needs) >= 0
                for call in (lambda: bench.worker.readiness(needs), bench.worker.hardware):
                    assert quickest_s(call) < HOOK_LIMIT_S, "it blocks the event loop"

        self.on_loop(scenario)


async def _run(worker: Worker, job: Job) -> Outcome:
    outcome = Outcome()
    async with aclosing(worker.run(job)) as outputs:  # type: ignore[type-var]
        async for output in outputs:
            outcome.take(output)
    return outcome


async def _works(bench: Bench, sample: Sample) -> None:
    """The next job is done as if nothing had been."""
    async with bench.job(sample) as job:
        (await _run(bench.worker, job)).assert_whole()
