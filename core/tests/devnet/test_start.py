"""Starting and ending: deployed or from the cache, and no node is left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from attrs import evolve
from podium.chain.contracts import Minter, RoundsManager
from podium.devnet import (
    ETHER,
    DevnetError,
    DevnetOptions,
    RpcError,
    attach_devnet,
    start_devnet,
)
from podium.devnet.install import VERSION
from podium.devnet.record import is_anvil
from podium.devnet.start import _state_path

PATIENCE_S = 10.0


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """A cache folder with the tools (shared) and one deployment, and its options."""
    default = DevnetOptions()
    cache = tmp_path_factory.mktemp("cache")
    start_devnet(default).close()  # the tools are there now
    for path in default.cache_dir.iterdir():
        if path.name.startswith("anvil-"):
            (cache / path.name).symlink_to(path)
    options = DevnetOptions(cache_dir=cache, round_length=20, inflation=0)
    lines = []
    with start_devnet(changed(options, progress=lines.append)) as devnet:
        assert lines == ["deploying the contracts"]
        assert devnet.call("Minter", Minter.inflation) == 0
        assert devnet.call("RoundsManager", RoundsManager.round_length) == 20
    return options


def changed(options, **changes):
    return evolve(options, **changes)


def gone(pid):
    deadline = time.monotonic() + PATIENCE_S
    while is_anvil(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_later_start_loads_the_deployment_and_ends_without_a_trace(deployed):
    lines = []
    with start_devnet(changed(deployed, progress=lines.append)) as devnet:
        assert lines == []
        assert devnet.round_initialized
        number = devnet.next_round()
        stored = devnet.call("RoundsManager", RoundsManager.block_hash_for_round, number)
        assert stored != bytes(32)
        assert devnet.balance("gateway") == 10_000 * ETHER
        devnet.fund_gateway("gateway", ETHER, ETHER)
        pid = devnet.process.pid
    devnet.close()
    assert gone(pid)
    with start_devnet(deployed) as again:
        assert again.balance("gateway") == 10_000 * ETHER


@pytest.mark.parametrize("damage", ["text", "state", "addresses"])
def test_a_damaged_deployment_is_made_anew(deployed, damage):
    path = _state_path(deployed)
    good = json.loads(path.read_text())
    if damage == "text":
        path.write_text("{")
    elif damage == "state":
        path.write_text(json.dumps({**good, "state": "0x1f8b00"}))
    else:
        moved = {**good["addresses"], "Minter": "00" * 20}
        path.write_text(json.dumps({**good, "addresses": moved}))
    lines = []
    with start_devnet(changed(deployed, progress=lines.append)) as devnet:
        assert devnet.round_initialized
    assert lines[-1] == "deploying the contracts"
    assert json.loads(path.read_text())["addresses"] == good["addresses"]


def test_blocks_come_at_an_interval_or_when_asked_for(deployed):
    with start_devnet(changed(deployed, block_time_s=1, base_fee_wei=7 * 10**9)) as devnet:
        first = devnet.block_number
        deadline = time.monotonic() + PATIENCE_S
        while devnet.block_number < first + 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert devnet.block_number >= first + 2
        block = devnet.rpc.call("eth_getBlockByNumber", hex(first + 1), False)
        assert int(block["baseFeePerGas"], 16) == 7 * 10**9
        devnet.fund_gateway("gateway", 1, 0)
        devnet.set_automine(False)
        still = devnet.block_number
        time.sleep(1.2)
        assert devnet.block_number == still
        devnet.fund_gateway("gateway", 1, 0)
        assert devnet.block_number == still + 1
        devnet.set_interval(0)
        devnet.fund_gateway("gateway", 1, 0)
        assert devnet.block_number == still + 2


def test_a_taken_port_is_named(deployed):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DevnetError, match=f"port {port} cannot be used: .*choose another"):
            start_devnet(changed(deployed, port=port))


def test_a_node_that_never_answers_is_ended(deployed, tmp_path):
    cache = tmp_path / "cache"
    (cache / "states").mkdir(parents=True)
    (cache / VERSION).mkdir()
    program = cache / VERSION / "anvil"
    program.write_text("#!/bin/sh\necho cannot start >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(DevnetError, match="Anvil ended at once with code 3: cannot start"):
        start_devnet(DevnetOptions(cache_dir=cache))
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(DevnetError, match=r"did not answer within 0\.3 s"):
        start_devnet(DevnetOptions(cache_dir=cache, ready_timeout_s=0.3, port=free_port()))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_frozen_node_is_ended_too(deployed):
    devnet = start_devnet(deployed)
    devnet.pause_process()
    devnet.close()
    assert gone(devnet.process.pid)


def test_the_node_ends_with_a_parent_that_was_killed(deployed):
    script = (
        "import sys, time; from pathlib import Path\n"
        "from podium.devnet import DevnetOptions, start_devnet\n"
        "d = start_devnet(DevnetOptions(cache_dir=Path(sys.argv[1]), round_length=20, inflation=0))\n"
        "print(d.process.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(deployed.cache_dir)], stdout=subprocess.PIPE, text=True
    )
    pid = int(parent.stdout.readline())
    assert is_anvil(pid)
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    assert gone(pid)


def test_a_devnet_of_another_process_is_used_and_left_running(deployed):
    with start_devnet(deployed) as devnet:
        other = attach_devnet(devnet.rpc_url, devnet.addresses)
        assert other.next_round() == devnet.current_round
        with pytest.raises(DevnetError, match="started by another process"):
            other.pause_process()
        other.close()
        assert devnet.process.alive()
        with pytest.raises(RpcError, match="eth_nonsense: Method not found"):
            devnet.rpc.call("eth_nonsense")
    with pytest.raises(DevnetError, match="no answer from the devnet"):
        attach_devnet(devnet.rpc_url, devnet.addresses)


def test_other_processes_are_never_taken_for_a_devnet():
    assert not is_anvil(os.getpid())
    assert not is_anvil(2**22 + 1)
