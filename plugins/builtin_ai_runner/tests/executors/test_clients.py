"""What a gateway gets when a container fails under its job: by a real node, from a real engine."""

import asyncio
import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from attrs import define
from podium.testing.gateway.transport import Rpc
from podium.testing.node import PodiumApp, node_document
from podium.wire.pb import lp_rpc_pb2 as pb

READY_S = 30.0
BAD = {
    "exits": {"FAKE_EXIT": "5"},
    "error": {"FAKE_HEALTH": "ERROR"},
    "garbage": {"FAKE_HEALTH": "garbage"},
    "slow": {"FAKE_HEALTH": "slow"},
    "endless": {"FAKE_HEALTH": "endless"},
    "loading": {"FAKE_HEALTH": "LOADING"},
    "silent": {"FAKE_START_S": "60"},
}


@define
class Client:
    """A gateway's side of AI jobs, without its retries."""

    app: PodiumApp
    folder: Path

    def info(self):
        async def ask():
            rpc = Rpc()
            try:
                return await rpc.get_orchestrator(
                    self.app.uri, pb.OrchestratorRequest(address=bytes(20)), READY_S
                )
            finally:
                await rpc.close()

        return asyncio.run(ask())

    def models(self):
        """What is advertised under llm, with its free capacity."""
        limits = self.info().capabilities.constraints.PerCapability
        return {name: c.capacity for name, c in limits[33].models.items()} if 33 in limits else {}

    def chat(self, what, model="good"):
        """Send one job; return status and text."""
        header = pb.SegData(manifestId=b"33_" + model.encode(), auth_token=self.info().auth_token)
        body = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": what}]}
        answer = httpx.post(
            f"{self.app.uri}/llm",
            json=body,
            headers={"Livepeer-Segment": base64.b64encode(header.SerializeToString()).decode()},
            verify=False,
            timeout=60,
        )
        return answer.status_code, answer.text.strip()

    def pid(self, model="good"):
        """Run a good job; return the process id that the runner answers with."""
        status, text = self.chat("echo", model)
        assert status == 200, text
        return json.loads(text)["choices"][0]["message"]["content"]

    def wait(self, model="good"):
        """Wait until a model is advertised with a free place."""
        limit_s = time.monotonic() + READY_S
        while not self.models().get(model):
            assert time.monotonic() < limit_s, self.models()
            time.sleep(0.05)
        return self


@pytest.fixture(scope="module")
def start(kit, tmp_path_factory):
    """Start a node with these models and this section."""
    started = []

    def make(*models, **section):
        folder = tmp_path_factory.mktemp("node")
        ai = {"enabled": True, "models": list(models), "gpus": ["none"], "queue_timeout_s": 20.0}
        document = node_document(folder, {"plugins": {"ai": {**ai, **section}}})
        del document["account"]
        started.append(PodiumApp.start(document))
        return Client(started[-1], folder)

    yield make
    for app in started:
        app.stop()


@pytest.fixture(scope="module")
def client(start, image):
    model = {"pipeline": "llm", "model": "good", "image": image}
    bad = [{**model, "model": name, "optimization_flags": BAD[name]} for name in BAD]
    found = start(
        model,
        *bad,
        run_timeout_s=3.0,
        queue_timeout_s=2.0,
        start_timeout_s=2.0,
        limits={"memory_mb": 96, "pids": 64},
        containers={"pull": False},
    )
    return found.wait()


def mine(kit, client):
    (mark,) = client.folder.rglob("creator")
    return kit.containers(f"creator_id={mark.read_text()}")


def test_a_container_killed_under_a_job_costs_the_client_only_time(kit, client):
    first = client.pid()
    (container,) = mine(kit, client)
    with ThreadPoolExecutor() as threads:
        job = threads.submit(client.chat, "slow:1")
        time.sleep(0.5)  # into the request
        kit.docker("kill", "--signal", "KILL", container)
        status, text = job.result(30)
    assert status == 200, text  # the node gave it to the runner that took the place
    assert container not in mine(kit, client)
    assert first
    assert client.wait().models()["good"] == 1


@pytest.mark.parametrize(
    ("deed", "status", "says"),
    [
        ("kill", 500, '/llm": EOF'),
        ("closed", 500, '/llm": EOF'),
        ("garbage", 500, '/llm": malformed HTTP response'),
        ("oom:500", 500, "EOF"),
        ("endless", 500, "LLM container returned 200: over"),
        ("slow:60", 500, "longer"),
    ],
)
def test_a_job_that_breaks_its_runner(kit, client, deed, status, says):
    client.pid()
    got = client.chat(deed)
    assert got[0] == status
    assert says in got[1]
    assert client.pid()
    assert client.wait().models()["good"] == 1
    assert len(mine(kit, client)) == 1


@pytest.mark.parametrize("model", BAD)
def test_a_model_whose_container_never_becomes_ready(kit, client, model):
    status, text = client.chat("echo", model)
    assert status in (500, 503)
    assert text == "insufficient capacity"  # gateways go on to the next orchestrator
    began = time.monotonic()
    assert client.chat("echo", model)[1] == "insufficient capacity"
    assert time.monotonic() - began < 10
    assert client.pid()
    assert len(mine(kit, client)) == 1


def test_a_missing_image(start, image):
    client = start(
        {"pipeline": "llm", "model": "none", "image": "podium/none:1"},
        {"pipeline": "llm", "model": "good", "image": image},
        containers={"pull": False},
    ).wait()
    assert client.chat("echo", "none")[1] == "insufficient capacity"
    assert client.pid()


def test_without_an_engine_nothing_is_advertised(start):
    client = start(
        {"pipeline": "llm", "model": "good"}, containers={"docker_host": "unix:///nowhere/s"}
    )
    assert client.models() == {}
    assert client.chat("echo") == (503, "insufficient capacity")


def test_two_models_share_a_place_under_load(start, image):
    client = start(
        *({"pipeline": "llm", "model": name, "image": image} for name in "ab"),
        containers={"pull": False},
        queue_timeout_s=60.0,
    ).wait("a")
    with ThreadPoolExecutor(8) as threads:
        models = [("a", "b")[number % 2] for number in range(8)]
        answers = list(threads.map(lambda model: client.chat("echo", model), models))
    assert [json.loads(text)["model"] for status, text in answers] == models


def test_no_container_outlives_its_node(kit, start, image):
    client = start(
        {"pipeline": "llm", "model": "good", "image": image, "warm": True},
        containers={"pull": False},
    ).wait()
    assert len(mine(kit, client)) == 1
    client.app.stop()
    assert mine(kit, client) == []
