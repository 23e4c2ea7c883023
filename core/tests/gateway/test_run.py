"""Whole streams through real nodes: files on disk, figures, failures, Ctrl-C."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from podium.testing.gateway.cli import gateway as command
from podium.testing.gateway.client import GatewayClient
from podium.testing.gateway.errors import InputError, NoOrchestrator
from podium.testing.gateway.report import Tally, figures, summarise
from podium.testing.gateway.room import MARK, make_room
from podium.testing.gateway.run import StreamRun
from podium.testing.gateway.transport import Http
from podium_hookspecs import BadInput


async def test_a_stream_ends_up_on_disk(podium_app, gateway, echo, paid, clip, tmp_path):
    app = podium_app(paid, {"transcode": echo})
    out = tmp_path / "out"
    told = []
    run = StreamRun(
        gateway(app.uri),
        clip,
        out,
        segment_s=4.0,
        parallel=2,
        progress=lambda t: told.append(len(t.outcomes)),
    )
    summary = await run.run()
    assert told == [1, 2, 3, 4]
    assert summary["ok"]
    assert summary["segments"]["done"] == 4
    assert summary["duration_s"] == 15.92
    assert summary["checks"] == {
        "signatures_verified": 4,
        "renditions_decoded": 4,
        "pixel_counts_equal": 4,
    }
    assert summary["renditions"][0]["pixels"] == 398 * 1280 * 720
    assert json.loads((out / "summary.json").read_text()) == summary
    page = (out / "index.html").read_text()
    assert "bigbuckbunny.mp4" in page
    assert not re.search(r"https?://(?!localhost:8000)", page), "the page needs no network"
    assert "<!--" not in page
    assert (out / "player" / "LICENSE-hls.js.txt").is_file()
    assert (out / "preview.mp4").is_file()
    assert len(app.node.sessions) == 0


async def test_a_failed_segment_is_told_and_skipped(podium_app, gateway, echo, clip, tmp_path):
    async def refuse_second(job, chunks):
        if job == 2:
            raise BadInput("TranscoderInvalidVideo", public="TranscoderInvalidVideo")
        return chunks

    echo.worker.bend = refuse_second
    app = podium_app({}, {"transcode": echo})
    summary = await StreamRun(gateway(app.uri), clip, tmp_path / "out", segment_s=4.0).run()
    assert not summary["ok"]
    assert summary["failures"] == [{"seq": 1, "reason": "TranscoderInvalidVideo"}]
    text = (tmp_path / "out" / "P144p30fps16x9" / "index.m3u8").read_text()
    assert "0.ts\n#EXT-X-DISCONTINUITY\n" in text


async def test_live_pacing(podium_app, gateway, echo, clip, tmp_path):
    app = podium_app({}, {"transcode": echo})
    run = StreamRun(gateway(app.uri), clip, tmp_path / "out", live=True)
    task = asyncio.create_task(run.run())
    await asyncio.sleep(2.8)
    sent = echo.worker.jobs
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sent == 2, "one at once, the next after 2 s"
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["interrupted"]
    assert not summary["ok"]
    assert "ENDLIST" in (tmp_path / "out" / "P144p30fps16x9" / "index.m3u8").read_text()
    assert len(app.node.sessions) == 0, "the session was ended"


async def test_errors_come_out_plain(gateway, clip, tmp_path):
    with pytest.raises(NoOrchestrator):
        await StreamRun(gateway("127.0.0.1:1"), clip, tmp_path / "out").run()
    with pytest.raises(InputError):
        await StreamRun(gateway("127.0.0.1:1"), tmp_path / "none", tmp_path / "out").run()


async def test_nothing_is_written_when_nothing_can_be_done(gateway, clip, tmp_path):
    out = tmp_path / "out"
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    empty = tmp_path / "empty"
    empty.mkdir()
    for source, says in ((text, "text.mp4 cannot be read"), (empty, f"folder {empty} names no")):
        with pytest.raises(InputError, match=says):
            await StreamRun(gateway("127.0.0.1:1"), source, out).run()
    with pytest.raises(NoOrchestrator):
        await StreamRun(gateway("127.0.0.1:1"), clip, out).run()
    assert not out.exists()


async def test_an_orchestrator_that_goes_away(podium_app, gateway, echo, clip, tmp_path):
    app = podium_app({}, {"transcode": echo})
    out = tmp_path / "out"

    def leave(tally):
        if len(tally.outcomes) == 2:
            app.stop()

    run = StreamRun(gateway(app.uri), clip, out, segment_s=4.0, progress=leave)
    summary = await run.run()
    assert not summary["ok"]
    assert summary["segments"]["done"] == 2
    assert summary["problems"] == ["the stream ended early: no orchestrator is left"]
    assert "is the node running?" in summary["failures"][0]["reason"]
    assert json.loads((out / "summary.json").read_text()) == summary
    assert "ENDLIST" in (out / "P144p30fps16x9" / "index.m3u8").read_text()


class CancelledOnce(Http):
    """Its first segment ends as when a library cancels its own work."""

    first = True

    async def segment(self, *arguments):
        if self.first:
            self.first = False
            raise asyncio.CancelledError
        return await super().segment(*arguments)


async def test_a_segment_whose_connection_was_cancelled_does_not_vanish(
    podium_app, gateway, echo, clip, tmp_path
):
    app = podium_app({}, {"transcode": echo})
    run = StreamRun(gateway(app.uri), clip, tmp_path / "out", segment_s=8.0)
    run.client.http = CancelledOnce()
    summary = await run.run()
    assert [each["seq"] for each in summary["failures"]] == [0]
    assert summary["segments"]["done"] == 1
    assert not summary["interrupted"]


def test_room_is_made_only_where_a_result_was(tmp_path):
    out = tmp_path / "out"
    make_room(out)
    make_room(out)
    (out / "P144").mkdir()
    (out / "P144" / "0.ts").write_bytes(b"")
    (out / "summary.json.tmp").write_text("")
    make_room(out)
    assert [path.name for path in out.iterdir()] == [MARK]
    (out / "precious.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        make_room(out)
    assert (out / "precious.txt").exists()


def test_a_negative_balance_is_owed():
    tally = Tally()
    summary = summarise("x", tally, GatewayClient(()), [])
    summary["payments"]["balance_wei"] = "-5"
    summary["segments"]["done"] = 1
    said = dict(figures(summary))
    assert said["Owed for the last segment"] == "5 wei"
    assert said["Video"] == "0.00 s in 1 segment"


def call(*arguments, key=None):
    return CliRunner().invoke(command, [str(a) for a in arguments], env={"PODIUM_GATEWAY_KEY": key})


def test_command(podium_app, echo, paid, clip, tmp_path):
    app = podium_app(paid, {"transcode": echo})
    key = tmp_path / "key"
    key.write_text("0x" + "67" * 32 + "\n")
    arguments = ("--orch-addr", app.uri, "--input", clip, "--profiles", "P144p30fps16x9")
    arguments += ("--segment-seconds", 4, "--key-file", key, "--out", tmp_path / "out")
    done = call(*arguments)
    assert done.exit_code == 0, done.output
    assert "Real-time factor" in done.stdout
    assert "Tickets sent" in done.stdout
    done = call(*arguments, "--json")
    assert json.loads(done.stdout)["ok"]


def test_command_on_failure(podium_app, echo, paid, clip, tmp_path):
    async def refuse(job, chunks):
        raise BadInput("TranscoderInvalidVideo", public="TranscoderInvalidVideo")

    echo.worker.bend = refuse
    app = podium_app({}, {"transcode": echo})
    done = call(
        "--orch-addr",
        app.uri,
        "--input",
        clip,
        "--segment-seconds",
        8,
        "--out",
        tmp_path / "out",
        key="67" * 32,
    )
    assert done.exit_code == 1
    assert "segment 0 failed: TranscoderInvalidVideo" in done.stdout


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ((), "give --orch-addr or --orch-webhook"),
        (
            ("--orch-addr", "127.0.0.1:1", "--profiles", "P1"),
            "'P1' is neither a preset nor a JSON file",
        ),
        (("--orch-addr", "127.0.0.1:1"), "127.0.0.1:1 cannot be reached"),
        (("--orch-addr", "127.0.0.1:x"), "is not an orchestrator's address"),
        (("--orch-addr", "127.0.0.1:1", "--max-price", "cheap"), "'cheap' is not a number of wei"),
        (("--orch-addr", "127.0.0.1:1", "--max-price", "-1"), "'-1' is negative"),
    ],
)
def test_command_says_what_is_wrong(clip, tmp_path, more, sentence):
    done = call("--input", clip, "--out", tmp_path / "out", *more)
    assert done.exit_code != 0
    assert sentence in done.output
    assert "Traceback" not in done.output


def test_command_with_a_bad_key(clip, tmp_path):
    done = call("--input", clip, "--out", tmp_path / "o", "--orch-addr", "127.0.0.1:1", key="0xabc")
    assert "PODIUM_GATEWAY_KEY must hold a private key" in done.output
    key = tmp_path / "key"
    key.write_text("00" * 32)
    done = call(
        "--input", clip, "--out", tmp_path / "o", "--orch-addr", "127.0.0.1:1", "--key-file", key
    )
    assert "must hold a private key" in done.output
    done = call("--input", clip, "--orch-addr", "127.0.0.1:1", "--key-file", tmp_path / "none")
    assert done.output == f"Error: the key file {tmp_path / 'none'} cannot be read: " + (
        "No such file or directory\n"
    )


def test_command_says_stopped_only_after_a_signal(clip, tmp_path, monkeypatch):
    async def broken(run):
        raise asyncio.CancelledError

    monkeypatch.setattr(StreamRun, "run", broken)
    done = call("--input", clip, "--orch-addr", "127.0.0.1:1", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert done.output.startswith("Error: the run broke off by itself")


def test_command_without_a_key(podium_app, echo, paid, clip, tmp_path):
    app = podium_app(paid, {"transcode": echo})
    done = call("--input", clip, "--orch-addr", app.uri, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "give --key-file or PODIUM_GATEWAY_KEY" in done.output


def test_ctrl_c_ends_the_session(podium_app, echo, clip, tmp_path):
    app = podium_app({}, {"transcode": echo})
    arguments = [
        "--orch-addr",
        app.uri,
        "--input",
        str(clip),
        "--live",
        "--out",
        str(tmp_path / "out"),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "podium", "gateway", *arguments],
        env={**os.environ, "PODIUM_GATEWAY_KEY": "67" * 32},
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 20
    while not (tmp_path / "out" / "master.m3u8").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"the session is ended" in errors
    assert b"Traceback" not in errors
    assert len(app.node.sessions) == 0
    assert "ENDLIST" in (tmp_path / "out" / "P240p30fps16x9" / "index.m3u8").read_text()
