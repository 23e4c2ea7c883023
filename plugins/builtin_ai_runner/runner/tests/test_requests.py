"""What holds for every pipeline's requests: tokens, models, queues, slow and hostile clients."""

import io
import random
import socket
import threading
import time
import wave

import httpx
import pytest

TOKEN = "a-long-secret"
SPEECH = {"PIPELINE": "text-to-speech", "MODEL_ID": "espeak-ng"}
PICTURES = {"PIPELINE": "image-to-text", "MODEL_ID": "rapidocr"}
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def guarded(running_long):
    with running_long(**SPEECH, AUTH_TOKEN=TOKEN, MAX_BODY_S="1", MAX_WAITING="2") as runner:
        runner.wait("OK")
        yield runner


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer \xff"]
)
def test_a_wrong_token_is_refused(guarded, header):
    headers = [] if header is None else [(b"authorization", header.encode("latin-1"))]
    reply = guarded.client.post("/text-to-speech", json={"text": "a"}, headers=headers)
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert reply.json() == {"detail": {"msg": "Invalid bearer token."}}


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_the_right_token_is_taken(guarded, scheme):
    headers = {"authorization": f"{scheme} {TOKEN}"}
    reply = guarded.client.post("/text-to-speech", json={"text": "a"}, headers=headers)
    assert reply.status_code == 200


def test_an_empty_text_is_refused_before_the_token_is_looked_at(guarded):
    assert guarded.client.post("/text-to-speech", json={"text": ""}).status_code == 400


def test_the_service_routes_need_no_token(guarded):
    for path in ("/health", "/version", "/hardware/info", "/hardware/stats", "/metrics"):
        assert guarded.client.get(path).status_code == 200


def test_the_token_is_not_in_the_log(guarded):
    guarded.client.post("/text-to-speech", json={"text": "whispered"}, headers=BEARER)
    log = guarded.log.read_text()
    assert "status=200" in log
    assert TOKEN not in log
    assert "whispered" not in log


def test_pictures_are_not_read_from_strangers(running):
    with running(**PICTURES, AUTH_TOKEN=TOKEN) as runner:
        runner.wait("OK")
        reply = runner.client.post("/image-to-text", content=b"not even a form")
        assert reply.status_code == 401
        assert reply.json() == {"detail": {"msg": "Invalid bearer token"}}, "no dot here"


def test_another_model_is_refused(guarded):
    body = {"text": "a", "model_id": "other/model"}
    reply = guarded.client.post("/text-to-speech", json=body, headers=BEARER)
    assert reply.status_code == 400
    text = "pipeline configured with espeak-ng but called with other/model."
    assert reply.json() == {"detail": {"msg": text}}


@pytest.mark.parametrize("model", ["", "espeak-ng"])
def test_its_own_model_or_any_is_taken(guarded, model):
    body = {"text": "a", "model_id": model}
    assert guarded.client.post("/text-to-speech", json=body, headers=BEARER).status_code == 200


def _open(runner, head):
    host, port = runner.client.base_url.host, runner.client.base_url.port
    connection = socket.create_connection((host, port), 10)
    connection.sendall(head)
    return connection


def _head(runner, length):
    lines = ["POST /text-to-speech HTTP/1.1", "host: x", f"authorization: Bearer {TOKEN}"]
    lines += ["content-type: application/json", f"content-length: {length}", "", ""]
    return "\r\n".join(lines).encode()


def test_a_body_that_does_not_come_is_given_up(guarded):
    with _open(guarded, _head(guarded, 1000) + b"{") as connection:
        assert b"408" in connection.recv(1000).split(b"\r\n")[0]


def test_a_client_that_leaves_in_mid_body_leaves_no_trace(guarded):
    _open(guarded, _head(guarded, 1000) + b"{").close()
    deadline = time.monotonic() + 10
    while _admitted(guarded):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert "Traceback" not in guarded.log.read_text()


def _admitted(runner):
    text = runner.client.get("/metrics").text
    return float(text.split("\nrunner_requests_admitted ")[1].split()[0])


def test_the_queue_is_bounded(guarded):
    with _open(guarded, _head(guarded, 10)), _open(guarded, _head(guarded, 10)):
        deadline = time.monotonic() + 10
        while _admitted(guarded) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        reply = guarded.client.post("/text-to-speech", json={"text": "a"}, headers=BEARER)
    assert reply.status_code == 503
    assert reply.json() == {"detail": {"msg": "Too many requests are waiting."}}


def test_requests_at_once_are_served_one_after_the_other(running):
    with running(**SPEECH, MAX_WAITING="8") as runner:
        runner.wait("OK")
        url = runner.url("/text-to-speech")
        codes = []

        def ask():
            codes.append(httpx.post(url, json={"text": "word " * 200}, timeout=60).status_code)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert codes == [200] * 8


def test_health_answers_while_the_model_works(running):
    with running(PIPELINE="audio-to-text", MODEL_ID="pocketsphinx-en-us") as runner:
        runner.wait("OK")
        url = runner.url("/audio-to-text")
        noise = _noise(8)
        replies = []

        def ask():
            replies.append(httpx.post(url, files={"audio": noise}, timeout=120))

        worker = threading.Thread(target=ask)
        worker.start()
        slowest = 0.0
        while worker.is_alive():
            started = time.monotonic()
            assert runner.client.get("/health").json() == {"status": "OK"}
            slowest = max(slowest, time.monotonic() - started)
            worker.join(0.05)
        assert replies[0].status_code == 200
        assert slowest < 4, "a node gives up after 5 s"


def _noise(seconds):
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(random.Random(1).randbytes(2 * 16_000 * seconds))
    return out.getvalue()
