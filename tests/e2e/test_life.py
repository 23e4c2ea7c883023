"""The node as a process: start, signals, crashes, and what survives them."""

import asyncio
import os
import signal
import socket
import sys
import time
from types import SimpleNamespace

import httpx
import pytest

CONFIG = """
version = 1
[node]
data_dir = "{dir}/data"
listen = "127.0.0.1:{port}"
admin_listen = "127.0.0.1:{admin}"
log_format = "json"
drain_timeout_s = 20.0
[account]
private_key = {{env = "NODE_KEY"}}
[payments]
price_per_unit = 1
ticket_ev_wei = 8000000000
# Nearly every ticket wins: face value is just above the expected value.
max_face_value_wei = 8000000001
[plugins.transcode]
enabled = true
slots = 1
"""


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Process:
    """``podium serve`` on free ports."""

    def __init__(self, folder, text=CONFIG):
        self.folder = folder
        self.port, self.admin_port = free_port(), free_port()
        self.config = folder / "podium.toml"
        self.config.write_text(text.format(dir=folder, port=self.port, admin=self.admin_port))
        self.environ = os.environ | {"NODE_KEY": "11" * 32}

    async def spawn(self, *args):
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "podium",
            *args,
            "--config",
            str(self.config),
            env=self.environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def start(self):
        started = time.monotonic()
        self.process = await self.spawn("serve")
        async with asyncio.timeout(30), httpx.AsyncClient() as client:
            while True:
                try:
                    reply = await client.get(f"http://127.0.0.1:{self.admin_port}/readyz")
                    if reply.status_code == 200:
                        break
                except httpx.TransportError:
                    assert self.process.returncode is None, await self.process.stderr.read()
                await asyncio.sleep(0.05)
        self.ready_s = time.monotonic() - started
        return self

    @property
    def node(self):
        return SimpleNamespace(service_uri=f"https://127.0.0.1:{self.port}")

    async def ended(self):
        out, err = await asyncio.wait_for(self.process.communicate(), 30)
        return self.process.returncode, out.decode(), err.decode()

    async def run(self, *args):
        process = await self.spawn(*args)
        out, err = await asyncio.wait_for(process.communicate(), 30)
        return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def process(tmp_path):
    process = Process(tmp_path)
    yield process
    running = getattr(process, "process", None)
    if running is not None and running.returncode is None:
        running.kill()
        await running.communicate()


async def test_a_winner_survives_kill_9(world, process, segment):
    await process.start()
    sender = await world.sender(process.node)
    result = await sender.result(segment, tickets=2)
    assert result.data.segments[0].pixels == 426 * 240 * 60
    process.process.kill()
    await process.ended()
    code, out, _ = await process.run("tickets", "list", "--json")
    assert code == 0
    assert (
        out.count(f"0x{sender.signer.address.hex()}")
        + out.lower().count(sender.signer.address.hex())
        >= 2
    )
    await process.start()
    code, again, _ = await process.run("tickets", "list", "--json")
    assert again == out
    # The ticket secret was kept: parameters offered before the crash are still good.
    fresh = await world.sender(process.node)
    sender.info.auth_token.CopyFrom(fresh.info.auth_token)
    assert (await sender.send(segment, seq=1, client=fresh.client)).status_code == 200


async def test_sigterm_finishes_the_segment_in_flight(world, process, segment):
    await process.start()
    # HTTP/1.1: this client takes HTTP/2's GOAWAY for the end of the stream in flight too.
    sender = await world.sender(process.node, http2=False)
    task = asyncio.create_task(sender.send(segment))
    await asyncio.sleep(0.15)
    process.process.send_signal(signal.SIGTERM)
    reply = await task
    assert reply.status_code == 200
    assert len(reply.content) > 300
    code, _, err = await process.ended()
    assert code == 0
    assert "draining" in err
    assert "Traceback" not in err


async def test_a_second_signal_stops_at_once(world, process, segment):
    await process.start()
    sender = await world.sender(process.node)
    task = asyncio.create_task(sender.send(segment * 20))
    await asyncio.sleep(0.3)
    process.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.2)
    process.process.send_signal(signal.SIGTERM)
    code, _, err = await process.ended()
    assert code in (0, 1)
    assert "Traceback" not in err
    await asyncio.gather(task, return_exceptions=True)


async def test_a_port_in_use_is_one_sentence(process):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", process.port))
        sock.listen()
        code, _, err = await process.run("serve")
    assert code == 1
    assert "Traceback" not in err
    assert str(process.port) in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("version = 1\n[node\n", "line 2"),
        ("version = 1\n[node]\nmax_sesions = 3\n", "max_sessions"),
        ("version = 1\n[node]\nmax_sessions = 0\n", "node.max_sessions"),
        ("version = 1\n[node]\nmax_sessions = '3'\n", "node.max_sessions"),
        ("version = 1\n[account]\nprivate_key = 'short'\n", "account.private_key"),
        ("version = 1\n[plugins.nope]\nenabled = true\n", "nope"),
        (
            "version = 1\n[plugins.transcode]\nenabled = true\nslots = -1\n",
            "plugins.transcode.slots",
        ),
    ],
)
async def test_broken_configurations_name_the_problem(tmp_path, text, problem):
    process = Process(tmp_path, text=text)
    code, _, err = await process.run("serve")
    assert code in (1, 2)
    assert problem in err
    assert "Traceback" not in err
    assert "short" not in err


