"""The engine itself fails: it is away, comes back, restarts, answers nonsense; and pulls."""

import asyncio
import contextlib
import ctypes
import fcntl
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import struct
import tarfile
import tempfile
from pathlib import Path

import pytest
from aiohttp import web
from podium_ai_runner.executors.docker.engine import Engine
from podium_ai_runner.executors.launcher import ExecutorDown
from podium_hookspecs import ConfigError, WorkerLost, WorkerState

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
BRIDGE, ADDRESS, MASK = b"podium-test0", "172.31.98.1", "255.255.255.0"
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x8914, 0x8916, 0x891C
SIOCBRADDBR, SIOCBRDELBR = 0x89A0, 0x89A1
IFF_UP = 1
MNT_DETACH = 2


class OwnEngine:
    """An engine of this test's own, so that it can be stopped; it shares nothing with others."""

    def __init__(self, folder):
        self.folder = folder
        self.host = f"unix://{folder}/engine.sock"
        self.process = None

    async def start(self):
        with (self.folder / "log").open("a") as log:
            self.process = await asyncio.create_subprocess_exec(
                *("dockerd", "--host", self.host, "--data-root", f"{self.folder}/data"),
                *("--exec-root", f"{self.folder}/exec", "--pidfile", f"{self.folder}/pid"),
                *(
                    "--bridge",
                    BRIDGE.decode(),
                    "--iptables=false",
                    "--ip-masq=false",
                    "--ip-forward=false",
                ),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
            )
        async with asyncio.timeout(60):
            while not await self.answers():
                assert self.process.returncode is None, (self.folder / "log").read_text()[-2000:]
                await asyncio.sleep(0.1)

    async def answers(self):
        engine = Engine.at(self.host)
        try:
            await engine.ping()
        except ExecutorDown:
            return False
        finally:
            await engine.close()
        return True

    async def stop(self):
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.wait()

    async def kill(self):
        """Kill it with its helper; what watches over the containers lives on."""
        helper = self.folder / "exec/containerd/containerd.pid"
        os.kill(int(helper.read_text()), signal.SIGKILL)
        self.process.kill()
        await self.process.wait()
        helper.unlink()
        (self.folder / "pid").unlink()


def make_bridge():
    """Make a network interface for the engine, without the programs that not every machine has."""
    with socket.socket() as channel:
        with contextlib.suppress(OSError):
            change_link(channel, up=False)
            fcntl.ioctl(channel, SIOCBRDELBR, BRIDGE)
        fcntl.ioctl(channel, SIOCBRADDBR, BRIDGE)
        for request, address in ((SIOCSIFADDR, ADDRESS), (SIOCSIFNETMASK, MASK)):
            where = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
            fcntl.ioctl(channel, request, struct.pack("16s16s8x", BRIDGE, where))
        change_link(channel, up=True)


def remove_bridge():
    with socket.socket() as channel:
        change_link(channel, up=False)
        fcntl.ioctl(channel, SIOCBRDELBR, BRIDGE)


def change_link(channel, *, up):
    flags = struct.pack("16sH22x", BRIDGE, IFF_UP if up else 0)
    fcntl.ioctl(channel, SIOCSIFFLAGS, flags)


def of_folder(folder):
    """Return the processes that were told of a folder."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"{folder}/".encode() in path.read_bytes():
                found.add(int(path.parent.name))
    return found


def with_children(pids):
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found, last = set(pids), None
    while found != last:
        last, found = found, found | {pid for pid, parent in parents.items() if parent in found}
    return found


def clear_away(folder):
    """End and unmount what an engine that was killed has left, then remove its folder."""
    for pid in with_children(of_folder(folder)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed(mounts):
        if mount.startswith(f"{folder}/"):
            ctypes.CDLL(None).umount2(mount.encode(), MNT_DETACH)
    shutil.rmtree(folder)


@pytest.fixture
async def own_engine(kit, image):
    """Start an engine that holds the fake runner's image."""
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        pytest.skip("starting an engine of one's own needs root and dockerd")
    folder = Path(tempfile.mkdtemp(prefix="podium-engine-", dir="/tmp"))
    make_bridge()
    engine = OwnEngine(folder)
    try:
        await engine.start()
        saved = folder / "image.tar"
        kit.docker("save", "--output", str(saved), image)
        kit.docker("load", "--input", str(saved), host=engine.host)
        yield engine
    finally:
        if engine.process is not None and engine.process.returncode is None:
            for container in kit.containers(host=engine.host):
                kit.docker("rm", "--force", container, host=engine.host)
            await engine.stop()
        remove_bridge()
        clear_away(folder)


