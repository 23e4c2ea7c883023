"""144 recorded requests, most of them wrong in one point, or answered wrongly by the runner.

Each is sent again. Status and text must be those of the recording, or stand in ``STANDING`` with
ours and the reason. The large bodies of forms are not kept in the recording: they are made anew
of the same parts.
"""

import base64
import json
import threading

import pytest
from podium.wire.pb import lp_rpc_pb2 as pb

PLACEHOLDER = "<valid credentials"
TOKEN = "the token's secret is not known: our node issued the token"
FORM = "the form is not kept: made of the same parts"

CRASH = "the reference crashes: the connection is cut, and the slot is gone for good"
NULL = "the reference answers 200 with nothing in it, and charges for it"
WORDS = "the words of Go's decoder for what a runner answered wrongly: nobody looks for them"
STREAM = "the reference loses the runner's status and reason; ours keep 'returned 400'"
METHOD = "the reference answers 200 with an empty body to any method (a defect)"
SPACE = "Go's decoder varies the space in this text on purpose; ours is plain"
ENDS = "a stream that ends too soon says so in a last event; the reference just ends it"

LABELS = {"segment-anything-2": "segment anything 2", "llm": "LLM", "llm-stream": "LLM"}
NOT_FOUND = '{"detail":"Not Found"}'
MISSING = '{"detail":[{"loc":["body","prompt"],"msg":"Field required","type":"missing"}]}'
TOO_LARGE = '{"detail":{"msg":"File size exceeds limit"}}'
UNSUPPORTED = '{"detail":{"msg":"Unsupported audio format or malformed file."}}'
MEMORY = "Out of memory error. Try reducing output image resolution."


def _container(name, status, text):
    return 500, f"{LABELS.get(name, name)} container returned {status}: {text}\n"


STANDING = {
    "body/no-model_id": ((400, "ModelId not specified\n"), CRASH),
    "multipart/no-model_id": ((400, "ModelId not specified\n"), CRASH),
    "llm/model_id-instead-of-model": ((400, "Model not specified\n"), CRASH),
    "tts/no-text": ((400, "Text not specified\n"), CRASH),
    "payment/bad-protobuf": (
        (402, "protobuf unmarshal error: proto: cannot parse invalid wire-format data\n"),
        SPACE,
    ),
    "segment/bad-protobuf": ((403, "proto: cannot parse invalid wire-format data\n"), SPACE),
    "method/get": ((405, "Method Not Allowed\n"), METHOD),
    "method/put": ((405, "Method Not Allowed\n"), METHOD),
}
for _name, _status, _text, _why in [
    ("text-to-image", 404, NOT_FOUND, CRASH),
    ("text-to-image", 503, '{"detail":{"msg":"busy"}}', CRASH),
    ("text-to-image", 429, '{"detail":"Too Many Requests"}', CRASH),
    ("image-to-image", 413, TOO_LARGE, CRASH),
    ("image-to-image", 415, UNSUPPORTED, CRASH),
    ("upscale", 413, TOO_LARGE, CRASH),
    ("upscale", 415, UNSUPPORTED, CRASH),
    ("text-to-speech", 413, TOO_LARGE, CRASH),
    ("text-to-speech", 415, UNSUPPORTED, CRASH),
    ("image-to-video", 413, TOO_LARGE, WORDS),
    ("image-to-video", 415, UNSUPPORTED, WORDS),
    ("image-to-text", 415, UNSUPPORTED, NULL),
    ("segment-anything-2", 413, TOO_LARGE, NULL),
    ("segment-anything-2", 415, UNSUPPORTED, NULL),
    ("llm", 404, NOT_FOUND, NULL),
    ("llm", 422, MISSING, NULL),
    ("llm-stream", 400, "Prompt must be provided.", STREAM),
    ("llm-stream", 401, "Invalid bearer token.", STREAM),
    ("llm-stream", 404, NOT_FOUND, STREAM),
    ("llm-stream", 422, MISSING, STREAM),
    ("llm-stream", 500, MEMORY, STREAM),
]:
    STANDING[f"runner-{_status}/{_name}"] = (_container(_name, _status, _text), _why)
