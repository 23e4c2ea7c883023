import json

import pytest
from click.testing import CliRunner
from podium.bench import cli, load, sessions
from podium.bench.process import BenchError

H2LOAD = """
finished in 1.43s, 2797.20 req/s, 1.60MB/s
requests: 4000 total, 4000 started, 4000 done, 4000 succeeded, 0 failed, 0 errored, 0 timeout
"""


def test_h2loads_output():
    assert sessions.h2load_rate(H2LOAD, 4000) == 2797.20


@pytest.mark.parametrize("output", ["", H2LOAD.replace("4000 succeeded", "3999 succeeded")])
def test_failures_of_h2load_are_no_rate(output):
    with pytest.raises(BenchError, match="4000 answers"):
        sessions.h2load_rate(output, 4000)


@pytest.mark.parametrize("size", [1, load.FRAME_BYTES, load.FRAME_BYTES + 1, 3 * load.FRAME_BYTES])
def test_frames_of_a_body(size):
    body = bytes(number % 251 for number in range(size))
    frames = load.FramedBody.of(body).for_stream(7)
    at, found, flags = 0, b"", 0
    while at < len(frames):
        length = int.from_bytes(frames[at : at + 3], "big")
        assert flags == 0
        flags = frames[at + 4]
        assert int.from_bytes(frames[at + 5 : at + 9], "big") == 7
        found += frames[at + 9 : at + 9 + length]
        at += 9 + length
    assert found == body
    assert flags == load.END_STREAM


def test_percentiles():
    assert load.percentile([5.0], 99) == 5.0
    assert load.percentile([float(n) for n in range(101)], 50) == 50.0


class Fake:
    def __init__(self, options=None, progress=None):
        self.options = options
        if progress is not None:
            progress("half way")

    def figures(self):
        return {"sessions.ratio_bare": 0.25, "sessions.p50_ms": 1.5, "sessions.free": 12345.6}

    def lines(self):
        return [f"options {self.options}"]


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setattr(cli, "_load", lambda target: Fake)
    return lambda *args: CliRunner().invoke(cli.bench, args)


def test_table_and_targets(run):
    result = run("sessions")
    assert result.exit_code == 0
    assert "half way" in result.output
    rows = {line.split("│")[1].strip(): line for line in result.output.splitlines() if "│" in line}
    assert "missed" in rows["sessions.ratio_bare"]
    assert ">= 0.5" in rows["sessions.ratio_bare"]
    assert "reached" in rows["sessions.p50_ms"]
    assert "12,346" in rows["sessions.free"]
    assert "reached" not in rows["sessions.free"]


def test_check_fails_for_a_missed_target(run):
    result = run("sessions", "--check")
    assert result.exit_code == 1
    assert "missed: sessions.ratio_bare" in result.output


def test_json_is_added_to(run, tmp_path):
    path = tmp_path / "bench.json"
    path.write_text('{"tickets.ratio_recover": 0.7, "sessions.p50_ms": 9}')
    assert run("all", "--json", str(path)).exit_code == 0
    assert json.loads(path.read_text()) == {
        "tickets.ratio_recover": 0.7,
        **Fake().figures(),
    }


@pytest.mark.parametrize("text", ["[1]", "no json"])
def test_a_file_of_something_else_is_kept(run, tmp_path, text):
    path = tmp_path / "bench.json"
    path.write_text(text)
    result = run("tickets", "--json", str(path))
    assert result.exit_code == 2
    assert path.read_text() == text


def test_options_of_the_transcode_bench(run, tmp_path):
    result = run("transcode", "--input", str(tmp_path), "--count", "2", "--live")
    assert result.exit_code == 0, result.output
    assert str(tmp_path) in result.output
    assert "count=2" in result.output
    assert "live=True" in result.output


def test_every_bench_can_be_loaded_and_explains_itself():
    for name, spec in cli.BENCHES.items():
        assert callable(cli._load(spec.target))
        help_text = CliRunner().invoke(cli.bench, [name, "--help"]).output
        assert spec.help.split()[0] in help_text
    assert set(CliRunner().invoke(cli.bench, ["--help"]).output.split()) >= {*cli.BENCHES, "all"}
