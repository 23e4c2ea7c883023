"""A node that is killed leaves nothing behind, now or after its next start."""

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

NODE = Path(__file__).with_name("node.py")


@asynccontextmanager
async def a_node(kind, image, state_dir):
    """Start a node and wait for its runner; yield the node and the runner's process id."""
    node = await asyncio.create_subprocess_exec(
        *(sys.executable, str(NODE), kind, image, str(state_dir)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30):
            line = await node.stdout.readline()
        assert line, "the node ended"
        yield node, int(line)
    finally:
        if node.returncode is None:
            node.kill()
        await node.communicate()


def reaper_of(node):
    """Return the process id of a node's reaper."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            words = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == node.pid and b"reaper.py" in words:
            return int(path.parent.name)
    raise AssertionError("no reaper")


def gone(pid):
    """Say whether a process is no more; one that nobody has waited for yet is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def test_the_containers_of_a_killed_node_are_removed(kit, image, context, mine):
    async with a_node("docker", image, context.state_dir) as (node, _):
        assert len(mine()) == 1
        node.kill()
        await node.wait()
        await kit.until(lambda: mine() == [])


async def test_the_processes_of_a_killed_node_end(kit, context):
    async with a_node("process", "", context.state_dir) as (node, pid):
        node.kill()
        await kit.until(lambda: gone(pid))


async def test_a_stopped_node_that_is_killed_takes_its_processes_along(kit, context):
    """A node that hangs and is killed: the same, with nobody there to help."""
    async with a_node("process", "", context.state_dir) as (node, pid):
        os.kill(reaper_of(node), signal.SIGKILL)
        node.send_signal(signal.SIGSTOP)
        node.kill()
        await kit.until(lambda: gone(pid))


async def test_the_next_start_removes_what_even_the_reaper_left(
    kit, image, context, mine, in_docker
):
    async with a_node("docker", image, context.state_dir) as (node, _):
        (container,) = mine()
        os.kill(reaper_of(node), signal.SIGKILL)
        node.kill()
        await node.wait()
    assert mine() == [container]
    (worker,) = (await in_docker(kit.entry(executor="docker"))).workers
    assert mine() == []
    assert (await kit.run(worker))["model"] == "a"
    assert len(mine()) == 1


async def test_the_next_start_ends_a_process_that_outlived_its_node(kit, executors, context):
    folder = context.state_dir / "runners"
    folder.mkdir(parents=True)
    sleeper = await asyncio.create_subprocess_exec("sleep", "600", start_new_session=True)
    stranger = await asyncio.create_subprocess_exec("sleep", "600", start_new_session=True)
    try:
        from podium_ai_runner.executors.process import started_at

        note = '{"pid": %d, "started": "%s"}'
        record = folder / f"{sleeper.pid}.json"
        record.write_text(note % (sleeper.pid, started_at(sleeper.pid)))
        # The number of a process of ours, used again by somebody else since.
        (folder / f"{stranger.pid}.json").write_text(note % (stranger.pid, "another boot 1"))
        await executors(kit.entry())
        assert await asyncio.wait_for(sleeper.wait(), 5) == -signal.SIGKILL
        assert stranger.returncode is None
        assert not gone(stranger.pid)
        assert list(folder.iterdir()) == []
    finally:
        stranger.kill()
        await stranger.wait()
        if sleeper.returncode is None:
            sleeper.kill()
            await sleeper.wait()


@pytest.mark.parametrize("kind", ["docker", "process"])
async def test_a_node_starts_again_while_the_reaper_is_at_it(
    kit, image, context, mine, in_docker, executors, kind
):
    """The reaper ends what belongs to the dead life; the new one's runners are not touched."""
    async with a_node(kind, image, context.state_dir) as (node, pid):
        node.kill()
        await node.wait()
    make = in_docker if kind == "docker" else executors
    (worker,) = (await make(kit.entry(executor=kind, warm=True))).workers
    await kit.until_ok(worker)
    first = await kit.run(worker)
    if kind == "docker":
        await asyncio.sleep(7)  # as long as a reaper looks for late containers
        assert len(mine()) == 1
    else:
        await kit.until(lambda: gone(pid))
    assert (await kit.run(worker))["pid"] == first["pid"]
