"""Lines for people and machines, and secrets for nobody."""

import io
import json
import logging
from fractions import Fraction

import pytest
from podium.telemetry.logs import EventLog, capture_standard_logs, make_log
from podium_hookspecs import (
    JobFinished,
    NodeStopping,
    PaymentRefused,
    PluginChanged,
    Secret,
    SessionClosed,
    SessionOpened,
    WorkerChanged,
)

KEY = "ab" * 32


class Terminal(io.StringIO):
    def isatty(self):
        return True


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def log(stream):
    return make_log(stream=stream, secrets=[KEY])


def job(**given):
    facts = {
        "job_id": "j1", "session_id": "s1", "sender": bytes(19) + b"\1", "pipeline": "transcode",
        "capability": 0, "model": None, "worker": "cpu", "outcome": "ok", "units": 100,
        "unit": "pixel", "fee_wei": Fraction(1, 3), "queued_s": 0.0012, "run_s": 0.5,
        "media_duration_s": 2.0, "attributes": {"profiles": "a,b", "frames": "60"},
    }  # fmt: skip
    return JobFinished(**(facts | given))


def test_a_job_is_one_line_with_all_its_facts(log, stream):
    EventLog(log).on_event(job())
    (line,) = lines(stream)
    del line["timestamp"]
    assert line == {
        "event": "job", "level": "info", "job": "j1", "session": "s1",
        "sender": "0x0000000000000000000000000000000000000001", "pipeline": "transcode",
        "worker": "cpu", "outcome": "ok", "units": 100, "unit": "pixel", "fee_wei": "1/3",
        "queued_ms": 1.2, "run_ms": 500.0, "media_s": 2.0, "profiles": "a,b", "frames": "60",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("outcome", "level"),
    [("ok", "info"), ("bad_input", "info"), ("job_failed", "warning"), ("worker_lost", "warning")],
)
def test_only_what_the_operator_can_change_is_a_warning(log, stream, outcome, level):
    EventLog(log).on_event(job(outcome=outcome, detail="why", model="m"))
    (line,) = lines(stream)
    assert (line["level"], line["detail"], line["model"]) == (level, "why", "m")


def test_a_pipelines_attributes_cannot_replace_the_hosts_facts(log, stream):
    EventLog(log).on_event(job(attributes={"outcome": "fine", "event": "x", "units": "0"}))
    (line,) = lines(stream)
    assert (line["event"], line["outcome"], line["units"]) == ("job", "ok", 100)


def test_other_events_are_lines_of_their_own(log, stream):
    write = EventLog(log).on_event
    write(SessionOpened("s", bytes(20), 1))
    write(SessionClosed("s", bytes(20), "idle", 4, 0))
    write(PaymentRefused(bytes(20), "s", "invalid ticket winProb"))
    write(WorkerChanged("cpu", "down", "crashed", 2))
    write(PluginChanged("p", "ok", ""))
    write(NodeStopping("SIGTERM"))
    told = [(line["event"], line["level"]) for line in lines(stream)]
    assert told == [
        ("session opened", "info"),
        ("session closed", "info"),
        ("payment refused", "warning"),
        ("worker down", "warning"),
        ("plugin ok", "info"),
        ("draining", "info"),
    ]


def test_secrets_never_appear(log, stream):
    log.info("a", password="p1", orch_secret="p2", auth_token="p3", private_key="p4", tokens=7)
    log.info("b", value=Secret("p5"), text=f"key {KEY} used")
    try:
        raise RuntimeError(KEY)
    except RuntimeError:
        log.exception("c")
    text = stream.getvalue()
    assert KEY not in text
    assert not any(f"p{n}" in text for n in range(1, 6))
    assert lines(stream)[0]["tokens"] == 7
    assert lines(stream)[1]["text"] == "key *** used"
    assert "RuntimeError: ***" in lines(stream)[2]["exception"]


def test_a_peers_text_cannot_forge_lines():
    stream = Terminal()
    make_log(stream=stream).info("refused", reason="x\n2026 [info] all is well \x1b[31m")
    assert stream.getvalue().count("\n") == 1
    assert "\\n2026" in stream.getvalue()
    assert "\x1b[31m\n" not in stream.getvalue()


def test_a_terminal_gets_people_and_a_pipe_gets_machines():
    terminal, pipe = Terminal(), io.StringIO()
    make_log(stream=terminal).info("hello", a=1)
    make_log(stream=pipe).info("hello", a=1)
    assert "hello" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    assert lines(pipe)[0]["a"] == 1
    forced = io.StringIO()
    make_log(stream=forced, log_format="human").info("hello", a=1)
    assert "\x1b" not in forced.getvalue()
    assert "a=1" in forced.getvalue()


def test_the_level_holds(stream):
    log = make_log(stream=stream, level="warning")
    log.info("quiet")
    log.warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_standard_logs_become_our_lines(log, stream):
    root = logging.getLogger()
    level = root.level
    handler = capture_standard_logs(log, "info")
    try:
        logging.getLogger("uvicorn.error").warning("port %s", KEY)
        try:
            raise OSError("boom")
        except OSError:
            logging.getLogger("asyncio").exception("task failed")
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    first, second = lines(stream)
    assert (first["event"], first["logger"], first["level"]) == (
        "port ***", "uvicorn.error", "warning",
    )  # fmt: skip
    assert "OSError: boom" in second["exception"]
