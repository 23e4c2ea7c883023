"""The worker: slots, crashes, hangs, limits, cancels."""

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import pytest
from attrs import evolve
from podium_hookspecs import (
    BadInput,
    Busy,
    Chunk,
    JobFailed,
    JobTimeout,
    Result,
    WorkerLost,
    WorkerState,
)
from podium_transcode.config import TranscodeConfig
from podium_transcode.plugin import podium_workers


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def works(kit, worker, segments) -> None:
    done = await kit.collect(worker.run(kit.make_job(segments[0], kit.profile(gop_ms=-1))))
    assert done.videos[0].units == 50 * 256 * 144


@pytest.fixture
def heavy(kit, segments):
    """A job of several seconds."""
    profiles = [kit.profile(f"p{n}", 1280, 720, bitrate_bps=4_000_000) for n in range(6)]
    return lambda **more: kit.make_job(segments[0], *profiles, **more)


async def until(condition, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  another process's state
            await asyncio.sleep(0.01)


async def test_chunks_come_as_they_are_ready_then_one_result(kit, worker, segments):
    job = kit.make_job(segments[0], kit.profile("large", 640, 360), kit.profile("small"))
    outputs = [output async for output in worker.run(job)]
    assert [type(output) for output in outputs] == [Chunk, Chunk, Result]
    assert {output.index for output in outputs[:2]} == {0, 1}


async def test_a_body_that_is_no_file(kit, worker, segments):
    job = kit.make_job(None, kit.profile(), body=kit.PipedBody(segments[0]))
    done = await kit.collect(worker.run(job))
    assert done.videos[0].units == 50 * 256 * 144


async def test_bad_input_keeps_the_child(kit, worker, segments):
    before = worker.child_pids
    with pytest.raises(BadInput) as caught:
        await kit.collect(worker.run(kit.make_job(os.urandom(5000), kit.profile())))
    assert caught.value.public == "TranscoderInvalidVideo"
    assert worker.child_pids == before
    await works(kit, worker, segments)


async def test_without_a_free_slot_it_is_busy(kit, worker, heavy):
    first = asyncio.create_task(kit.collect(worker.run(heavy())))
    await asyncio.sleep(0.05)
    with pytest.raises(Busy):
        await kit.collect(worker.run(heavy()))
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first


async def test_a_crash_loses_one_job(kit, worker, segments, heavy):
    (pid,) = worker.child_pids
    running = asyncio.create_task(kit.collect(worker.run(heavy())))
    await asyncio.sleep(0.2)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerLost):
        await running
    await works(kit, worker, segments)
    assert worker.child_pids != (pid,)


async def test_a_child_that_died_idle_is_replaced(kit, worker, segments):
    (pid,) = worker.child_pids
    os.kill(pid, signal.SIGKILL)
    await asyncio.sleep(0.1)
    await works(kit, worker, segments)


async def test_a_hang_times_out_and_frees_the_slot(kit, worker, segments, heavy):
    (pid,) = worker.child_pids
    running = asyncio.create_task(kit.collect(worker.run(heavy(timeout_s=0.6))))
    await asyncio.sleep(0.1)
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(JobTimeout):
        await running
    assert time.monotonic() - started < 2
    await until(lambda: not is_running(pid))
    await works(kit, worker, segments)


async def test_cancel_stops_within_two_seconds(kit, worker, segments, heavy):
    job = heavy()
    running = asyncio.create_task(kit.collect(worker.run(job)))
    await asyncio.sleep(0.2)
    started = time.monotonic()
    await worker.cancel(job.id)
    with pytest.raises(JobFailed) as caught:
        await running
    assert time.monotonic() - started < 2
    assert not isinstance(caught.value, WorkerLost)
    await works(kit, worker, segments)
    await worker.cancel("unknown")


async def test_closing_the_iterator_cancels(kit, worker, segments, heavy):
    (pid,) = worker.child_pids
    job = heavy()
    job = evolve(job, request=evolve(job.request, profiles=(kit.profile(), *job.request.profiles)))
    async with asyncio.timeout(20):
        outputs = worker.run(job)
        async for _ in outputs:
            break
        await outputs.aclose()
    assert not is_running(pid)
    await works(kit, worker, segments)


@pytest.mark.parametrize("gap_s", [0, 0.001, 0.004])
async def test_a_second_cancellation_does_not_lose_the_slot(kit, worker, segments, heavy, gap_s):
    """The peer leaves, and the node's deadline comes while the child is being ended."""
    running = asyncio.create_task(kit.collect(worker.run(heavy())))
    await asyncio.sleep(0.2)
    running.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(gap_s)
    assert running.cancel() or gap_s
    with pytest.raises(asyncio.CancelledError):
        await running
    await works(kit, worker, segments)
    assert len(children()) == 1


