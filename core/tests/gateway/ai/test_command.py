"""``podium gateway ai``, as a person types it: a program of its own against a real server."""

import asyncio
import json
import sys
from base64 import b64encode

import pytest
from click.testing import CliRunner
from podium.testing.gateway.cli import gateway

from .conftest import WALLET, Reply


@pytest.fixture
def command(tmp_path):
    async def run(node, *arguments):
        key = tmp_path / "key"
        key.write_text(WALLET.hex())
        program = [sys.executable, "-m", "podium", "gateway", "ai", *arguments]
        program += ["--orch-addr", node.uri, "--key-file", str(key)]
        process = await asyncio.create_subprocess_exec(
            *program,
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    return run


async def test_words_to_the_output_the_bill_beside_it(orchestrators, command, tmp_path, png):
    (tmp_path / "in.png").write_bytes(png)
    node = await orchestrators()
    status, out, err = await command(
        node, "image-to-text", "--model", "acme/see", "--input", "in.png", "--text", "what?"
    )
    assert (status, out) == (0, "hello\n")
    assert "6144 pixels for 18,432 wei, paid with 19 tickets" in err
    assert b"what?" in node.seen[0].body


async def test_files_are_written_and_figures_are_json(orchestrators, command, tmp_path, png):
    node = await orchestrators(models={27: {"acme/draw": True}})
    url = "data:image/png;base64," + b64encode(png).decode()
    node.replies = [Reply(body=json.dumps({"images": [{"url": url}, {"url": url}]}).encode())]
    arguments = ["text-to-image", "--model", "acme/draw", "--text", "a cat", "--set", "width=64"]
    arguments += ["--set", "height=8", "--set", 'loras={"a":1}', "--json", "--output", "out.png"]
    status, out, _ = await command(node, *arguments)
    summary = json.loads(out)
    assert (status, summary["ok"], summary["units"]) == (0, True, 512)
    assert summary["files"] == ["out.png", "out-2.png"]
    assert (tmp_path / "out-2.png").read_bytes() == png
    assert summary["fee_wei"] == "1536"
    assert summary["payments"]["accounts"][0]["key"] == "27_acme/draw"
    assert len(out) < 2000, "without the bytes of the images"
    sent = json.loads(node.seen[0].body)
    assert (sent["width"], sent["loras"], sent["prompt"]) == (64, '{"a":1}', "a cat")


async def test_a_chat_is_shown_as_it_comes(orchestrators, command):
    chunk = '{"choices":[{"delta":{"content":"%s"},"finish_reason":"%s"}]}'
    pieces = tuple(
        f"data: {chunk % each}\n\n".encode() for each in (("Good ", ""), ("day", ""), ("", "stop"))
    )
    node = await orchestrators(replies=[Reply(200, b"", "text/event-stream", pieces)])
    status, out, err = await command(
        node, "llm", "--model", "acme/llm", "--text", "hi", "--stream", "--set", "max_tokens=9"
    )
    assert (status, out) == (0, "Good day\n")
    assert "9 tokens for 27 wei" in err
    assert json.loads(node.seen[0].body)["messages"] == [{"role": "user", "content": "hi"}]


async def test_a_refusal_is_a_sentence_and_exit_code_1(orchestrators, command):
    text = b"text-to-speech container returned 400: Text input must be provided."
    node = await orchestrators(
        models={36: {"acme/say": True}}, replies=[Reply(500, text, "text/plain")]
    )
    status, out, err = await command(node, "text-to-speech", "--model", "acme/say", "--text", "")
    assert (status, out, err) == (1, "", "Error: Text input must be provided.\n")


async def test_a_price_over_the_limit_names_both(orchestrators, command):
    node = await orchestrators()
    status, _, err = await command(
        node, "llm", "--model", "acme/llm", "--text", "hi", "--max-price", "1/2"
    )
    assert status == 1
    assert "its price of 3 wei per token is over the limit of 0.5" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ai", "llm"], "Missing option '--model'"),
        (["ai", "llm", "--model", "m"], "give --orch-addr"),
        (["ai", "song", "--model", "m", "--orch-addr", "h"], "'song' is no pipeline"),
        (["ai", "upscale", "--model", "m", "--orch-addr", "h"], "needs a file: give --input"),
        (["ai", "llm", "--model", "m", "--orch-addr", "h", "--set", "x"], "must be KEY=VALUE"),
        (
            ["ai", "audio-to-text", "--model", "m", "--orch-addr", "h", "--text", "x"],
            "audio-to-text takes no text",
        ),
        (["--live", "ai", "llm", "--model", "m"], "give --live after 'ai'"),
        ([], "Missing option '--input'"),
    ],
)
def test_what_is_missing_is_said(arguments, says):
    done = CliRunner().invoke(gateway, arguments)
    assert done.exit_code != 0
    assert says in done.output
