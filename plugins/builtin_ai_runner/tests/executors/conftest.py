"""Runners that misbehave on demand, a small real call to them, and workers under test."""

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import aiohttp
import pytest
from attrs import define, evolve, field
from podium.testing.plugins import RecordingContext
from podium_ai_runner.executors.manager import Executors
from podium_ai_runner.executors.settings import ExecutorSettings, ModelEntry
from podium_ai_runner.executors.values import Key, Limits, Timings
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
SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "tkinter"}
RECIPE = "1"
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

PATIENT = evolve(QUICK, retry_first_s=60.0, retry_most_s=60.0)
"""No second try while a test looks at the first one's failure."""


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


def test_image():
    """Return the name of an image with Python and the fake runner; made in seconds, kept.

    It holds this machine's Python, its libraries and nothing else: no registry is needed.
    """
    python = Path(sys.executable).resolve()
    stdlib = Path(os.__file__).resolve().parent
    mark = hashlib.sha256(FAKE.read_bytes() + sys.version.encode() + RECIPE.encode())
    name = f"podium/test-runner:{mark.hexdigest()[:12]}"
    if docker("image", "inspect", name, check=False).returncode != 0:
        with tempfile.TemporaryFile() as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                for path in {python, *libraries(python), *modules(stdlib)}:
                    tar.add(path.resolve(), str(path), recursive=False)
                tar.add(FAKE, "/fake_runner.py")
                for folder in ("/tmp", "/etc", "/models"):
                    tar.addfile(folder_of(folder))
            file.seek(0)
            entry = f"ENTRYPOINT {json.dumps([str(python), '-S', '/fake_runner.py'])}"
            docker("import", "-c", entry, "-", name, stdin=file)
    return name


test_image.__test__ = False


def libraries(program):
    """Return what a program is linked with, its loader included."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return {Path(path) for path in re.findall(r"(/\S+) \(0x", listed)}


def modules(stdlib):
    """Return the standard library's files, and what they are linked with."""
    for path in stdlib.rglob("*"):
        if path.is_file() and not SKIPPED & set(path.parts) and path.suffix in (".py", ".so"):
            yield path
            if path.suffix == ".so" and path.name.startswith(("_socket", "select", "math")):
                yield from libraries(path)


def folder_of(name):
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o1777
    return info


def docker(*command, check=True, host="", **more):
    """Run the engine's own command line."""
    where = ["--host", host] if host else []
    done = subprocess.run(
        ["docker", *where, *command],
        **{"stdin": subprocess.DEVNULL, **more},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 or not check, done.stderr
    return done


def containers(*labels, host=""):
    """Return the ids of the containers with these labels."""
    filters = [word for label in labels for word in ("--filter", f"label={label}")]
    listed = docker("ps", "--all", "--quiet", "--no-trunc", *filters, host=host).stdout
    return listed.split()


@pytest.fixture(scope="session")
def image():
    """The image of the fake runner, in a real engine."""
    if shutil.which("docker") is None or docker("version", check=False).returncode:
        pytest.skip("no Docker engine answers")
    return test_image()


@pytest.fixture
async def in_docker(image, executors, context):
    """Make executors of containers: ``await in_docker(*entries, **settings)``."""

    async def make(*entries, **more):
        given = {"limits": LIMITS, **more, "base": DOCKER_SETTINGS}
        images = [e if e.image else evolve(e, image=image) for e in entries]
        return await executors(*images, **given)

    return make


@pytest.fixture
def mine(context):
    """Return the containers of the node under test."""

    def listed(host=""):
        mark = (context.state_dir / "creator").read_text()
        return containers(f"creator_id={mark}", host=host)

    return listed


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


LIMITS = Limits(memory_mb=128, pids=64)
DOCKER_SETTINGS = evolve(PROCESS_SETTINGS, command=(), engine="", pull=False)


@pytest.fixture(scope="session")
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
