"""What the process says about itself, from its start to its end."""

import os
import signal
import subprocess
import sys
import threading
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

SPEECH = {"PIPELINE": "text-to-speech", "MODEL_ID": "espeak-ng"}


@pytest.fixture(scope="module")
def runner(running_long):
    with running_long(**SPEECH, VERSION="1.2.3") as runner:
        runner.wait("OK")
        yield runner


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_service_routes(runner, slash):
    own = {"pipeline": "text-to-speech", "model_id": "espeak-ng"}
    get = runner.client.get
    assert get(f"/health{slash}").json() == {"status": "OK"}
    assert get(f"/version{slash}").json() == own | {"version": "1.2.3"}
    info = get(f"/hardware/info{slash}").json()
    assert set(info) == {*own, "gpu_info"}
    assert set(get(f"/hardware/stats{slash}").json()) == {*own, "gpu_stats"}
    assert own.items() <= info.items()


def test_the_metrics_are_prometheus_s(runner):
    assert runner.client.post("/text-to-speech", json={"text": "one"}).status_code == 200
    assert runner.client.post("/text-to-speech", json={}).status_code == 400
    reply = runner.client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }
    assert samples["runner_requests_total", "200"] >= 1
    assert samples["runner_requests_total", "400"] >= 1
    assert samples["runner_request_seconds_count",] >= 2
    assert samples["runner_requests_admitted",] == 0
    assert samples["runner_model_ready",] == 1
    assert samples["process_resident_memory_bytes",] > 0


GPU = "GPU-1, NVIDIA H100 NVL, 95830, 95000, 9.0, 7, [N/A]"


def test_gpus_are_shown_as_the_driver_tells_them(running, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\necho "{GPU}"\n')
    program.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    common = {
        "id": "GPU-1",
        "name": "NVIDIA H100 NVL",
        "memory_total": 95830 * 1024 * 1024,
        "memory_free": 95000 * 1024 * 1024,
    }
    with running(**SPEECH, PATH=path) as runner:
        runner.wait("OK")
        info = runner.client.get("/hardware/info").json()["gpu_info"]
        assert info == {"0": common | {"major": 9, "minor": 0}}
        stats = runner.client.get("/hardware/stats").json()["gpu_stats"]
        assert stats == {"0": common | {"utilization_compute": 7, "utilization_memory": 0}}
        program.write_text("#!/bin/sh\necho nonsense\n")
        assert runner.client.get("/hardware/info").json()["gpu_info"] == {}


def test_a_model_that_cannot_be_loaded_is_an_error(running, tmp_path):
    with running(PIPELINE="llm", MODEL_ID="no/where", MODEL_DIR=str(tmp_path)) as runner:
        assert runner.wait("OK", "ERROR") == "ERROR"
        reply = runner.client.post("/llm", json={"messages": [], "max_tokens": 1})
        assert reply.status_code == 503
        assert reply.json() == {"detail": {"msg": "The model is not available."}}
        assert "no/where" in runner.log.read_text()


def test_loading_shows_and_refuses(running, tmp_path):
    slow = tmp_path / "espeak-ng"
    slow.write_text(f"#!/bin/sh\nwhile [ ! -e {tmp_path}/go ]; do sleep 0.05; done; exit 1\n")
    slow.chmod(0o755)
    with running(**SPEECH, PATH=f"{tmp_path}:{os.environ['PATH']}") as runner:
        assert runner.wait("LOADING", "OK", "ERROR") == "LOADING"
        reply = runner.client.post("/text-to-speech", json={"text": "a"})
        assert reply.status_code == 503
        assert reply.json() == {"detail": {"msg": "The model is loading."}}
        (tmp_path / "go").touch()
        assert runner.wait("OK", "ERROR") == "ERROR"


def test_the_socket_can_wait_for_the_model(running, tmp_path):
    with running(**SPEECH, LOAD_FIRST="1") as runner:
        assert runner.wait("LOADING", "OK", "ERROR") == "OK"
    with running(
        PIPELINE="llm", MODEL_ID="no/where", MODEL_DIR=str(tmp_path), LOAD_FIRST="1"
    ) as runner:
        assert runner.process.wait(30) == 3


def test_sigterm_ends_a_process_that_still_loads(running, tmp_path):
    slow = tmp_path / "espeak-ng"
    slow.write_text(f"#!/bin/sh\ntouch {tmp_path}/loading; exec sleep 20\n")
    slow.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    for first in ("0", "1"):
        with running(**SPEECH, PATH=path, LOAD_FIRST=first) as runner:
            _wait_for(tmp_path / "loading")
            code, seconds = runner.stop()
        assert code == 0
        assert seconds < 2
        (tmp_path / "loading").unlink()


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, "PIPELINE"),
        ({"PIPELINE": "llm"}, "MODEL_ID"),
        ({"PIPELINE": "nothing", "MODEL_ID": "a"}, "nothing"),
        (SPEECH | {"PORT": "x"}, "PORT"),
        (SPEECH | {"PORT": "70000"}, "PORT"),
        (SPEECH | {"MAX_PIXELS": "0"}, "MAX_"),
    ],
)
def test_a_wrong_environment_is_named(environ, named):
    command = [sys.executable, "-m", "podium_runner_cpu"]
    known = {"PATH": os.environ["PATH"]}
    done = subprocess.run(command, env=known | environ, capture_output=True, timeout=60)
    assert done.returncode == 2
    assert named in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_sigterm_ends_an_idle_process(running):
    with running(**SPEECH) as runner:
        runner.wait("OK")
        code, seconds = runner.stop()
    assert code == 0
    assert seconds < 2


def test_sigterm_ends_a_busy_process_and_its_children(running, tmp_path):
    stuck = tmp_path / "espeak-ng"
    stuck.write_text(
        f"#!/bin/sh\nif [ -e {tmp_path}/loaded ]; then echo $$ > {tmp_path}/pid; exec sleep 100; fi\n"
        f'touch {tmp_path}/loaded; exec espeak-ng-real "$@"\n'
    )
    stuck.chmod(0o755)
    real = subprocess.run(["which", "espeak-ng"], check=True, capture_output=True, text=True).stdout
    (tmp_path / "espeak-ng-real").symlink_to(real.strip())
    with running(**SPEECH, PATH=f"{tmp_path}:{os.environ['PATH']}") as runner:
        assert runner.wait("OK", "ERROR") == "OK", runner.log.read_text()
        asked = threading.Thread(target=_ignore_end, args=(runner,))
        asked.start()
        _wait_for(tmp_path / "pid", size=1)
        pid = int((tmp_path / "pid").read_text())
        code, seconds = runner.stop()
        asked.join()
    assert code == 0
    assert seconds < 2
    _wait_until_gone(pid)


def _ignore_end(runner):
    try:
        httpx.post(runner.url("/text-to-speech"), json={"text": "a"}, timeout=30)
    except httpx.TransportError:
        return


def _wait_for(path, size=0):
    deadline = time.monotonic() + 30
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < deadline, "the program was not started"
        time.sleep(0.02)


def _wait_until_gone(pid):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, signal.SIG_DFL)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise AssertionError("the child outlives its parent")
