"""The benches run small, and what they say is sane; no figure is compared with a clock."""

import math

import pytest
from podium.bench import load, paid, process, segments, sessions
from podium.bench.server import HOST

SMALL_SEGMENTS = segments.Plan(
    rounds=2, segments=4, senders=2, alone=3, sessions=5, flat=8, body_bytes=40_000
)


def test_segments(monkeypatch):
    monkeypatch.setattr(paid, "NONCES_PER_PARAMS", 3)
    said = []
    report = segments.run_segments_bench(SMALL_SEGMENTS, progress=said.append)
    figures = report.figures()
    assert len(report.rounds) == 2
    assert len(report.node_s) == len(report.bare_s) == 3
    assert all(name.startswith("segments.") and math.isfinite(v) for name, v in figures.items())
    assert 0 < figures["segments.ratio_bare_min"] <= figures["segments.ratio_bare"]
    assert figures["segments.ratio_bare"] <= figures["segments.ratio_bare_max"]
    assert {
        "segments.ratio_bare",
        "segments.p99_added_ms",
        "segments.rss_per_session_bytes",
        "segments.rss_growth_10k_bytes",
    } <= set(figures)
    assert figures["segments.rss_bytes"] > 2**20
    assert any("bare app" in line for line in report.lines())
    assert len(said) == 4


@pytest.mark.parametrize("program", [None, ""], ids=["h2load", "grpcio"])
def test_sessions(program):
    plan = sessions.Plan(rounds=2, calls=20, alone=5)
    if program is None and not plan.h2load:
        pytest.skip("h2load is not installed")
    if program is not None:
        plan = sessions.Plan(rounds=2, calls=20, alone=5, h2load=program)
    report = sessions.run_sessions_bench(plan)
    figures = report.figures()
    assert len(report.ratios) == 2
    assert len(report.node_s) == 5
    assert {"sessions.ratio_bare", "sessions.p50_ms"} <= set(figures)
    assert all(value > 0 for value in figures.values())
    assert ("h2load" if program is None else "grpcio") in report.lines()[0]


def test_a_node_refuses_and_the_load_says_why():
    with process.server("node") as node:
        connection = load.Connection.open(HOST, node.port)
        sender = paid.Sender.open(connection, b"x" * 100)
        (good,) = sender.segments(1)
        load.run_load([(connection, [good])], paid.check_result)
        with pytest.raises(load.LoadError, match="already seen"):
            load.run_load([(connection, [good])], paid.check_result)
        bad = load.Request(good.path, sender.segments(1)[0].headers, b"y" * 100)
        with pytest.raises(load.LoadError, match="Forbidden"):
            load.run_load([(connection, [bad])])
        connection.close()


def test_a_full_node_says_so():
    with process.server("node", max_sessions=1) as node:
        connection = load.Connection.open(HOST, node.port)
        sender = paid.Sender.open(connection, b"x")
        load.run_load([(connection, sender.segments(1))], paid.check_result)
        with pytest.raises(load.LoadError, match="OrchestratorCapped"):
            paid.Sender.open(connection, b"x")
        connection.close()


def test_nonces_go_on_with_new_parameters(monkeypatch):
    monkeypatch.setattr(paid, "NONCES_PER_PARAMS", 3)
    with process.server("node") as node:
        connection = load.Connection.open(HOST, node.port)
        sender = paid.Sender.open(connection, b"x")
        sender._nonces = iter([1])
        token = sender.info.auth_token.session_id
        found = load.run_load([(connection, sender.segments(8))], paid.check_result)
        assert len(found.latencies_s) == 8
        assert sender.info.auth_token.session_id == token
        connection.close()


def test_a_body_larger_than_the_windows_arrives_whole():
    body = bytes(range(256)) * 80_000  # 20 MB, more than stream and connection window
    with process.server("hash") as hashing:
        connection = load.Connection.open(HOST, hashing.port)
        answer = connection.request(load.Request("/", (), body))
        again = connection.request(load.Request("/", (), body))
        connection.close()
    assert answer.body == again.body == paid.keccak256(body)


def test_a_server_that_cannot_start(monkeypatch):
    monkeypatch.setattr(process.sys, "executable", "/bin/false")
    with pytest.raises(process.BenchError, match="did not start"), process.server("echo"):
        pass


def test_the_server_ends_with_its_parent():
    with process.server("echo") as echo:
        assert echo.rss_bytes > 2**20
    with pytest.raises(OSError, match="refused"):
        load.Connection.open(HOST, echo.port)
