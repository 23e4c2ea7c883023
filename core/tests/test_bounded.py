"""Code that hangs, ignores cancellation or exits stays in its task, and in its time."""

import asyncio
import sys
import threading

import pytest
from podium.bounded import Escaped, Overdue, bounded, in_thread, spawned, stopped


async def returning(value):
    return value


async def ignoring(release):
    while not release.is_set():
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            continue


async def test_what_is_done_in_time_comes_back():
    assert await bounded(returning(3), 5) == 3
    with pytest.raises(ZeroDivisionError):
        await bounded(_call(lambda: 1 // 0), 5)


async def _call(func):
    return func()


async def test_what_takes_too_long_is_cancelled():
    with pytest.raises(Overdue, match=r"^no answer within 0\.01 s$") as late:
        await bounded(asyncio.sleep(30), 0.01)
    assert not late.value.stuck


async def test_what_ignores_cancellation_is_left_alone():
    release = asyncio.Event()
    with pytest.raises(Overdue, match="ignores cancellation") as late:
        await bounded(ignoring(release), 0.01, stop_s=0.01)
    assert late.value.stuck
    release.set()
    (task,) = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    task.cancel()
    await asyncio.wait({task})


@pytest.mark.parametrize("leave", [lambda: sys.exit(3), lambda: _raise(KeyboardInterrupt())])
async def test_leaving_the_process_is_an_error_like_others(leave):
    with pytest.raises(Escaped):
        await bounded(_call(leave), 5)
    with pytest.raises(Escaped):
        await in_thread(leave, 5)


def _raise(error):
    raise error


async def test_cancelling_oneself_is_not_being_cancelled():
    with pytest.raises(Escaped, match="it cancelled itself"):
        await bounded(_call(lambda: _raise(asyncio.CancelledError())), 5)


async def test_being_cancelled_stops_the_work_too():
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work():
        begun.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    waiting = asyncio.create_task(bounded(work(), 30))
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()


async def test_a_task_that_never_began_leaves_nothing_behind():
    task = spawned(returning(1))
    assert await stopped(task)
    assert task.cancelled()


async def test_a_thread_that_hangs_keeps_nobody():
    release = threading.Event()
    with pytest.raises(Overdue):
        await in_thread(release.wait, 0.01)
    assert all(t.daemon for t in threading.enumerate() if t.name == "podium-plugin-import")
    release.set()
    assert await in_thread(lambda: 5, 5) == 5