async def test_without_an_engine_the_worker_is_down_with_the_reason(kit, executors):
    made = await executors(kit.entry(executor="docker"), engine="unix:///nowhere/engine.sock")
    (worker,) = made.workers
    report = await kit.until_state(worker, WorkerState.DOWN)
    assert "unix:///nowhere/engine.sock does not answer" in report.reason
    with pytest.raises(WorkerLost) as lost:
        await kit.run(worker)
    assert lost.value.public == "insufficient capacity"
    assert worker.slot.jobs == 0
    assert worker.failing == {}  # no fault of the model's


async def test_processes_work_while_the_engine_is_away(kit, executors):
    made = await executors(
        kit.entry(executor="docker", model="a"), kit.entry(executor="process", model="b")
    )
    (worker,) = made.workers
    await kit.until_state(worker, WorkerState.DEGRADED)
    with pytest.raises(WorkerLost):
        await kit.run(worker, model="a")
    assert (await kit.run(worker, model="b"))["model"] == "b"


async def test_an_engine_that_restarts(kit, own_engine, in_docker, mine, context):
    made = await in_docker(kit.entry(executor="docker", warm=True), engine=own_engine.host)
    (worker,) = made.workers
    await kit.until_ok(worker)
    task = asyncio.create_task(kit.run(worker, "slow:60"))
    await asyncio.sleep(0.3)  # into the request
    await own_engine.stop()
    with pytest.raises(WorkerLost):
        await task
    assert "does not answer" in (await kit.until_state(worker, WorkerState.DOWN)).reason
    assert worker.slot.jobs == 0
    await own_engine.start()
    await kit.until_ok(worker)
    assert (await kit.run(worker))["model"] == "a"
    assert len(mine(own_engine.host)) == 1
    assert context.logged("executor back")
    await worker.close()
    assert mine(own_engine.host) == []


async def test_an_engine_that_is_killed_and_comes_back(kit, own_engine, in_docker, mine):
    """Its containers may live on without it; they are ended or used, never forgotten."""
    made = await in_docker(kit.entry(executor="docker"), engine=own_engine.host)
    (worker,) = made.workers
    await kit.run(worker)
    await own_engine.kill()
    with contextlib.suppress(WorkerLost):
        await kit.run(worker)
    await own_engine.start()
    await kit.until_ok(worker, timeout_s=30)
    assert (await kit.run(worker))["model"] == "a"
    assert len(mine(own_engine.host)) == 1


async def test_closing_without_the_engine_is_bounded(kit, own_engine, in_docker):
    made = await in_docker(kit.entry(executor="docker"), engine=own_engine.host)
    (worker,) = made.workers
    await kit.run(worker)
    await own_engine.stop()
    async with asyncio.timeout(30):
        await worker.close()


