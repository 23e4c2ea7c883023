"""A stand-in for an AI runner that answers at once: ``python -m podium.bench.runner``.

Plain starlette behind uvicorn, as real runners are, so that all that is measured beside it is the
node's. A chat is answered with its own words; a number, spoken, gives audio of so many bytes;
``fail`` and ``wrong`` are refused.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import click
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

HOST = "127.0.0.1"
MODEL = "bench/model"
EVENTS = 3
REFUSALS = {"fail": 500, "wrong": 400}


def _choice(**said: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    choice = {"index": 0, "finish_reason": "", **said}
    return {"id": "1", "model": MODEL, "created": 1, "usage": usage, "choices": [choice]}


async def _health(_request: Request) -> Response:
    return JSONResponse({"status": "OK"})


async def _version(_request: Request) -> Response:
    return JSONResponse({"pipeline": "llm", "model_id": MODEL, "version": "0.14.1"})


async def _hardware(_request: Request) -> Response:
    return JSONResponse({"pipeline": "llm", "model_id": MODEL, "gpu_info": {}})


def _refusal(text: str) -> Response | None:
    """Return what a text that asks for trouble gets."""
    status = REFUSALS.get(text)
    if status is None:
        return None
    return JSONResponse({"detail": {"msg": "as asked"}}, status_code=status)


async def _llm(request: Request) -> Response:
    asked = json.loads(await request.body())
    said = asked["messages"][-1]["content"]
    if refusal := _refusal(said):
        return refusal
    if asked.get("stream"):
        return StreamingResponse(_events(), media_type="text/event-stream")
    message = {"role": "assistant", "content": said}
    return JSONResponse(_choice(finish_reason="stop", message=message))


async def _events() -> AsyncIterator[bytes]:
    for number in range(EVENTS):
        last = number == EVENTS - 1
        delta = {"role": "assistant", "content": "" if last else "hello "}
        said = _choice(finish_reason="stop" if last else "", delta=delta)
        yield b"data: " + json.dumps(said).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


async def _text_to_speech(request: Request) -> Response:
    text = json.loads(await request.body())["text"]
    if refusal := _refusal(text):
        return refusal
    size = int(text) if text.isdigit() else 44
    audio = await asyncio.to_thread(_wav, size)
    return JSONResponse({"audio": {"url": "data:audio/wav;base64," + audio}})


def _wav(size: int) -> str:
    """Return silence of 16 kHz, 16 bit, mono, with a correct header, in base64."""
    data = max(0, size - 44)
    numbers = (
        (36 + data).to_bytes(4, "little"),
        b"WAVEfmt ",
        (16).to_bytes(4, "little"),
        (1).to_bytes(2, "little") * 2,
        (16000).to_bytes(4, "little") + (32000).to_bytes(4, "little"),
        (2).to_bytes(2, "little") + (16).to_bytes(2, "little"),
        b"data" + data.to_bytes(4, "little"),
    )
    return b64encode(b"RIFF" + b"".join(numbers) + bytes(data)).decode()


APP = Starlette(
    routes=[
        Route("/health", _health),
        Route("/version", _version),
        Route("/hardware/info", _hardware),
        Route("/llm", _llm, methods=["POST"]),
        Route("/text-to-speech", _text_to_speech, methods=["POST"]),
    ]
)


async def serve(app: Any) -> None:
    """Serve until standard input ends; say on standard output where."""
    config = uvicorn.Config(app, host=HOST, port=0, log_level="error", access_log=False)
    config.timeout_keep_alive = 60  # longer than what goes on elsewhere between two rounds
    server = uvicorn.Server(config)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.remove_reader(sys.stdin)
        server.should_exit = True

    loop.add_reader(sys.stdin, stop)  # the parent writes nothing: this is its end
    task = asyncio.create_task(server.serve())
    while not server.started and not task.done():  # noqa: ASYNC110  uvicorn gives no event
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    click.echo(json.dumps({"port": port, "pid": os.getpid()}))
    await task


if __name__ == "__main__":
    asyncio.run(serve(APP))
