"""The demo, as ``make demo`` runs it, and its judgement of two books."""

import json
import subprocess
import sys

import pytest
from podium.demo import DemoError, NodeProcess, differences, free_ports, make_room, stored_winners


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


def test_room_is_made_only_where_a_demo_was(tmp_path):
    out = tmp_path / "out"
    make_room(out)
    make_room(out)
    (out / "precious.txt").write_text("mine")
    with pytest.raises(DemoError, match="holds something else"):
        make_room(out)
    (out / "node.log").write_text("")
    make_room(out)
    assert not list(out.iterdir())


def test_free_ports_differ():
    assert len(set(free_ports(5))) == 5


def test_a_node_that_does_not_start(tmp_path, monkeypatch):
    monkeypatch.setattr("podium.demo.NODE_TOML", 'nonsense = "{port}"\n')
    node = NodeProcess.start(tmp_path, tmp_path / "node.log")
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
