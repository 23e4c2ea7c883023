"""The demo, as ``make demo`` runs it, and its judgement of two books."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from podium.demo.books import differences, stored_winners
from podium.demo.errors import DemoError
from podium.demo.processes import NodeConfig, NodeProcess, free_ports
from podium.demo.video import demo


def summary(**account):
    mine = {"session_id": "s1", "tickets": 3, "credited": "10/3", "debited": "7", "unsettled": 0}
    mine |= account
    return {"payments": {"sender": "0xaB", "accounts": [mine]}}


def entry(**changes):
    return {
        "sender": "0xAb",
        "key": "s1",
        "tickets": 3,
        "credited": "20/6",
        "debited": "7",
    } | changes


def test_equal_books():
    assert differences(summary(), [entry()]) == []
    assert differences(summary(tickets=0, credited="0", debited="0"), []) == []


def test_only_an_unanswered_segment_excuses_a_larger_bill():
    assert differences(summary(unsettled=1), [entry(debited="8")]) == []
    assert differences(summary(unsettled=1), [entry(debited="6")])
    assert differences(summary(unsettled=1), [entry(debited="8", credited="4")])


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([entry(debited="8")], "session s1: debited 7 at the Gateway, 8 at the node"),
        ([entry(credited="10000000000000001/3000000000000000")], "credited"),
        ([entry(tickets=2)], "tickets 3 at the Gateway, 2 at the node"),
        ([], "the node knows nothing of it"),
        ([entry(), entry(key="s2")], "session s2: the Gateway knows nothing of it"),
        ([entry(sender="0xcc")], "knows nothing"),
    ],
)
def test_a_wei_of_difference_is_told(entries, says):
    assert any(says in line for line in differences(summary(), entries))


@pytest.mark.parametrize("bad", ["input", "out"])
def test_bad_arguments_are_told_once_and_leave_nothing(tmp_path, bad):
    source = tmp_path / "notes.mp4"
    source.write_text("no video")
    out = tmp_path / "out"
    if bad == "out":
        out.mkdir()
        (out / "precious.txt").write_text("mine")
    done = CliRunner().invoke(demo, ["--input", str(source), "--out", str(out)])
    assert done.exit_code == 1
    assert done.output.count("Error:") == 1
    says = "cannot be read as video" if bad == "input" else "holds something else"
    assert says in done.output
    assert out.exists() == (bad == "out")


def test_the_gateways_own_words_are_enough(tmp_path):
    command = [sys.executable, "-m", "podium", "demo", "--profiles", "P1"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: 'P1' is neither a preset nor a JSON file")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_free_ports_differ():
    assert len(set(free_ports(5))) == 5


def test_a_node_that_does_not_start(tmp_path):
    config = NodeConfig.write(tmp_path, payments='nonsense = "x"')
    node = NodeProcess.start(config, tmp_path / "node.log")
    with pytest.raises(DemoError, match=r"did not get ready:\n(.|\n)*nonsense"):
        node.wait_until_ready()
    with pytest.raises(DemoError, match="did not show its ledger"):
        node.ledger()
    assert not node.stop()


def test_no_database(tmp_path):
    with pytest.raises(DemoError, match="cannot be read"):
        stored_winners(tmp_path)


def test_demo(tmp_path):
    """Two processes, real transcoding, real tickets."""
    out = tmp_path / "demo-out"
    command = [
        sys.executable,
        "-m",
        "podium",
        "demo",
        "--out",
        str(out),
        "--profiles",
        "P144p30fps16x9",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr + (out / "node.log").read_text()
    result = json.loads((out / "summary.json").read_text())
    assert result["ok"]
    assert result["problems"] == []
    assert result["segments"] == {
        "done": 8,
        "failed": 0,
        "retried": 0,
        "source_bytes": result["segments"]["source_bytes"],
    }
    assert result["checks"] == {
        "signatures_verified": 8,
        "renditions_decoded": 8,
        "pixel_counts_equal": 8,
        "ledger_equal": True,
    }
    pay = result["payments"]
    assert pay["tickets_sent"] > 0
    assert pay["winners_stored"] == pay["tickets_won"] <= pay["tickets_sent"]
    master = (out / "master.m3u8").read_text()
    assert "P144p30fps16x9/index.m3u8" in master
    assert "RESOLUTION=256x144" in master
    assert ',mp4a.40.2"' in master
    assert "Node and Gateway agree" in done.stdout
