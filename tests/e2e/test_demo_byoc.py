"""The demo: two real containers, a real node, and two books that agree."""

import json

import pytest
from podium.demo import byoc
from podium.demo.byoc_container import registration

pytestmark = pytest.mark.timeout(180)


def test_requests_are_answered_streamed_and_billed(tmp_path):
    out = tmp_path / "out"
    summary = byoc.run_demo_byoc("hello there", out)
    assert summary["ok"], summary["problems"]
    plain, streamed, again = summary["requests"]
    assert plain["answer"] == {"text": "HELLO THERE"}
    assert plain["metadata"] == '{"letters": "large"}'
    assert streamed["events"] == ['{"word": "hello"}', '{"word": "there"}']
    assert again["answer"] == {"text": "HELLO THERE, AGAIN"}
    assert summary["payments"]["debited_wei"] == summary["payments"]["node_debited_wei"]
    assert json.loads((out / "summary.json").read_text()) == summary
    assert (out / "node.log").exists()


def test_a_container_that_fails_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(byoc, "send_all", failing(byoc.send_all))
    summary = byoc.run_demo_byoc("hello", tmp_path / "out")
    assert not summary["ok"]
    assert any("failed" in line for line in summary["problems"])


def failing(send_all):
    def send(uri, key, text):
        found = send_all(uri, key, text)
        found[0] |= {"ok": False, "error": "as the test wants"}
        return found

    return send


def test_it_registers_as_pytrickle_does():
    environ = {"CAPABILITY_NAME": "n", "CAPABILITY_CAPACITY": "3"}
    assert registration(environ, "http://h:1") == {
        "url": "http://h:1",
        "name": "n",
        "description": "",
        "capacity": 3,
        "price_per_unit": 0,
        "price_scaling": 1,
    }
