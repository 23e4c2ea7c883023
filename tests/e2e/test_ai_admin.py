"""``podium ai`` against a real node that runs a real process for each model."""

import json
import sys
import threading
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from podium.cli import cli
from podium.testing.node import PodiumApp, node_document

RUNNER = Path(__file__).parents[2] / "plugins/builtin_ai_runner/tests/executors/fake_runner.py"
READY_S = 30.0


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A node with a warm and a cold model, each in a process."""
    model = {"pipeline": "llm", "executor": "process"}
    plugin = {
        "enabled": True,
        "gpus": ["none"],
        "process_command": [sys.executable, str(RUNNER), "{port}"],
        "models": [
            {**model, "model": "acme/warm", "warm": True},
            {**model, "model": "acme/cold"},
        ],
    }
    document = node_document(tmp_path_factory.mktemp("ai"), {"plugins": {"ai": plugin}})
    del document["account"]
    app = PodiumApp.start(document)
    yield app
    app.stop()


@pytest.fixture
def ai(node):
    """Run ``podium ai`` with the node's admin port."""

    def run(*args):
        return CliRunner().invoke(cli, ["ai", *args, "--admin", node.admin_uri])

    return run


def slots(ai):
    found = ai("status", "--json")
    assert found.exit_code == 0, found.output
    return {slot["model"] or slot["slot"]: slot for slot in json.loads(found.output)["slots"]}


def wait_for(ai, true):
    pause = threading.Event()
    for _ in range(int(READY_S / 0.1)):
        found = slots(ai)
        if true(found):
            return found
        pause.wait(0.1)
    raise AssertionError(found)


def test_what_runs_is_shown(ai):
    wait_for(ai, lambda s: s.get("acme/warm", {}).get("state") == "ok")
    shown = ai("status")
    assert shown.exit_code == 0, shown.output
    assert "acme/warm" in shown.output
    assert "acme/cold: process, on demand" in shown.output


def test_a_model_is_loaded_and_dropped(ai):
    loaded = ai("warm", "llm", "acme/cold")
    assert loaded.exit_code == 0, loaded.output
    assert "acme/cold answers in " in loaded.output
    slot = slots(ai)["acme/cold"]
    assert (slot["state"], slot["executor"], slot["warm"]) == ("ok", "process", False)
    dropped = ai("evict", slot["slot"])
    assert dropped.exit_code == 0, dropped.output
    wait_for(ai, lambda s: "acme/cold" not in s)


def test_a_warm_model_comes_back(ai):
    name = wait_for(ai, lambda s: s.get("acme/warm", {}).get("state") == "ok")["acme/warm"]["slot"]
    assert ai("evict", name).exit_code == 0
    wait_for(ai, lambda s: s.get("acme/warm", {}).get("state") == "ok")


def test_there_is_nothing_to_pull_for_a_process(ai):
    pulled = ai("pull", "llm", "acme/cold")
    assert pulled.exit_code == 0, pulled.output
    assert pulled.output == "nothing to fetch: here\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("warm", "llm", "acme/nope"), "is not among the models of this node"),
        (("pull", "llm", "acme/nope"), "is not among the models of this node"),
        (("evict", "nowhere"), "there is no slot nowhere"),
    ],
)
def test_what_is_not_there_is_said(ai, words, text):
    refused = ai(*words)
    assert refused.exit_code == 1
    assert text in refused.output


def test_a_node_that_does_not_answer_is_said(unused_tcp_port):
    where = f"127.0.0.1:{unused_tcp_port}"
    refused = CliRunner().invoke(cli, ["ai", "status", "--admin", where])
    assert refused.exit_code == 1
    assert f"no node with the plugin ai answers at http://{where}" in refused.output


def test_the_configuration_names_the_port(tmp_path, unused_tcp_port):
    path = tmp_path / "podium.toml"
    path.write_text(f'version = 1\n[node]\nadmin_listen = "127.0.0.1:{unused_tcp_port}"\n')
    refused = CliRunner().invoke(cli, ["ai", "status", "-c", str(path)])
    assert refused.exit_code == 1
    assert f"127.0.0.1:{unused_tcp_port}" in refused.output


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"content": b'{"slot": "x"}', "headers": {"content-type": "text/plain"}}, 400),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400),
        ({"json": ["x"]}, 400),
        ({"json": {"slot": 5}}, 400),
        ({"json": {}}, 400),
        ({"json": {"slot": "x" * 70_000}}, 400),
        ({"json": {"slot": "nowhere"}}, 404),
    ],
)
def test_a_wrong_request_is_refused(node, request_, status):
    with httpx.Client(trust_env=False) as client:
        reply = client.post(f"{node.admin_uri}/ai/evict", **request_)
        assert reply.status_code == status
        assert reply.json()["error"]
        assert client.get(f"{node.admin_uri}/ai/evict").status_code == 405


def test_the_pages_are_public(node):
    with httpx.Client(verify=False, trust_env=False) as client:
        document = client.get(f"{node.uri}/ai/openapi.json").json()
        assert document["servers"] == [{"url": node.uri}]
        assert "/text-to-speech" in client.get(f"{node.uri}/ai/docs").text
        assert client.get(f"{node.uri}/ai/status").status_code == 404
