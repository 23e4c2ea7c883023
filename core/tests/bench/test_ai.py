"""The AI bench runs small, and what it says is sane; no figure is compared with a clock."""

import math

import pytest
from podium.bench import ai
from podium.bench.load import LoadError
from podium.bench.process import BenchError, program, server

SMALL = ai.Plan(rounds=2, jobs=8, clients=2, alone=3, result_bytes=2_000_000, node="proxy")


def test_ai(monkeypatch):
    monkeypatch.setattr(ai, "NONCES_PER_PARAMS", 3)
    said = []
    report = ai.run_ai_bench(SMALL, progress=said.append)
    figures = report.figures()
    assert len(report.rounds) == 2
    assert [len(side) for side in (*report.alone, *report.streamed)] == [3] * 4
    assert all(name.startswith("ai.") and math.isfinite(v) for name, v in figures.items())
    assert figures["ai.ratio_direct_min"] <= figures["ai.ratio_direct"]
    assert figures["ai.ratio_direct"] <= figures["ai.ratio_direct_max"]
    assert {
        "ai.ratio_direct",
        "ai.p50_added_ms",
        "ai.sse_first_byte_added_ms",
        "ai.rss_50mb_bytes",
    } <= set(figures)
    assert figures["ai.rss_bytes"] > 2**20
    assert figures["ai.node_per_s"] > 0
    assert any("over runner" in line for line in report.lines())
    assert len(said) == 3


def test_a_job_that_fails_ends_the_bench(monkeypatch):
    content = ai._chat(stream=False)
    monkeypatch.setattr(
        ai, "_chat", lambda stream: (content[0], content[1].replace(b'"hi"', b'"fail"'))
    )
    with pytest.raises(LoadError, match="500"):
        ai.run_ai_bench(SMALL)


def test_a_server_that_does_not_start_is_told():
    with pytest.raises(BenchError, match="did not start"), server("ai", runner="no url"):
        raise AssertionError("it started")
    with program("podium.bench.runner") as runner:
        assert runner.port > 0
