"""What must hold of every pipeline."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
from podium_hookspecs import BadInput, BudgetExhausted, HttpPipeline, Offer, Requirements, Units

from podium.testing.conformance.suite import (
    HOOK_LIMIT_S,
    Bench,
    PluginSuite,
    begin,
    finish,
    quickest_s,
)
from podium.testing.work import CountingMeter, Outcome, Sample

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

BYOC = 37
TIME = "second"
"""Time is billed however the work ends."""


class PipelineConformance(PluginSuite):
    """Subclass it, name the plugin, give samples; every test comes by inheritance."""

    def good(self) -> Sample:
        """Return work that the pipeline does."""
        raise NotImplementedError

    def bad(self) -> Iterable[Sample]:
        """Return work that it must refuse with ``BadInput``, whenever it finds out."""
        raise NotImplementedError

    def lasting(self) -> Sample:
        """Return work that takes a while, to be cancelled under way."""
        return self.good()

    def test_it_says_what_it_is(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.loaded(folder) as loaded:
                pipeline = self.pick_pipeline(loaded)
                assert pipeline.name
                assert pipeline.unit
                if isinstance(pipeline, HttpPipeline):
                    assert isinstance(pipeline.capability, int)
                    assert pipeline.max_body_bytes > 0

        self.on_loop(scenario)

    def test_it_offers_nothing_without_workers(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.loaded(folder) as loaded:
                assert self.pick_pipeline(loaded).offers(()) == ()

        self.on_loop(scenario)

    def test_it_offers_what_its_worker_can_do(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.bench(folder) as bench:
                offers = bench.pipeline.offers((bench.worker,))
                assert offers
                assert all(isinstance(offer, Offer) for offer in offers)
                byoc = [offer for offer in offers if offer.capability == BYOC]
                assert all(offer.name for offer in byoc), "a BYOC offer goes by its name"
                assert not byoc or bench.pipeline.unit == TIME, "BYOC is paid by the second"
                assert bench.pipeline.name in bench.worker.resources.pipelines

        self.on_loop(scenario)

    def test_asking_is_quick_and_changes_nothing(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.bench(folder) as bench, bench.job(self.good()) as job:
                before = repr(job.request)
                _check_answers(bench, job.request)
                assert repr(job.request) == before, "the request was changed"

        self.on_loop(scenario)

    def test_good_work_is_done(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.bench(folder) as bench:
                outcome = await bench.run(self.good(), bench.meter())
                outcome.assert_whole()
                assert outcome.chunks, "nothing came before the result"

        self.on_loop(scenario)

    def test_work_is_metered_before_it_is_given_away(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.bench(folder) as bench:
                meter, outcome, given = bench.meter(), Outcome(), 0
                async with (
                    bench.job(self.good()) as job,
                    aclosing(bench.pipeline.run(job, bench.worker, meter)) as outputs,  # type: ignore[type-var]
                ):
                    async for output in outputs:
                        outcome.take(output)
                        given += getattr(output, "units", 0) if not outcome.results else 0
                        assert meter.total.amount >= given, "yielded first, metered later"
                (result,) = outcome.results
                assert meter.total.amount > 0, "the work was given away"
                assert meter.total.amount == result.units, "the result tells of other units"

        self.on_loop(scenario)

    def test_a_spent_budget_ends_the_work_or_lets_it_finish(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.bench(folder) as bench:
                meter = CountingMeter(bench.pipeline.unit, budget=0)
                try:
                    outcome = await bench.run(self.good(), meter)
                except BudgetExhausted:
                    pass
                else:
                    outcome.assert_whole()
                assert meter.total.amount > 0, "the work was given away"
                await _works(bench, self.good())

        self.on_loop(scenario)

    def test_bad_input_is_refused_by_its_type_and_costs_nothing(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.bench(folder) as bench:
                for sample in self.bad():
                    meter = bench.meter()
                    with pytest.raises(BadInput) as refused:
                        await bench.run(sample, meter)
                    assert refused.value.public
                    billed = meter.total.amount > 0 and bench.pipeline.unit != TIME
                    assert not billed, "refused work was billed"
                await _works(bench, self.good())

        self.on_loop(scenario)

    def test_closing_the_run_frees_the_slot(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.bench(folder) as bench:
                for _ in range(min(bench.worker.resources.slots, 4)):
                    async with bench.job(self.lasting()) as job:
                        outputs = bench.pipeline.run(job, bench.worker, bench.meter())
                        first = await begin(outputs)
                        with self.promptly("cancelling"):
                            await finish(first)
                            await outputs.aclose()  # type: ignore[attr-defined]
                await _works(bench, self.good())

        self.on_loop(scenario)

    def test_jobs_do_not_disturb_each_other(self, folder: Path) -> None:
        async def scenario() -> None:
            async with self.bench(folder) as bench:
                count = min(bench.worker.resources.slots, 2)
                runs = [bench.run(self.good(), bench.meter()) for _ in range(count)]
                for outcome in await asyncio.gather(*runs):
                    outcome.assert_whole()

        self.on_loop(scenario)


def _check_answers(bench: Bench, request: object) -> None:
    pipeline = bench.pipeline
    needs, units = pipeline.require(request), pipeline.estimate(request)
    assert isinstance(needs, Requirements)
    assert isinstance(units, Units)
    assert units.unit == pipeline.unit
    assert (pipeline.require(request), pipeline.estimate(request)) == (needs, units)
    assert needs.slots <= bench.worker.resources.slots
    for what, call in (
        ("require", lambda: pipeline.require(request)),
        ("estimate", lambda: pipeline.estimate(request)),
        ("offers", lambda: pipeline.offers((bench.worker,))),
    ):
        took_s = quickest_s(call)
        assert took_s < HOOK_LIMIT_S, f"{what} blocks the event loop for {took_s * 1000:.1f} ms"


async def _works(bench: Bench, sample: Sample) -> None:
    """The next job is done as if nothing had been."""
    (await bench.run(sample, bench.meter())).assert_whole()