async def test_a_deadline_just_after_the_peer_left_does_not_lose_the_slot(
    kit, worker, segments, heavy
):
    async def bounded():
        async with asyncio.timeout(0.203):
            await kit.collect(worker.run(heavy()))

    running = asyncio.create_task(bounded())
    await asyncio.sleep(0.2)
    running.cancel()
    with pytest.raises((asyncio.CancelledError, TimeoutError)):
        await running
    await works(kit, worker, segments)


async def test_jobs_given_up_while_the_child_starts_leave_no_processes(kit, worker, segments):
    peak = 0
    for _ in range(20):
        running = asyncio.create_task(kit.collect(worker.run(kit.make_job(segments[0]))))
        await asyncio.sleep(0.01)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        peak = max(peak, len(children()))
    assert peak == 1
    await works(kit, worker, segments)
    assert children() == set(worker.child_pids)


async def test_cancelled_before_its_child_is_up_the_job_leaves_it_to_the_next(
    kit, worker, segments, heavy
):
    first = asyncio.create_task(kit.collect(worker.run(heavy())))
    await asyncio.sleep(0.1)
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first
    job = heavy()
    second = asyncio.create_task(kit.collect(worker.run(job)))
    await asyncio.sleep(0)
    (starting,) = await until_children(1)
    await worker.cancel(job.id)
    with pytest.raises(JobFailed):
        await second
    await works(kit, worker, segments)
    assert worker.child_pids == (starting,)


async def test_the_memory_limit_fails_the_segment_alone(kit, segments):
    config = TranscodeConfig(slots=1, devices=("cpu",), memory_limit_mb=256)
    worker = podium_workers(config, kit.Context())[0]
    await worker.start()
    try:
        huge = [kit.profile(f"p{n}", 3840, 2160) for n in range(3)]
        with pytest.raises(JobFailed):
            await kit.collect(worker.run(kit.make_job(segments[0], *huge)))
        await works(kit, worker, segments)
    finally:
        await worker.close()


async def test_close_ends_every_child_and_is_safe_twice(kit):
    worker = podium_workers(TranscodeConfig(slots=2, devices=("cpu",)), kit.Context())[0]
    await worker.start()
    pids = worker.child_pids
    assert len(pids) == 2
    await worker.close()
    await worker.close()
    assert not any(is_running(pid) for pid in pids)
    with pytest.raises(Busy):
        await kit.collect(worker.run(kit.make_job(b"", kit.profile())))


async def test_health(kit):
    worker = podium_workers(TranscodeConfig(slots=1, devices=("cpu",)), kit.Context())[0]
    reports = worker.health()
    assert (await anext(reports)).state is WorkerState.STARTING
    await worker.start()
    assert (await anext(reports)).state is WorkerState.OK
    await worker.close()
    assert (await anext(reports)).state is WorkerState.DOWN
    with pytest.raises(StopAsyncIteration):
        await anext(reports)


async def test_a_child_keeps_no_secret_of_the_node(kit, monkeypatch):
    monkeypatch.setenv("PODIUM_KEYSTORE_PASSWORD", "hunter2")
    worker = podium_workers(TranscodeConfig(slots=1, devices=("cpu",)), kit.Context())[0]
    await worker.start()
    try:
        assert b"hunter2" not in environment(worker.child_pids[0])
    finally:
        await worker.close()


async def test_a_child_ends_with_its_parent(kit, tmp_path):
    """Start a worker in a process of its own, kill that, and look for the child."""
    script = (
        "import asyncio, sys\n"
        "from podium_transcode.process import ChildProcess\n"
        "async def main():\n"
        "    child = await ChildProcess.start(1024)\n"
        "    print(child.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    import sys

    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
    )
    pid = int(await parent.stdout.readline())
    assert is_running(pid)
    parent.kill()
    await parent.wait()
    await until(lambda: not is_running(pid) or _zombie(pid))


def children() -> set[int]:
    """Children of this process that are transcoders, and not yet reaped."""
    listed = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
    pids = [int(pid) for line in listed for pid in line]
    return {pid for pid in pids if b"podium_transcode.child" in _command(pid)}


async def until_children(count: int) -> set[int]:
    await until(lambda: len(children()) == count)
    return children()


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def _zombie(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True
