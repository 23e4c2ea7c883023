"""``podium devnet``, as processes of their own."""

import json
import os
import signal
import subprocess
import sys
import tomllib

import pytest
from podium.devnet import ETHER, DevnetOptions, start_devnet
from podium.devnet.record import Record, is_anvil

TIMEOUT_S = 60


@pytest.fixture
def run(tmp_path):
    """Run ``podium devnet`` on a record of its own; what still runs is ended afterwards."""
    start_devnet(DevnetOptions()).close()
    folder = tmp_path / "devnet"

    def run(*args, data=folder):
        return subprocess.run(
            [sys.executable, "-m", "podium", "devnet", *args, "--data", str(data)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    run.folder = folder
    yield run
    left = Record.read(folder)
    if left is not None:
        left.end()


def test_up_status_mine_round_down(run):
    up = run("up", "--port", "0", "--block-time", "0")
    assert up.returncode == 0, up.stderr
    status = json.loads(run("status", "--json").stdout)
    assert status["running"]
    assert status["rpc_url"] in up.stdout
    assert status["accounts"]["gateway"]["private_key"] in up.stdout
    assert status["round"] == 1
    assert status["round_initialized"]
    snippet = tomllib.loads(up.stdout[up.stdout.index("[chain]") : up.stdout.index("Rounds start")])
    assert snippet["chain"] == {
        "network": "devnet",
        "rpc_urls": [status["rpc_url"]],
        "controller": status["controller"],
    }

    assert run("mine", "3").stdout == f"block {status['block'] + 3}\n"
    assert run("round").stdout == "round 2, initialized; block 121\n"
    assert "block 121, round 2, initialized" in run("status").stdout

    again = run("up", "--port", "0")
    assert again.returncode == 1
    assert "a devnet runs already at" in again.stderr

    devnet = Record.require(run.folder).attach()
    devnet.fund_gateway("gateway", ETHER, ETHER)
    devnet.close()

    down = run("down")
    assert down.stdout == f"ended {status['rpc_url']}\n"
    assert not is_anvil(status["pid"])
    assert run("down").stdout == "no devnet was running\n"


def test_nothing_runs(run):
    status = run("status", "--json")
    assert (status.returncode, json.loads(status.stdout)) == (1, {"running": False})
    assert run("status").returncode == 1
    for command in ("mine", "round"):
        told = run(command)
        assert told.returncode == 1
        assert told.stderr.startswith("podium: no devnet runs for")
        assert told.stderr.endswith("podium devnet up\n")


def test_a_record_whose_pid_went_to_another_process_is_harmless(run):
    run.folder.mkdir()
    record = {"pid": os.getpid(), "rpc_url": "http://127.0.0.1:1", "contracts": {}}
    (run.folder / "devnet.json").write_text(json.dumps(record))
    assert run("status").returncode == 1
    assert run("down").stdout == "no devnet was running\n"
    assert not (run.folder / "devnet.json").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"pid": "x"}', '{"pid": 1, "contracts": 3}'])
def test_a_damaged_record_is_no_devnet(run, text):
    run.folder.mkdir()
    (run.folder / "devnet.json").write_text(text)
    assert Record.read(run.folder) is None


def test_foreground_ends_with_sigterm(run):
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "podium", "devnet", "up", "--foreground", "--json"),
            *("--port", "0", "--data", str(run.folder)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    found = json.loads(process.stdout.readline())
    assert is_anvil(found["pid"])
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert not is_anvil(found["pid"])
    assert not (run.folder / "devnet.json").exists()


def test_foreground_fails_when_the_node_ends_by_itself(run):
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "podium", "devnet", "up", "--foreground", "--json"),
            *("--port", "0", "--data", str(run.folder)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.kill(json.loads(process.stdout.readline())["pid"], signal.SIGKILL)
    _, told = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert "podium: Anvil ended by itself, with code -9" in told


def test_bad_input_is_refused(run):
    for arguments in (("up", "--port", "70000"), ("up", "--round-length", "0"), ("mine", "0")):
        told = run(*arguments)
        assert told.returncode == 2
        assert "Invalid value" in told.stderr