for _mode, _status, _text, _why in [
    ("html", 200, "<html>hello</html>", CRASH),
    ("500text", 500, "Internal Server Error", CRASH),
    ("400text", 400, "bad", CRASH),
    ("emptyobj", 200, "no images", NULL),
    ("noimages", 200, "no images", NULL),
    ("wrongtypes", 200, "no images", WORDS),
    ("badurl", 200, "a url that is no base64", WORDS),
]:
    STANDING[f"runner-{_mode}/text-to-image"] = (
        _container("text-to-image", _status, _text),
        _why,
    )
for _name, _text in [
    ("image-to-image", "no images"),
    ("upscale", "no images"),
    ("llm", "no choices"),
    ("image-to-text", "no text"),
    ("audio-to-text", "no text"),
    ("segment-anything-2", "no masks, scores and logits"),
]:
    STANDING[f"runner-emptyobj/{_name}"] = (_container(_name, 200, _text), NULL)
STANDING["runner-garbage/llm-stream"] = (
    _container("llm-stream", 200, "this is not json"),
    NULL,
)

STREAMS = ("runner-sseerr/llm-stream", "runner-ssecut/llm-stream")
"""Recorded as cut and as plainly ended; see ``test_a_broken_stream``."""

TIMED = "capacity/"


@pytest.fixture(scope="module")
def cases(ai_kit):
    return {case["case"]: case for case in ai_kit.load("orchestrator-errors")}


def pytest_generate_tests(metafunc):
    if "case_name" in metafunc.fixturenames:
        from pathlib import Path

        path = Path(__file__).parents[1] / "data/ai/orchestrator-errors.json"
        names = [case["case"] for case in json.loads(path.read_text())]
        kept = [n for n in names if n not in STREAMS and not n.startswith(TIMED)]
        metafunc.parametrize("case_name", kept)


class Sender:
    """Sends recorded requests with credentials of our node's."""

    def __init__(self, kit, ai_kit, node):
        self.kit, self.ai_kit, self.node = kit, ai_kit, node
        self.jobs = ai_kit.jobs()

    def send(self, case):
        request = case["request"]
        headers = [
            (name, self.credentials(case, value) if name == "Livepeer-Segment" else value)
            for name, value in request["headers"]
        ]
        return self.kit.over_h1(
            self.node.port, request["method"], request["path"], headers, self.body(case)
        )

    def credentials(self, case, recorded):
        name = case["case"]
        token = self.node.discover(self.kit).auth_token
        if not recorded.startswith(PLACEHOLDER):
            return self._changed(name, recorded, token)
        pipeline = case["request"]["path"].strip("/").partition("?")[0]
        job = self.jobs.get(f"job-{pipeline}") or self.jobs["job-text-to-image"]
        headers = dict(job["gateway_to_orchestrator"]["job"][0]["request"]["headers"])
        return self.ai_kit.credentials(headers["livepeer-segment"], token)

    def _changed(self, name, recorded, token):
        """Repeat the change that was made to the recorded token, on ours."""
        if name in ("segment/empty", "segment/bad-base64", "segment/bad-protobuf"):
            return recorded
        if name == "segment/no-auth-token":
            return recorded
        changed = pb.AuthToken()
        changed.CopyFrom(token)
        if name == "segment/wrong-auth-token":
            changed.token = bytes(32)
        elif name == "segment/changed-expiration":
            changed.expiration += 1
        elif name == "segment/changed-session-id":
            changed.session_id = "ffffffff"
        return self.ai_kit.credentials(recorded, changed)

    def body(self, case):
        body = case["request"]["body"]
        if "text" in body or "hex" in body or not body["length"]:
            return self.ai_kit.body_of(body)
        return self.form(case)

    def form(self, case):
        """The form's parts as the gateway sent them for this pipeline, with the runner's mode."""
        pipeline = case["request"]["path"].strip("/")
        job = self.jobs[f"job-{pipeline}"]["gateway_to_orchestrator"]["job"][0]["request"]
        kind = dict(job["headers"])["content-type"]
        mode = case["case"].removeprefix("runner-").partition("/")[0].encode()
        pieces = []
        for part in self.ai_kit.parts_of(self.ai_kit.body_of(job["body"]), kind):
            named = f'; filename="{part["filename"]}"' if part["filename"] else ""
            head = f'Content-Disposition: form-data; name="{part["name"]}"{named}\r\n\r\n'
            data = bytes.fromhex(part["data"])
            pieces.append(head.encode() + data)
            if part["filename"] and case["case"].startswith("runner-"):
                pieces[-1] += b"\0mode=" + mode + b"\0"  # behind the picture's, the sound's end
        line = b"--podiumvectorboundary"
        return line + b"".join(b"\r\n" + p + b"\r\n" + line for p in pieces) + b"--\r\n"


