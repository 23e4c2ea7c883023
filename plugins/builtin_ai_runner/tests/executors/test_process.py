"""Runners as local processes: from their start to every way they may end."""

import asyncio
import os
import signal

import pytest
from attrs import evolve
from podium_hookspecs import Busy, JobFailed, JobTimeout, WorkerLost, WorkerState


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_warm_model_is_starting_until_its_first_ok(kit, executors):
    (worker,) = (
        await executors(kit.entry(warm=True, environment={"FAKE_LOADING_S": "0.5"}))
    ).workers
    first = await anext(aiter(worker.health()))
    assert first.state is WorkerState.STARTING
    await kit.until_ok(worker)
    assert (await kit.run(worker))["model"] == "a"


async def test_a_model_on_demand_is_started_by_its_first_job_and_stays(kit, executors):
    (worker,) = (await executors(kit.entry())).workers
    assert worker.loaded == {}
    first = await kit.run(worker)
    second = await kit.run(worker)
    assert first["pid"] == second["pid"]
    ((key, info),) = worker.loaded.items()
    assert key == ("llm", "a")
    assert (info.version, info.warm) == ("1.2.3", False)
    assert info.hardware[0].id == "GPU-1"
    assert info.hardware[0].compute == "9.0"
    assert worker.hardware()[0].devices == info.hardware


async def test_another_model_takes_the_place(kit, executors):
    made = await executors(kit.entry(model="a"), kit.entry(pipeline="text-to-image", model="b"))
    (worker,) = made.workers
    first = await kit.run(worker, model="a")
    assert worker.readiness(kit.needs_of(model="a")) < worker.readiness(
        kit.needs_of("text-to-image", "b")
    )
    second = await kit.run(worker, pipeline="text-to-image", model="b")
    assert second["model"] == "b"
    await kit.until(lambda: not alive(first["pid"]))
    assert set(worker.loaded) == {("text-to-image", "b")}


@pytest.mark.parametrize("deed", ["kill", "die", "closed", "garbage"])
async def test_a_runner_that_fails_under_a_job_is_replaced(kit, executors, context, deed):
    (worker,) = (await executors(kit.entry(warm=True))).workers
    await kit.until_ok(worker)
    first = await kit.run(worker)
    with pytest.raises(WorkerLost) as lost:
        await kit.run(worker, deed)
    assert lost.value.public.startswith('Post "http://127.0.0.1:')
    second = await kit.run(worker)
    died = deed in ("kill", "die")
    assert (first["pid"] != second["pid"]) == died
    assert len(context.logged("runner lost")) == died
    if deed == "die":
        assert "code 3" in str(lost.value)
        assert "the runner dies" in context.logged("runner lost")[0]["log_tail"]


async def test_an_endless_answer_fails_its_job_only(kit, executors):
    (worker,) = (await executors(kit.entry(warm=True))).workers
    first = await kit.run(worker)
    with pytest.raises(JobFailed, match="too long"):
        await kit.run(worker, "endless")
    assert await kit.run(worker) == first


async def test_a_job_that_takes_too_long_costs_the_runner(kit, executors):
    (worker,) = (await executors(kit.entry())).workers
    first = await kit.run(worker)
    with pytest.raises(JobTimeout):
        await kit.run(worker, "slow:60", timeout_s=0.3)
    assert (await kit.run(worker))["pid"] != first["pid"]


async def test_a_runner_that_comes_too_late_is_as_good_as_none(kit, executors):
    (worker,) = (await executors(kit.entry(environment={"FAKE_START_S": "1"}))).workers
    with pytest.raises(JobTimeout) as late:
        await kit.run(worker, timeout_s=0.3)
    assert late.value.public == "insufficient capacity"
    assert (await kit.run(worker))["model"] == "a"  # what had begun was of use


async def test_a_cancelled_job_ends_at_once_and_keeps_the_runner(kit, executors):
    (worker,) = (await executors(kit.entry())).workers
    first = await kit.run(worker)
    task = asyncio.create_task(kit.run(worker, "slow:60", number=7))
    await kit.until(lambda: worker.slot.jobs)
    await asyncio.sleep(0.1)  # into the request
    await worker.cancel("job-7-slow:60")
    with pytest.raises(JobFailed, match="cancelled"):
        await task
    assert worker.slot.jobs == 0
    assert await kit.run(worker) == first


async def test_a_job_cancelled_in_a_swap_leaves_one_runner(kit, executors, context):
    made = await executors(
        kit.entry(model="a"), kit.entry(model="b", environment={"FAKE_START_S": "0.5"})
    )
    (worker,) = made.workers
    first = await kit.run(worker, model="a")
    task = asyncio.create_task(kit.run(worker, model="b"))
    await kit.until(lambda: context.logged("runner ends"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert worker.slot.jobs == 0
    # The next job for either model finds a slot with one runner, whatever the swap is at.
    second = await kit.run(worker, model="a")
    assert second["model"] == "a"
    assert not alive(first["pid"])
    assert len(context.logged("runner ready")) == 3


async def test_busy_when_the_slot_has_a_job(kit, executors):
    (worker,) = (await executors(kit.entry())).workers
    await kit.run(worker)
    task = asyncio.create_task(kit.run(worker, "slow:0.5", number=1))
    await kit.until(lambda: worker.slot.jobs)
    with pytest.raises(Busy) as busy:
        await kit.run(worker)
    assert busy.value.public == "insufficient capacity"
    await task


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"FAKE_EXIT": "5"}, "code 5"),
        ({"FAKE_HEALTH": "ERROR"}, "ERROR"),
        ({"FAKE_HEALTH": "garbage"}, "nonsense"),
        ({"FAKE_HEALTH": "BANANA"}, "BANANA"),
        ({"FAKE_HEALTH": "500"}, "500"),
        ({"FAKE_HEALTH": "slow"}, "within"),
        ({"FAKE_HEALTH": "endless"}, "more than"),
        ({"FAKE_HEALTH": "LOADING"}, "LOADING"),
        ({"FAKE_START_S": "60"}, "cannot be asked"),
    ],
)
async def test_a_runner_that_never_becomes_ready(kit, executors, context, environment, says):
    made = await executors(
        kit.entry(model="bad", environment=environment),
        kit.entry(model="good"),
        start_timeout_flags_s=1.0,
        timings=kit.PATIENT,
    )
    (worker,) = made.workers
    with pytest.raises(WorkerLost) as failed:
        await kit.run(worker, model="bad")
    assert says in str(failed.value)
    assert failed.value.public == "insufficient capacity"
    (line,) = context.logged("runner did not start")
    if "FAKE_EXIT" in environment:
        assert "it cannot work" in line["log_tail"]
    with pytest.raises(Busy) as busy:
        await kit.run(worker, model="bad")
    assert busy.value.public == "insufficient capacity"
    assert (await kit.run(worker, model="good"))["model"] == "good"
    report = await anext(aiter(worker.health()))
    assert report.state is WorkerState.DEGRADED
    assert says in report.reason


