"""Runners that misbehave on demand, a small real call to them, and workers under test."""

import asyncio
import contextlib
import json
import sys
from pathlib import Path

import aiohttp
import pytest
from attrs import define, evolve, field
from podium.testing.plugins import RecordingContext
from podium_ai_runner.executors.manager import Executors
from podium_ai_runner.executors.settings import ExecutorSettings, ModelEntry
from podium_ai_runner.executors.values import Key, Timings
from podium_hookspecs import (
    BadInput,
    Chunk,
    Job,
    JobFailed,
    Requirements,
    Result,
    WorkerLost,
    WorkerState,
)

FAKE = Path(__file__).with_name("fake_runner.py")
CAPABILITIES = {"text-to-image": 27, "llm": 33, "image-to-text": 34}
MAX_REPLY_BYTES = 4 * 2**20
QUICK = Timings(
    watch_s=0.3,
    poll_s=0.05,
    probe_s=0.5,
    loading_s=1.5,
    retry_first_s=0.2,
    retry_most_s=1.0,
    stop_s=3.0,
)


@define(eq=False)
class Context(RecordingContext):
    """A plugin's context that counts its calls of ``changed``."""

    changes: int = field(default=0, init=False)

    def changed(self):
        self.changes += 1

    def logged(self, event):
        return [line.facts for line in self.log.lines if line.event == event]


async def call(endpoint, job):
    """Post a job's request to a runner and yield its reply."""
    headers = {"Authorization": f"Bearer {endpoint.token.reveal}"} if endpoint.token else {}
    url = f"{endpoint.url}/{job.pipeline}"
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=job.request.encode(), headers=headers) as response,
        ):
            data = b""
            async for part in response.content.iter_any():
                data += part
                if len(data) > MAX_REPLY_BYTES:
                    raise JobFailed("the runner's answer is too long")
            status = response.status
    except aiohttp.ClientError as error:
        raise WorkerLost(f"transport: {error!r}", public=f'Post "{url}": EOF') from error
    if status == 400:
        raise BadInput("the runner says 400")
    if status != 200:
        raise JobFailed(f"the runner says {status}")
    yield Chunk(data, content_type="application/json")
    yield Result(0)


def entry(pipeline="llm", model="a", **more):
    more = {"executor": "process", **more}
    return ModelEntry(Key(pipeline, model), CAPABILITIES[pipeline], **more)


def job_of(body="echo", pipeline="llm", model="a", number=0, timeout_s=30.0):
    return Job(
        id=f"job-{number}-{body[:20]}",
        session_id="",
        sender=bytes(20),
        pipeline=pipeline,
        capability=CAPABILITIES[pipeline],
        model=model,
        timeout_s=timeout_s,
        request=body,
    )


def needs_of(pipeline="llm", model="a"):
    return Requirements(capabilities={CAPABILITIES[pipeline]}, model=model, sticky=False)


async def run(worker, body="echo", **more):
    """Run one job; return the runner's answer."""
    async with contextlib.aclosing(worker.run(job_of(body, **more))) as outputs:
        found = [output async for output in outputs]
    assert isinstance(found[-1], Result)
    return json.loads(b"".join(chunk.data for chunk in found[:-1]))


async def until_state(worker, *states, timeout_s=20.0):
    """Wait until a worker reports one of the states; return that report."""
    async with asyncio.timeout(timeout_s):
        async with contextlib.aclosing(worker.health()) as reports:
            async for report in reports:
                if report.state in states:
                    return report
    raise AssertionError(f"never {states}")


async def until_ok(worker, timeout_s=20.0):
    return await until_state(worker, WorkerState.OK, timeout_s=timeout_s)


async def until(condition, timeout_s=20.0):
    """Wait until something outside this process holds."""
    async with asyncio.timeout(timeout_s):
        while not (found := condition()):  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.02)
    return found


PROCESS_SETTINGS = ExecutorSettings(
    gpus=("none",),
    command=(sys.executable, "-S", str(FAKE)),
    engine="unix:///nowhere/engine.sock",
    start_timeout_s=10.0,
    start_timeout_flags_s=10.0,
    start_timeout_external_s=10.0,
    timings=QUICK,
    external_timings=QUICK,
)


@pytest.fixture
def kit():
    """Give this module's helpers: test files are no package, and import nothing of each other."""
    return sys.modules[__name__]


@pytest.fixture
def context(tmp_path):
    return Context(state_dir=tmp_path / "state")


@pytest.fixture
async def executors(context):
    """Make executors and start their workers: ``await executors(*entries, **settings)``."""
    made = []

    async def make(*entries, base=PROCESS_SETTINGS, start=True, context=context, gpus=(), **more):
        found = Executors.of(evolve(base, **more), entries, context, call, gpus)
        made.append(found)
        for worker in found.workers if start else ():
            await worker.recover()
            await worker.start()
        return found

    yield make
    for found in made:
        await asyncio.gather(*(worker.close() for worker in found.workers))
