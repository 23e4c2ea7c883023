"""The AI demo's parts: its books, its page, its choice of where models run."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from podium.demo import ai_executor
from podium.demo.ai import demo_ai
from podium.demo.ai_executor import Executor, choose, engine_trouble
from podium.demo.ai_inputs import draw
from podium.demo.ai_page import write_page
from podium.demo.ai_result import OURS, conclude
from podium.demo.books import differences
from podium.demo.errors import DemoError
from podium.testing.gateway.ai.measure import image_pixels
from podium.testing.gateway.errors import InputError
from podium.testing.gateway.room import check_room, make_room


def account(key="34_m", session="s1", **changes):
    made = {"key": key, "session_id": session, "tickets": 2, "credited": "10", "debited": "7"}
    return {**made, "unconfirmed": "0", "unsettled": 0, **changes}


def entry(key="34_m", **changes):
    made = {"sender": "0xAb", "key": key, "tickets": 2, "credited": "10", "debited": "7"}
    return {**made, "winners": 1, **changes}


def books(*accounts):
    return {"payments": {"sender": "0xaB", "accounts": list(accounts)}}


def test_accounts_of_one_model_are_one_account_of_the_node():
    two = books(account(), account(session="s2", credited="5/3", debited="1", tickets=1))
    assert differences(two, [entry(credited="35/3", debited="8", tickets=3)]) == []
    assert differences(two, [entry(credited="35/3", debited="8")]) == [
        "session 34_m: tickets 3 at the Gateway, 2 at the node"
    ]


@pytest.mark.parametrize(
    ("credited", "tickets", "equal"),
    [("10", 2, True), ("12", 3, True), ("13", 4, True), ("14", 4, False), ("9", 2, False)],
)
def test_tickets_of_a_refused_payment_may_have_been_credited(credited, tickets, equal):
    mine = books(account(unconfirmed="3"))
    assert (differences(mine, [entry(credited=credited, tickets=tickets)]) == []) is equal


def job(**changes):
    made = {
        "ok": True,
        "pipeline": "image-to-text",
        "model": "m",
        "status": 200,
        "text": "it <reads>",
        "files": [],
        "units": 7,
        "unit": "pixel",
        "fee_wei": "7",
        "tickets": 2,
        "seconds": 0.5,
        "input": {"file": "picture.png", "text": "it <draws>"},
        "payments": books(account())["payments"],
    }
    return made | changes


def concluded(jobs=None, entries=None, **changes):
    executor = Executor("process", "", "No containers: none.")
    given = {"winners": 1, "clean_stop": True, **changes}
    return conclude(jobs or [job()], entries or [entry()], executor, **given)


def test_a_good_demo(tmp_path):
    summary = concluded()
    assert summary["ok"]
    assert summary["checks"]["ledger_equal"]
    assert summary["executor"]["kind"] == "process"
    assert summary["payments"]["winners_stored"] == 1
    write_page(tmp_path, summary)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    page = (tmp_path / "index.html").read_text()
    assert '<img src="picture.png"' in page
    assert "it &lt;reads&gt;" in page
    assert "it &lt;draws&gt;" in page
    assert "http" not in page


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"entries": [entry(debited="8")]}, "debited 7 at the Gateway, 8 at the node"),
        ({"winners": 0}, "1 tickets won, 0 are in the node's database"),
        ({"clean_stop": False}, "did not stop by itself"),
        (
            {"jobs": [job(ok=False, error="it is gone")]},
            "image-to-text failed: it is gone",
        ),
    ],
)
def test_what_is_wrong_is_told(given, says, tmp_path):
    summary = concluded(**given)
    assert not summary["ok"]
    assert any(says in line for line in summary["problems"])
    write_page(tmp_path, summary)
    assert "Problems" in (tmp_path / "index.html").read_text()


def test_the_picture_is_drawn():
    short, long = draw("Hi"), draw("many words " * 20)
    assert image_pixels(long) > image_pixels(short) > 2000


@pytest.fixture
async def engine(tmp_path, monkeypatch):
    """A server on a socket that answers as a container engine does, with a status."""

    async def start(status):
        async def answer(reader, writer):
            head = await reader.readuntil(b"\r\n\r\n")
            asked.append(head.split()[1].decode())
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n{}" % status)
            await writer.drain()
            writer.close()

        path = str(tmp_path / "engine.sock")
        servers.append(await asyncio.start_unix_server(answer, path))
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        return asked

    asked, servers = [], []
    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


async def test_containers_where_the_engine_has_the_image(engine):
    asked = await engine(200)
    chosen = await asyncio.to_thread(choose, "auto", "mine:1")
    assert (chosen.kind, chosen.note) == ("docker", "")
    assert chosen.options == 'image = "mine:1"'
    assert asked == ["/images/mine%3A1/json"]


async def test_an_engine_without_the_image(engine):
    await engine(404)
    assert await asyncio.to_thread(engine_trouble, "mine:1") == "the engine has no image mine:1"
    with pytest.raises(DemoError, match="no image mine:1"):
        await asyncio.to_thread(choose, "docker", "mine:1")


def test_no_engine(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path / 'none.sock'}")
    assert "no container engine answers at" in engine_trouble("mine:1")
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:1")
    assert engine_trouble("mine:1") == "DOCKER_HOST names no local socket"


@pytest.mark.parametrize("missing", ["runner", "speech"])
def test_what_processes_need_is_said(monkeypatch, missing):
    name = "no_such_package" if missing == "runner" else "json"
    monkeypatch.setattr(ai_executor, "RUNNER", name)
    monkeypatch.setattr(ai_executor, "SPEECH_PROGRAM", "no-such-program")
    says = "podium-ai-runner-cpu" if missing == "runner" else "apt-get install no-such-program"
    with pytest.raises(DemoError, match=says):
        choose("process")


def test_results_of_two_demos_lie_side_by_side(tmp_path):
    out = tmp_path / "demo-out"
    make_room(out / "ai", OURS)
    (out / "ai" / "speech.wav").write_bytes(b"x")
    make_room(out)
    (out / "P240p").mkdir()
    (out / "P240p" / "0.ts").write_bytes(b"x")
    make_room(out)
    assert sorted(path.name for path in out.iterdir()) == [".podium-output", "ai"]
    assert (out / "ai" / "speech.wav").exists()
    make_room(out / "ai", OURS)
    assert not (out / "ai" / "speech.wav").exists()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "speech.wav").write_bytes(b"mine")
    with pytest.raises(InputError, match="holds something else"):
        check_room(tmp_path, OURS)
    result = CliRunner().invoke(demo_ai, ["--out", str(tmp_path), "--executor", "process"])
    assert result.exit_code == 1
    assert Path(tmp_path / "speech.wav").read_bytes() == b"mine"