async def test_no_winner_is_credited_that_cannot_be_stored(world, process, segment):
    await process.start()
    sender = await world.sender(process.node)
    # A database that takes no more: the same error as a full disk.
    process.process.send_signal(signal.SIGTERM)
    await process.ended()
    database = process.folder / "data" / "podium.sqlite3"
    database.unlink()
    database.mkdir()
    code, _, err = await process.run("serve")
    assert code == 1
    assert "Traceback" not in err
    assert "podium.sqlite3" in err
    assert sender.info.HasField("ticket_params")


async def test_an_unwritable_data_folder_is_one_sentence(tmp_path):
    (tmp_path / "data").write_text("a file, not a folder")
    process = Process(tmp_path)
    code, _, err = await process.run("serve")
    assert code == 1
    assert "node.data_dir" in err
    assert "Traceback" not in err


async def test_a_service_uri_that_leads_nowhere_is_a_warning(tmp_path):
    text = CONFIG.replace("[node]", '[node]\nservice_uri = "https://127.0.0.1:1"')
    process = await Process(tmp_path, text=text).start()
    async with asyncio.timeout(15):
        while b"service URI does not answer" not in await process.process.stderr.readline():
            pass
    process.process.send_signal(signal.SIGTERM)
    code, _, _ = await process.ended()
    assert code == 0


async def test_two_nodes_do_not_share_a_data_folder(process):
    await process.start()
    (process.folder / "two").mkdir()
    other = Process(process.folder / "two")
    text = CONFIG.replace('data_dir = "{dir}/data"', f'data_dir = "{process.folder}/data"')
    other.config.write_text(text.format(dir=other.folder, port=other.port, admin=other.admin_port))
    code, _, err = await other.run("serve")
    assert code == 1
    assert "another node uses" in err
    assert "Traceback" not in err


async def test_a_log_whose_reader_is_gone_costs_no_job(world, process, segment):
    await process.start()
    process.process._transport.get_pipe_transport(2).close()
    sender = await world.sender(process.node)
    for seq in range(2):
        result = await sender.result(segment, seq=seq)
        assert result.WhichOneof("result") == "data"
    process.process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(process.process.wait(), 30)


async def test_reload_by_command_and_by_signal_under_a_stream(world, process, segment):
    await process.start()
    sender = await world.sender(process.node)
    text = process.config.read_text()
    process.config.write_text(text.replace("slots = 1", "slots = 2"))
    code, out, _ = await process.run("reload", "--dry-run")
    assert (code, out.splitlines()[0]) == (0, "~ transcode changed (slots: 1 -> 2)")
    running = asyncio.create_task(sender.result(segment))
    code, out, _ = await process.run("reload")
    assert (code, out.splitlines()[1]) == (0, "done; what leaves finishes its jobs first")
    assert (await running).WhichOneof("result") == "data"
    assert (await sender.result(segment, seq=1)).WhichOneof("result") == "data"
    code, out, _ = await process.run("plugins", "list")
    assert "as the running node has them" in out
    code, out, _ = await process.run("plugins", "check")
    assert (code, out.splitlines()[-1]) == (0, "running node: transcode is ok")
    process.config.write_text(text.replace("price_per_unit = 1", "price_per_unit = 2"))
    code, _, err = await process.run("reload")
    assert code == 1
    assert "payments.price_per_unit: needs a restart" in err
    process.config.write_text(text.replace("slots = 1", "slots = 3\nslot = 4"))
    process.process.send_signal(signal.SIGHUP)
    async with asyncio.timeout(20):
        while b"slot: unknown key" not in (line := await process.process.stderr.readline()):
            pass
    assert b"reload refused" in line
    process.config.write_text(text.replace("slots = 1", "slots = 3"))
    process.process.send_signal(signal.SIGHUP)
    async with asyncio.timeout(20):
        while b"reloaded" not in (line := await process.process.stderr.readline()):
            pass
    assert b"transcode changed (slots: 2 -> 3)" in line
    result = await sender.result(segment, seq=2)
    assert result.data.segments[0].pixels == 426 * 240 * 60
    process.process.send_signal(signal.SIGTERM)
    code, _, err = await process.ended()
    assert code == 0
    assert "Traceback" not in err
    code, _, err = await process.run("reload")
    assert code == 1
    assert "no node answers at http://127.0.0.1:" in err


HUNG = """
import threading
from podium_hookspecs import hookimpl

@hookimpl
def podium_pipelines(config, context):
    async def hang():
        await context.run_blocking(threading.Event().wait)
    context.spawn(hang(), name="hang")
    return []
"""


async def test_a_plugin_whose_thread_never_ends_does_not_keep_the_process(process, tmp_path):
    info = tmp_path / "site" / "hostile_hung-1.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "site" / "hostile_hung.py").write_text(HUNG)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: hostile-hung\nVersion: 1\n"
        "Requires-Dist: podium-hookspecs>=1,<2\n"
    )
    (info / "entry_points.txt").write_text("[podium]\nhung = hostile_hung\n")
    process.environ["PYTHONPATH"] = str(tmp_path / "site")
    process.config.write_text(process.config.read_text() + "[plugins.hung]\nenabled = true\n")
    await process.start()
    process.process.send_signal(signal.SIGTERM)
    code, _, _ = await process.ended()
    assert code == 0
