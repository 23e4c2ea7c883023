"""Seconds are metered as they pass, rounded up at the end, and never twice."""

import asyncio

import pytest
from podium_hookspecs import (
    BudgetExhausted,
    Busy,
    Chunk,
    JobFailed,
    Result,
    Units,
    WorkerLost,
    by_the_second,
)


class Meter:
    """Counts, and runs out after so many seconds."""

    def __init__(self, budget=10**9):
        self.steps, self.budget = [], budget
        self.stepped = asyncio.Event()

    @property
    def total(self):
        return Units(sum(self.steps), "second")

    def add(self, units):
        assert units.unit == "second"
        self.steps.append(units.amount)
        self.stepped.set()
        if self.total.amount > self.budget:
            raise BudgetExhausted("used up")


async def worker(*outputs):
    for output in outputs:
        if isinstance(output, Exception):
            raise output
        if isinstance(output, asyncio.Event):
            await output.wait()
        else:
            yield output


async def collect(outputs, meter, **options):
    return [output async for output in by_the_second(outputs, meter, **options)]


async def test_the_least_is_a_second_and_all_is_metered_before_the_result():
    meter = Meter()
    outputs = by_the_second(worker(Chunk(b"a"), Result(0)), meter)
    assert await anext(outputs) == Chunk(b"a")
    assert meter.steps == []
    assert await anext(outputs) == Result(1)
    assert meter.steps == [1]
    assert await anext(outputs, None) is None
    assert meter.steps == [1]


async def test_long_work_is_metered_step_by_step():
    meter = Meter()
    task = asyncio.create_task(collect(worker(meter.stepped, Result(0)), meter, step_s=1))
    (result,) = await task
    assert meter.steps[0] == 1, "while it ran"
    assert result.units == sum(meter.steps) == 2, "and the rest, rounded up"


@pytest.mark.parametrize(
    ("error", "billed"),
    [(JobFailed("x"), [1]), (WorkerLost("x"), []), (Busy("x"), []), (ValueError("x"), [1])],
)
async def test_what_failed_is_metered_but_not_what_was_lost(error, billed):
    meter = Meter()
    with pytest.raises(type(error)):
        await collect(worker(error), meter)
    assert meter.steps == billed


async def test_who_leaves_pays_for_the_time():
    meter = Meter()
    closed = []

    async def endless():
        try:
            yield Chunk(b"", kind="event")
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    outputs = by_the_second(endless(), meter)
    await anext(outputs)
    await outputs.aclose()
    assert (meter.steps, closed) == ([1], [True])


@pytest.mark.timeout(30)
async def test_a_stream_ends_when_the_balance_is_used_up():
    meter = Meter(budget=0)
    outputs = by_the_second(
        worker(Chunk(b"", kind="event"), asyncio.Event(), Result(0)), meter, step_s=1
    )
    await anext(outputs)
    with pytest.raises(BudgetExhausted):
        await anext(outputs)
    assert meter.steps == [1], "nothing beyond the end"


@pytest.mark.timeout(30)
async def test_a_slow_reader_is_told_when_it_comes_back():
    meter = Meter(budget=0)
    outputs = by_the_second(
        worker(Chunk(b"", kind="event"), Chunk(b"", kind="event")), meter, step_s=1
    )
    await anext(outputs)
    await meter.stepped.wait()
    with pytest.raises(BudgetExhausted):
        await anext(outputs)
    assert meter.steps == [1]


@pytest.mark.timeout(30)
async def test_other_work_is_finished_and_may_overdraw():
    meter = Meter(budget=0)
    (result,) = await collect(worker(meter.stepped, Result(0)), meter, step_s=1)
    assert result.units == 2
    meter = Meter(budget=0)
    assert (await collect(worker(Result(0)), meter))[0].units == 1, "the last step never fails"