@pytest.fixture(scope="module")
def sender(kit, ai_kit, ai_node):
    return Sender(kit, ai_kit, ai_node)


def recorded_text(response):
    body = response.get("body")
    if body is None:
        return "".join(chunk["text"] for chunk in response.get("chunks", []))
    return bytes.fromhex(body["hex"]).decode() if "hex" in body else body.get("text", "")


def recorded_view(case):
    response = case.get("response")
    if not response or response.get("status") is None:
        return {"status": None, "text": None}
    return {"status": response["status"], "text": recorded_text(response)}


def comparable(status, text):
    """A good result by its shape: images are in place here and files there."""
    if status != 200 or not text.startswith(("{", "data:")):
        return {"status": status, "text": text}
    if text.startswith("data:"):
        return {"status": 200, "text": f"{text.count('data: ')} events"}
    result = json.loads(text)
    for image in [*(result.get("images") or []), result.get("audio") or {}]:
        image.pop("url", None)
    return {"status": 200, "text": result}


def test_a_recorded_request(kit, sender, cases, tally, case_name):
    case = cases[case_name]
    answer = sender.send(case)
    recorded = recorded_view(case)
    ours = comparable(answer.status, answer.text)
    if recorded["status"] == 200:
        recorded = comparable(200, recorded["text"])
    meant = []
    if case_name in STANDING:
        (status, text), why = STANDING[case_name]
        view = {"status": status, "text": text}
        meant = [(kit.differences(recorded, view), why)]
    kept = {"text", "hex"} & case["request"]["body"].keys() or not case["request"]["body"]["length"]
    number = list(cases).index(case_name)
    found = kit.differences(recorded, ours)
    tally.judge(("orchestrator-errors", number), found, *meant, remade=TOKEN if kept else FORM)


def test_no_standing_difference_is_dead(cases):
    assert set(STANDING) <= set(cases)


@pytest.mark.parametrize("case_name_of_stream", STREAMS)
def test_a_broken_stream(sender, cases, tally, case_name_of_stream):
    """The reference crashes at an error in mid-stream, and says nothing of an early end."""
    case = cases[case_name_of_stream]
    answer = sender.send(case)
    events = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line]
    assert answer.status == 200
    assert answer.header("content-type") == "text/event-stream"
    recorded = recorded_text(case.get("response") or {})
    good = [json.loads(line[6:]) for line in recorded.split("\n\n") if line]
    if good:
        shown = [{k: v for k, v in e["choices"][0].items() if v is not None} for e in events[:-1]]
        assert shown == [e["choices"][0] for e in good]
    assert events[-1]["choices"][0]["finish_reason"] == "error"
    assert events[-1]["error"]["message"].startswith("LLM container returned 200: ")
    number = list(cases).index(case_name_of_stream)
    tally.judge(("orchestrator-errors", number), {"events": 1}, ({"events": 1}, ENDS), remade=TOKEN)


# ---------------------------------------------------------------- capacity


