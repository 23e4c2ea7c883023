"""The suites bite: a good plugin passes them all, each fault fails the test that is meant for it."""

import asyncio
import time
from fractions import Fraction

import pytest
from podium.testing.conformance import (
    PipelineConformance,
    PricingConformance,
    Sample,
    WorkerConformance,
)
from podium_hookspecs import (
    BadInput,
    Busy,
    Chunk,
    Health,
    HttpPipeline,
    Offer,
    Price,
    PriceRequest,
    Requirements,
    Resources,
    Result,
    Units,
    Worker,
    WorkerLost,
    WorkerState,
    hookimpl,
)

LETTERS = b"abc"


class Echo(HttpPipeline):
    name, unit, capability = "echo", "letter", 36

    def __init__(self, faults):
        self.faults = faults

    def offers(self, workers):
        return (Offer(36, "m"),) if workers or "boasts" in self.faults else ()

    async def parse(self, request):
        data = b"".join([piece async for piece in request.body])
        if not data.isalpha():
            raise (ValueError if "untyped refusal" in self.faults else BadInput)("letters only")
        return {"count": len(data)}

    def require(self, request):
        if "slow require" in self.faults:
            time.sleep(0.002)
        if "changes the request" in self.faults:
            request["seen"] = request.get("seen", 0) + 1
        return Requirements({36}, "m")

    def estimate(self, request):
        return Units(request["count"], "word" if "other unit" in self.faults else "letter")

    async def run(self, job, worker, meter):
        outputs = worker.run(job)
        try:
            async for output in self.metered(outputs, meter):
                yield output
        finally:
            if "leaves the worker's run open" not in self.faults:
                await outputs.aclose()

    async def metered(self, outputs, meter):
        async for output in outputs:
            if "forgets to meter" not in self.faults and isinstance(output, Chunk):
                if "meters late" in self.faults:
                    yield output
                meter.add(Units(output.units, "letter"))
            if isinstance(output, Result) and "no result" in self.faults:
                return
            yield output


class Echoer(Worker):
    name = "echoer"

    def __init__(self, faults):
        self.faults = faults
        self.free = 1
        self.closed = asyncio.Event()
        self.runs = {}

    @property
    def resources(self):
        return Resources({"echo"}, slots=1, version=str(id(self)) if self.free else "0")

    async def start(self):
        pass

    async def health(self):
        yield Health(WorkerState.DOWN if "never well" in self.faults else WorkerState.OK)
        await self.closed.wait()

    async def run(self, job):
        if self.closed.is_set() and "works on" not in self.faults:
            raise WorkerLost("closed")
        if not self.free:
            raise Busy("full")
        self.free -= 1
        gate = self.runs[job.id] = asyncio.Event()
        try:
            for letter in LETTERS:
                yield Chunk(bytes([letter]), units=1)
                if job.timeout_s == 1 and "closes once" not in self.faults:
                    await gate.wait()
                    raise WorkerLost("stopped")
            yield Result(len(LETTERS))
        finally:
            if "keeps the slot" not in self.faults:
                self.free += 1
            if "slow to cancel" in self.faults:
                await asyncio.sleep(0.6)

    async def cancel(self, job_id):
        if "deaf" not in self.faults and job_id in self.runs:
            self.runs[job_id].set()

    async def close(self):
        if "closes once" in self.faults and self.closed.is_set():
            raise RuntimeError("closed already")
        self.closed.set()
        for gate in self.runs.values():
            gate.set()


class Plugin:
    def __init__(self, *faults):
        self.faults = faults

    @hookimpl
    def podium_pipelines(self, config, context):
        return [Echo(self.faults)]

    @hookimpl
    def podium_workers(self, config, context):
        return [Echoer(self.faults)]

    @hookimpl
    def podium_price(self, request):
        if request.model == "dear":
            raise (KeyError if "breaks" in self.faults else BadInput)("no feed")
        if request.model != "m" and "answers for all" not in self.faults:
            return None
        if "slow price" in self.faults:
            time.sleep(0.002)
        unit = "letter" if "any unit" in self.faults else request.unit
        return Price(Fraction(time.perf_counter_ns() if "moody" in self.faults else 7), unit)


class Samples:
    cancel_within_s = 0.5
    timeout_s = 3.0

    def good(self):
        return Sample(LETTERS)

    def lasting(self):
        return Sample(LETTERS, timeout_s=1)

    def bad(self):
        return [Sample(b"123")]


class OfPipelines(Samples, PipelineConformance):
    plugin = Plugin()


class OfWorkers(Samples, WorkerConformance):
    plugin = Plugin()

    def bad(self):
        return []


class OfPricing(PricingConformance):
    plugin = Plugin()

    def priced(self):
        return [PriceRequest(bytes(20), 36, "m", "letter")]

    def passed(self):
        return [PriceRequest(bytes(20), 36, "other", "letter")]

    def refused(self):
        return [PriceRequest(bytes(20), 36, "dear", "letter")]


CASES = [
    (suite, name)
    for suite in (OfPipelines, OfWorkers, OfPricing)
    for name in dir(suite)
    if name.startswith("test_")
]

FAULTS = {
    "boasts": OfPipelines.test_it_offers_nothing_without_workers,
    "untyped refusal": OfPipelines.test_bad_input_is_refused_by_its_type_and_costs_nothing,
    "slow require": OfPipelines.test_asking_is_quick_and_changes_nothing,
    "changes the request": OfPipelines.test_asking_is_quick_and_changes_nothing,
    "other unit": OfPipelines.test_asking_is_quick_and_changes_nothing,
    "forgets to meter": OfPipelines.test_work_is_metered_before_it_is_given_away,
    "meters late": OfPipelines.test_work_is_metered_before_it_is_given_away,
    "no result": OfPipelines.test_good_work_is_done,
    "keeps the slot": OfPipelines.test_closing_the_run_frees_the_slot,
    "leaves the worker's run open": OfPipelines.test_closing_the_run_frees_the_slot,
    "slow to cancel": OfPipelines.test_closing_the_run_frees_the_slot,
    "never well": OfWorkers.test_it_tells_how_it_is_until_it_is_closed,
    "deaf": OfWorkers.test_a_cancelled_job_ends_and_frees_its_slot,
    "works on": OfWorkers.test_it_closes_twice_and_takes_no_more_work,
    "closes once": OfWorkers.test_it_closes_twice_and_takes_no_more_work,
    "answers for all": OfPricing.test_what_is_not_its_own_is_left_to_others,
    "slow price": OfPricing.test_pricing_is_quick,
    "any unit": OfPricing.test_another_unit_never_gets_this_unit_s_price,
    "moody": OfPricing.test_the_same_question_has_the_same_answer,
    "breaks": OfPricing.test_without_a_price_it_refuses_by_type,
}


@pytest.mark.parametrize(("suite", "name"), CASES)
def test_a_good_plugin_passes(suite, name, tmp_path):
    getattr(suite(), name)(tmp_path)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault, tmp_path):
    test = FAULTS[fault]
    suite = next(
        s for s in (OfPipelines, OfWorkers, OfPricing) if getattr(s, test.__name__, 0) is test
    )
    faulty = type("Faulty", (suite,), {"plugin": Plugin(fault)})
    with pytest.raises((Exception, pytest.fail.Exception)):
        test(faulty(), tmp_path)