@pytest.mark.parametrize("answer", [b"garbage", b"slow", b"500"])
async def test_an_engine_that_answers_nonsense(kit, executors, tmp_path, answer):
    serving = set()

    async def serve(reader, writer):
        serving.add(asyncio.current_task())
        asked = await reader.read(2**16)  # nothing: somebody looked whether the socket is there
        if asked and answer == b"garbage":
            writer.write(b"\x00garbage\r\n\r\n")
        elif asked and answer == b"500":
            writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n{}")
        else:
            await reader.read()  # until the other side gives up
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    path = tmp_path / "s"
    server = await asyncio.start_unix_server(serve, path)
    try:
        made = await executors(kit.entry(executor="docker"), engine=f"unix://{path}", start=False)
        (worker,) = made.workers
        await worker.recover()
        await worker.start()
        await kit.until_state(worker, WorkerState.DOWN)
        with pytest.raises(WorkerLost):
            await kit.run(worker)
        assert worker.slot.jobs == 0
        assert worker.failing == {}
        await worker.close()
    finally:
        server.close()
        await asyncio.gather(*serving)


def test_an_engine_s_address_is_checked():
    assert Engine.at("unix:///run/user/1000/docker.sock").socket == "/run/user/1000/docker.sock"
    assert Engine.at("tcp://127.0.0.1:2375").socket == ""
    with pytest.raises(ConfigError):
        Engine.at("ssh://somewhere")


def image_of_noise():
    """Return an image's manifest and its blobs by digest: one layer that does not compress."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as files:
        info = tarfile.TarInfo("noise")
        info.size = 3 * 2**20
        files.addfile(info, io.BytesIO(os.urandom(info.size)))
    layer = gzip.compress(tar.getvalue(), 1)
    layers = {"type": "layers", "diff_ids": [digest(tar.getvalue())]}
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": layers}
    blob = json.dumps(config).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": part(blob, "application/vnd.docker.container.image.v1+json"),
        "layers": [part(layer, "application/vnd.docker.image.rootfs.diff.tar.gzip")],
    }
    return json.dumps(manifest).encode(), {digest(blob): blob, digest(layer): layer}


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def part(data, kind):
    return {"mediaType": kind, "size": len(data), "digest": digest(data)}


@pytest.fixture
async def registry():
    """Serve that image, slowly, as a registry does; yield its name."""
    manifest, blobs = image_of_noise()

    async def manifests(request):
        headers = {"Content-Type": MANIFEST, "Docker-Content-Digest": digest(manifest)}
        return web.Response(body=manifest, headers=headers)

    async def blob(request):
        data = blobs[request.match_info["digest"]]
        response = web.StreamResponse(headers={"Content-Length": str(len(data))})
        await response.prepare(request)
        for at in range(0, len(data), 2**19):
            await response.write(data[at : at + 2**19])
            await asyncio.sleep(0.1)
        return response

    async def hello(request):
        return web.Response(headers={"Docker-Distribution-API-Version": "registry/2.0"})

    app = web.Application()
    app.router.add_get("/v2/", hello)
    app.router.add_get("/v2/podium/pulled/manifests/{reference}", manifests)
    app.router.add_get("/v2/podium/pulled/blobs/{digest}", blob)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"127.0.0.1:{site._server.sockets[0].getsockname()[1]}/podium/pulled:1"
    await runner.cleanup()


async def test_a_pull_shows_how_far_it_is(kit, in_docker, registry, context):
    made = await in_docker(
        kit.entry(executor="docker", model="new", image=registry), kit.entry(executor="docker"),
        pull=True,
    )  # fmt: skip
    (worker,) = made.workers
    try:
        job = asyncio.create_task(kit.run(worker, model="new"))
        await kit.until(lambda: made.status()[0].state.value == "pulling")
        (status,) = made.status()
        assert status.progress.image == registry
        also = asyncio.create_task(made.pull(kit.entry(model="new").key))
        with pytest.raises(WorkerLost):
            await job  # an image of noise cannot be started
        assert await also == registry
        percents = [line["percent"] for line in context.logged("image pull")]
        assert percents == sorted(percents)
        assert len(set(percents)) > 1
        assert len(context.logged("image pulled")) == 1
        assert context.metrics.values["image_pulls_total", (("outcome", "ok"),)] == 1
    finally:
        kit.docker("image", "rm", "--force", registry, check=False)
