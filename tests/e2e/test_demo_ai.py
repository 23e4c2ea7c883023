"""The AI demo from start to end: node, runners and Gateways as processes; only models are fake."""

import json
import sys
from pathlib import Path

import pytest
from podium.demo.ai import run_demo_ai
from podium.demo.ai_executor import Executor

RUNNER = Path(__file__).parent / "fake_runner.py"


@pytest.fixture
def executor():
    command = json.dumps([sys.executable, str(RUNNER)])
    return Executor("process", f"command = {command}", "No containers: this is a test.")


def test_three_jobs_and_their_bill(tmp_path, executor):
    out = tmp_path / "demo-out" / "ai"
    summary = run_demo_ai("hello there", "read me", out, executor)
    assert summary["ok"], summary["problems"]
    assert summary == json.loads((out / "summary.json").read_text())
    speak, listen, look = summary["requests"]
    assert [job["status"] for job in (speak, listen, look)] == [200] * 3
    assert (speak["units"], speak["unit"]) == (len("hello there"), "byte")
    assert (listen["units"], listen["text"]) == (2000, "audio-to-text of True")
    assert look["text"] == "image-to-text of True"
    bills = sum(int(job["fee_wei"]) for job in (speak, listen, look))
    assert summary["payments"]["debited_wei"] == summary["payments"]["node_debited_wei"]
    assert summary["payments"]["debited_wei"] == str(bills)
    assert summary["checks"]["ledger_equal"]
    assert summary["executor"]["kind"] == "process"
    assert (out / "speech.wav").read_bytes().startswith(b"RIFF")
    assert "audio-to-text of True" in (out / "index.html").read_text()
    assert (out / "node.log").stat().st_size > 0


def test_a_job_that_fails_fails_the_demo(tmp_path, executor):
    summary = run_demo_ai("fail", "read me", tmp_path / "out", executor)
    assert not summary["ok"]
    assert [job["pipeline"] for job in summary["requests"]] == ["text-to-speech", "image-to-text"]
    assert any(line.startswith("text-to-speech failed: ") for line in summary["problems"])
    assert summary["checks"]["ledger_equal"], "a job that fails is not billed"