async def test_a_warm_model_that_cannot_start_is_down_and_tried_again(kit, executors, tmp_path):
    program = tmp_path / "late"
    made = await executors(kit.entry(warm=True, command=(str(program),)))
    (worker,) = made.workers
    report = await kit.until_state(worker, WorkerState.DOWN)
    assert "cannot be run" in report.reason
    program.write_text(f"#!/bin/sh\nexec {' '.join(made._settings.command)}\n")
    program.chmod(0o755)
    await kit.until_ok(worker)
    assert worker.failing == {}


@pytest.mark.parametrize("mode", ["ERROR", "garbage", "500", "slow"])
async def test_the_watch_replaces_a_runner_that_goes_bad(kit, executors, context, mode):
    (worker,) = (await executors(kit.entry(warm=True))).workers
    await kit.until_ok(worker)
    first = await kit.run(worker, f"health:{mode}")
    await kit.until(lambda: context.logged("runner lost"))
    await kit.until_ok(worker)
    assert (await kit.run(worker))["pid"] != first["pid"]


async def test_loading_takes_a_runner_out_and_too_long_replaces_it(kit, executors, context):
    (worker,) = (await executors(kit.entry(warm=True))).workers
    await kit.until_ok(worker)
    first = await kit.run(worker, "health:LOADING")
    assert (await kit.until_state(worker, WorkerState.STARTING)).reason == "LOADING"
    assert worker.loaded == {}
    await kit.until_ok(worker)
    assert (await kit.run(worker))["pid"] != first["pid"]
    assert "LOADING" in context.logged("runner lost")[0]["reason"]


async def test_an_idle_runner_that_dies_is_noticed(kit, executors, context):
    (worker,) = (await executors(kit.entry(warm=True))).workers
    await kit.until_ok(worker)
    first = await kit.run(worker)
    os.kill(first["pid"], signal.SIGKILL)
    await kit.until(lambda: context.logged("runner lost"))
    assert (await kit.run(worker))["pid"] != first["pid"]
    assert context.changes > 3


async def test_a_runner_that_keeps_dying_is_started_ever_more_seldom(kit, executors, context):
    timings = evolve(kit.QUICK, retry_first_s=0.5, retry_most_s=2.0)
    (worker,) = (await executors(kit.entry(warm=True), timings=timings)).workers
    for _ in range(3):
        await kit.until_ok(worker)
        ready = len(context.logged("runner ready"))
        os.kill((await kit.run(worker))["pid"], signal.SIGKILL)
        await kit.until(lambda: worker.slot.held is None)
    report = await kit.until_state(worker, WorkerState.DOWN)
    assert "Killed" in report.reason
    with pytest.raises(Busy):
        await kit.run(worker)
    await kit.until_ok(worker)
    assert len(context.logged("runner ready")) == ready + 1


async def test_a_fault_of_ours_fails_the_job_and_not_the_slot(kit, executors, context):
    (worker,) = (await executors(kit.entry())).workers
    good = worker.slot.launchers["process"]
    worker.slot.launchers["process"] = None
    with pytest.raises(WorkerLost, match="NoneType"):
        await kit.run(worker)
    await kit.until(lambda: len(context.logged("slot fault")) > 2)  # the watch sees it too
    worker.slot.launchers["process"] = good
    await kit.until(lambda: worker.slot.may_start(kit.entry().key))
    assert (await kit.run(worker))["model"] == "a"


async def test_closing_ends_the_process_and_running_jobs(kit, executors):
    made = await executors(kit.entry())
    (worker,) = made.workers
    first = await kit.run(worker)
    task = asyncio.create_task(kit.run(worker, "slow:60", number=1))
    await kit.until(lambda: worker.slot.jobs)
    await worker.close()
    with pytest.raises(JobFailed):
        await task
    assert not alive(first["pid"])
    await worker.close()
    assert (await kit.until_state(worker, WorkerState.DOWN)).reason == "closed"


async def test_closing_in_the_middle_of_a_start_leaves_nothing(kit, executors, context):
    (worker,) = (await executors(kit.entry(warm=True, environment={"FAKE_START_S": "60"}))).workers
    folder = context.state_dir / "runners"
    (record,) = await kit.until(lambda: folder.exists() and list(folder.glob("*.json")))
    pid = int(record.stem)
    await worker.close()
    assert not alive(pid)
    assert list(folder.iterdir()) == []
