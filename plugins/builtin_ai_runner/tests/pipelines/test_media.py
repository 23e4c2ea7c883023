"""The children that read and make media: bounded, and none is left behind."""

import asyncio
import contextlib
import json
import os
from pathlib import Path

import pytest
from podium_ai_runner.media.child import Children, MediaFailed
from podium_hookspecs import Busy, JobTimeout


def children_of_ours():
    """Processes whose parent we are, zombies included."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid():
                found.append(int(stat.parent.name))
    return found


@pytest.fixture
def sound(kit):
    """A descriptor of sound, and what to ask of it."""
    body = kit.FileBody(kit.wav(3.5))
    facts = {"descriptor": body.fileno(), "offset": 0, "size_bytes": body.size_bytes}
    yield body.fileno(), facts
    del body


async def test_a_task_is_done(sound):
    descriptor, facts = sound
    said = await Children().run("duration", facts, [descriptor], 20.0)
    assert said == {"duration_ms": 3500}


@pytest.mark.parametrize("timeout_s", [0.0, 0.02])
async def test_a_task_that_takes_too_long_is_ended(sound, timeout_s):
    descriptor, facts = sound
    before = children_of_ours()
    with pytest.raises(JobTimeout):
        await Children().run("duration", facts, [descriptor], timeout_s)
    assert children_of_ours() == before


async def test_a_task_that_nobody_waits_for_is_ended(sound):
    descriptor, facts = sound
    before = children_of_ours()
    task = asyncio.create_task(Children().run("duration", facts, [descriptor], 20.0))
    async with asyncio.timeout(10):
        while children_of_ours() == before:  # noqa: ASYNC110  the process sets no event
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children_of_ours() == before


async def test_a_task_that_waits_for_too_long_is_refused(sound):
    descriptor, facts = sound
    children = Children(at_a_time=1, queue_timeout_s=0.0)
    first = asyncio.create_task(children.run("duration", facts, [descriptor], 20.0))
    await asyncio.sleep(0)
    with pytest.raises(Busy) as busy:
        await children.run("duration", facts, [descriptor], 20.0)
    assert busy.value.public == "insufficient capacity"
    assert await first


@pytest.mark.parametrize(
    ("task", "facts"),
    [
        ("duration", {"descriptor": 99, "offset": 0, "size_bytes": 5}),
        ("duration", {}),
        ("nothing", {}),
    ],
)
async def test_a_task_that_cannot_be_done_says_so(task, facts):
    with pytest.raises(MediaFailed):
        await Children().run(task, facts, [], 20.0)


async def test_a_child_that_takes_too_much_memory_ends_alone(kit, tmp_path):
    picture = kit.data_url(kit.png(4000, 4000))
    frames = kit.FileBody(json.dumps({"frames": [[{"url": picture}] * 3]}).encode())
    facts = {"source": frames.fileno(), "target": str(tmp_path / "a.mp4")}
    facts |= {"width": 4000, "height": 4000, "fps": 5}
    with pytest.raises(MediaFailed):
        await Children(memory_mb=100).run("video", facts, [frames.fileno()], 60.0)
