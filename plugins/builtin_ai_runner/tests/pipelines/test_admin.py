"""The admin routes over executors that do as told; with real ones: tests/e2e/test_ai_admin.py."""

import json

import httpx
import pytest
from attrs import define, field
from podium_ai_runner.admin import Admin
from podium_ai_runner.config import AiConfig
from podium_ai_runner.executors.launcher import StartFailed
from podium_ai_runner.executors.values import Key, Progress, SlotState, SlotStatus
from podium_ai_runner.models import read_catalog
from podium_hookspecs import BadInput, Busy


@define
class Executors:
    error: Exception | None = None
    asked: list = field(factory=list)

    def status(self):
        pulled = Progress("an/image", 1, 2, 30, 60)
        return [SlotStatus("gpu-0", "docker", "0", SlotState.PULLING, "llm", "m", progress=pulled)]

    async def pull(self, key, report=None):
        self.asked.append(("pull", key))
        for done in (0, 1, 500, 1000):
            report(Progress("an/image", 0, 1, done, 1000))
        if self.error:
            raise self.error
        return "an/image"

    def warm(self, key):
        if self.error:
            raise self.error
        self.asked.append(("warm", key))
        return "gpu-0"

    async def evict(self, slot):
        if self.error:
            raise self.error
        self.asked.append(("evict", slot))


@pytest.fixture
def executors():
    return Executors()


@pytest.fixture
async def client(executors):
    catalog = read_catalog(AiConfig(ai_models="llm:m:true"))
    transport = httpx.ASGITransport(Admin(executors, catalog).routes(), root_path="/ai")
    async with httpx.AsyncClient(transport=transport, base_url="http://admin/ai") as client:
        yield client


MODEL = {"pipeline": "llm", "model": "m"}


async def test_slots_and_models_are_shown(client):
    told = (await client.get("/status")).json()
    (slot,) = told["slots"]
    assert (slot["state"], slot["progress"]["bytes_total"]) == ("pulling", 60)
    assert told["models"] == [
        {"pipeline": "llm", "model": "m", "executor": "docker", "warm": True, "capacity": 1}
    ]


async def test_a_pull_tells_how_far_it_is(client, executors):
    reply = await client.post("/pull", json=MODEL)
    assert [json.loads(line) for line in reply.text.splitlines()] == [
        {"image": "an/image", "percent": 0},
        {"image": "an/image", "percent": 50},
        {"image": "an/image", "percent": 100},
        {"done": "an/image"},
    ]
    assert executors.asked == [("pull", Key("llm", "m"))]


async def test_a_pull_that_fails_says_why_in_its_last_line(client, executors):
    executors.error = StartFailed("no such image")
    reply = await client.post("/pull", json=MODEL)
    assert json.loads(reply.text.splitlines()[-1]) == {"error": "no such image"}


@pytest.mark.parametrize(
    ("error", "status"),
    [(BadInput("no such model"), 404), (Busy("at work"), 409), (StartFailed("broken"), 502)],
)
async def test_a_failure_has_its_status(client, executors, error, status):
    executors.error = error
    for path, asked in (("warm", MODEL), ("evict", {"slot": "gpu-0"})):
        reply = await client.post(f"/{path}", json=asked)
        assert (reply.status_code, reply.json()) == (status, {"error": str(error)})
    assert not executors.asked
