"""The bench of BYOC requests runs, small, and tells all its figures."""

import pytest
from podium.bench.byoc import Plan, run_byoc_bench
from podium.bench.cli import TARGETS

pytestmark = pytest.mark.timeout(120)


def test_every_figure_is_there():
    plan = Plan(rounds=1, jobs=20, clients=4, alone=5, streams=2, events=20, idle=10)
    said = []
    report = run_byoc_bench(plan, progress=said.append)
    figures = report.figures()
    assert {name for name in TARGETS if name.startswith("byoc.")} <= set(figures)
    assert figures["byoc.node_per_s"] > 0
    assert figures["byoc.sse_node_events_per_s"] > 0
    assert figures["byoc.rss_bytes"] > 10e6
    assert len(report.lines()) == 7
    assert said[-1] == "10 idle streams"