def in_thread(function, *args):
    """Call in a thread; return what waits for the result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*args)))
    thread.start()

    def result():
        thread.join(20)
        return results[0]

    return result


def test_capacity_is_refused_while_it_is_taken_and_given_back(sender, cases, ai_node, tally):
    names = ("first", "second-while-busy", "third-after")
    first, second, third = (cases[f"capacity/{name}"] for name in names)
    runner = ai_node.runner
    runner.gate.clear()
    runner.asked.clear()
    waiting = in_thread(sender.send, first)
    assert runner.asked.wait(10)
    refused = sender.send(second)
    runner.gate.set()
    answers = {"second-while-busy": refused, "first": waiting(), "third-after": sender.send(third)}
    for name, answer in answers.items():
        _judge(cases, tally, f"capacity/{name}", answer)


def _judge(cases, tally, name, answer):
    recorded = recorded_view(cases[name])
    if recorded["status"] == 200:
        recorded = comparable(200, recorded["text"])
    assert comparable(answer.status, answer.text) == recorded
    number = list(cases).index(name)
    tally.judge(("orchestrator-errors", number), {}, remade=TOKEN)


def test_a_client_that_gives_up_frees_its_slot_at_once(kit, sender, cases, ai_node, tally):
    gives_up = cases["capacity/client-gives-up-after-0.5s"]
    runner = ai_node.runner
    runner.gate.clear()
    runner.asked.clear()
    request = gives_up["request"]
    headers = [
        (n.lower(), sender.credentials(gives_up, v) if n == "Livepeer-Segment" else v)
        for n, v in request["headers"]
    ]
    with kit.OverH2(ai_node.port) as client:
        stream = client.connection.get_next_available_stream_id()
        head = [(":method", "POST"), (":scheme", "https"), (":authority", "127.0.0.1")]
        client.connection.send_headers(stream, [*head, (":path", request["path"]), *headers])
        client.connection.send_data(stream, sender.body(gives_up), end_stream=True)
        client.flush()
        assert runner.asked.wait(10)
        client.connection.reset_stream(stream)
        client.flush()
        one = ai_node.wait_until_free(kit, 27, "acme/one")
    runner.gate.set()
    assert one == 1
    for name in ("just-after-client-gave-up", "after-runner-finished"):
        _judge(cases, tally, f"capacity/{name}", sender.send(cases[f"capacity/{name}"]))


# ---------------------------------------------------------------- the runner is gone


def test_a_runner_that_hangs_up(ai_kit, sender, ai_node, tally):
    case = ai_kit.load("runner-connection-errors")[0]
    answer = sender.send(_with_credentials(case))
    recorded = recorded_view(case)
    text = recorded["text"].replace(":23111", f":{ai_node.runner.port}")
    assert (answer.status, answer.text) == (recorded["status"], text)
    tally.judge(("runner-connection-errors", 0), {}, remade=TOKEN)


def test_a_runner_that_is_gone(kit, ai_kit, start_ai, tally):
    case = ai_kit.load("runner-connection-errors")[1]
    own = ai_kit.RecordedRunner()
    thread = own.start()
    url = f"http://127.0.0.1:{own.port}"
    entry = {"pipeline": "text-to-image", "model_id": "acme/drop", "url": url, "warm": True}
    node = start_ai(entries=[entry])
    token = None
    while token is None:
        info = node.discover(kit)
        token = info.auth_token if info.capabilities.constraints.PerCapability else None
    own.stop()
    thread.join(10)
    answer = Sender(kit, ai_kit, node).send(_with_credentials(case))
    recorded = recorded_view(case)
    text = recorded["text"].replace("127.0.0.1:23111", f"127.0.0.1:{own.port}")
    assert (answer.status, answer.text) == (recorded["status"], text)
    tally.judge(("runner-connection-errors", 1), {}, remade=TOKEN)


def _with_credentials(case):
    """The case with a request that names no constraint: the recorded one has only a token."""
    assert base64.b64decode(dict(case["request"]["headers"])["Livepeer-Segment"])
    return {**case, "case": "runner-connection"}
