"""Models that want the same place at the same time, behind the node's own worker pool."""

import asyncio
import random
import time

import pytest
from podium.workers.pool import WorkerPool
from podium_hookspecs import JobFailed, PluginError, Requirements


async def served(kit, pool, model, number, body="echo", timeout_s=60.0):
    """Run one job as the node does: lease, run, release."""
    needs = Requirements(capabilities={33}, model=model, sticky=False)
    async with asyncio.timeout(timeout_s):
        async with pool.lease("llm", needs, "") as worker:
            return await kit.run(worker, body, model=model, number=number)


@pytest.fixture
async def pool():
    found = WorkerPool(lambda event: None)
    yield found
    await found.close()


@pytest.mark.parametrize(("kind", "jobs"), [("process", 16), ("docker", 6)])
async def test_both_models_are_served_on_one_place(
    kit, in_docker, executors, pool, context, kind, jobs
):
    make = in_docker if kind == "docker" else executors
    made = await make(*(kit.entry(executor=kind, model=model) for model in "ab"), start=False)
    await pool.start(made.workers)
    began = time.monotonic()
    done = await asyncio.gather(
        *(served(kit, pool, "ab"[number % 2], number) for number in range(jobs))
    )
    assert [answer["model"] for answer in done] == ["ab"[number % 2] for number in range(jobs)]
    assert [used for _, _, used in pool.states()] == [0]
    assert time.monotonic() - began < 60
    assert len(context.logged("runner ready")) <= jobs


async def test_a_stream_of_one_model_does_not_starve_the_other(kit, executors, pool):
    made = await executors(kit.entry(model="a"), kit.entry(model="b"), start=False)
    await pool.start(made.workers)
    over = asyncio.Event()

    async def keep_on(number):
        while not over.is_set():
            await served(kit, pool, "a", number)

    crowd = [asyncio.create_task(keep_on(number)) for number in range(4)]
    try:
        for number in range(3):
            assert (await served(kit, pool, "b", 100 + number, timeout_s=10))["model"] == "b"
    finally:
        over.set()
        await asyncio.gather(*crowd)


async def test_jobs_go_where_their_model_is(kit, executors, pool, context):
    made = await executors(kit.entry(model="a"), kit.entry(model="b"), cpu_slots=2, start=False)
    await pool.start(made.workers)
    for number in range(6):
        await served(kit, pool, "ab"[number % 2], number)
    ready = [(line["slot"], line["model"]) for line in context.logged("runner ready")]
    assert len(ready) == len(made.workers) == 2
    assert not context.logged("runner ends")


async def test_a_storm_of_cancelled_and_killed_jobs_loses_no_slot(kit, executors, pool, context):
    """Whatever a job dies of, at whatever moment: the slot is free, with one runner at most."""
    made = await executors(kit.entry(model="a"), kit.entry(model="b"), cpu_slots=2, start=False)
    await pool.start(made.workers)
    dice = random.Random(5)
    deeds = ["echo", "echo", "slow:0.2", "kill", "die", "closed", "garbage", "endless"]

    async def one(number):
        task = asyncio.create_task(served(kit, pool, dice.choice("ab"), number, dice.choice(deeds)))
        if dice.random() < 0.5:
            await asyncio.sleep(dice.random())
            task.cancel()
        try:
            await task
        except (PluginError, asyncio.CancelledError) as error:
            return type(error)
        return None

    outcomes = await asyncio.gather(*(one(number) for number in range(60)))
    assert asyncio.CancelledError in outcomes
    assert any(outcome and issubclass(outcome, JobFailed) for outcome in outcomes)
    assert [used for _, _, used in pool.states()] == [0, 0]
    assert all(worker.slot.jobs == 0 for worker in made.workers)
    for model in "ab":
        async with asyncio.timeout(20):
            while True:
                try:
                    assert (await served(kit, pool, model, 999))["model"] == model
                    break
                except PluginError:  # a wait between tries is still on
                    await asyncio.sleep(0.1)
    folder = context.state_dir / "runners"
    assert len(list(folder.iterdir())) == sum(
        worker.slot.held is not None for worker in made.workers
    )
