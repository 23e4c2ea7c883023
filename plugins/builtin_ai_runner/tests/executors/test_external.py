"""Services that somebody else keeps: their health decides, and nothing is started or stopped."""

import asyncio
import os
import sys
from contextlib import asynccontextmanager

import pytest
from podium_hookspecs import WorkerLost, WorkerState


@asynccontextmanager
async def a_service(kit, port, **environment):
    """Run the fake runner as somebody else would."""
    told = {**os.environ, "HOST": "127.0.0.1", "PORT": str(port), "PIPELINE": "llm"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-S", str(kit.FAKE)),
        env={**told, "MODEL_ID": "a", **environment},
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
def port():
    from podium_ai_runner.executors.process import free_port

    return free_port()


async def test_a_service_serves_as_many_jobs_as_it_says(kit, executors, port):
    made = await executors(
        kit.entry(executor="external", url=f"http://127.0.0.1:{port}/", capacity=3)
    )
    (worker,) = made.workers
    assert worker.resources.slots == 3
    async with a_service(kit, port):
        await kit.until_ok(worker)
        async with asyncio.timeout(5):
            await asyncio.gather(
                *(kit.run(worker, "slow:0.5", number=number) for number in range(3))
            )
        ((_, info),) = worker.loaded.items()
        assert info.version == "1.2.3"


async def test_a_service_that_goes_is_down_and_comes_back_by_itself(kit, executors, port):
    made = await executors(kit.entry(executor="external", url=f"http://127.0.0.1:{port}"))
    (worker,) = made.workers
    assert (await anext(aiter(worker.health()))).state is WorkerState.STARTING
    async with a_service(kit, port) as service:
        await kit.until_ok(worker)
        task = asyncio.create_task(kit.run(worker, "slow:60"))
        await asyncio.sleep(0.2)  # into the request
        service.kill()
        with pytest.raises(WorkerLost):
            await task
        assert "does not answer" in (await kit.until_state(worker, WorkerState.DOWN)).reason
        assert worker.loaded == {}
    async with a_service(kit, port):
        await kit.until_ok(worker)
        assert (await kit.run(worker))["model"] == "a"


async def test_a_service_that_is_nowhere_is_down_once_its_time_is_over(kit, executors, port):
    made = await executors(
        kit.entry(executor="external", url=f"http://127.0.0.1:{port}"),
        start_timeout_external_s=0.5,
    )
    (worker,) = made.workers
    report = await kit.until_state(worker, WorkerState.DOWN)
    assert "did not become ready" in report.reason


async def test_a_service_that_loads_is_no_place_for_jobs(kit, executors, port):
    made = await executors(kit.entry(executor="external", url=f"http://127.0.0.1:{port}"))
    (worker,) = made.workers
    async with a_service(kit, port, FAKE_LOADING_S="0.5"):
        await kit.until_ok(worker)
        await kit.run(worker, "health:LOADING")
        await kit.until_state(worker, WorkerState.STARTING)


async def test_closing_leaves_the_service_alone(kit, executors, port):
    made = await executors(kit.entry(executor="external", url=f"http://127.0.0.1:{port}"))
    (worker,) = made.workers
    async with a_service(kit, port) as service:
        await kit.until_ok(worker)
        await worker.close()
        assert service.returncode is None


async def test_a_service_with_openai_s_api_has_another_health(kit, executors, port):
    made = await executors(
        kit.entry(executor="external", url=f"http://127.0.0.1:{port}", api="openai")
    )
    (worker,) = made.workers
    async with a_service(kit, port, FAKE_HEALTH="ERROR"):
        await kit.until_ok(worker)
        ((_, info),) = worker.loaded.items()
        assert info.version == "0.0.0"
