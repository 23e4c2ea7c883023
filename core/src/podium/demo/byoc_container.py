"""The demo's container: plain HTTP, knows nothing of Livepeer but where to register.

It registers as pytrickle's helper does: one POST with the node's secret, tried three times.
``python -m podium.demo.byoc_container`` reads the same environment as that helper.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

TRIES = 3
PAUSE_S = 2.0
TIMEOUT_S = 1.5
STEP_S = 0.3
SECRET_WRONG = 400


async def _health(_request: Request) -> Response:
    return JSONResponse({"status": "OK"})


async def _shout(request: Request) -> Response:
    said = json.loads(await request.body())["text"]
    return JSONResponse({"text": said.upper()}, headers={"X-Metadata": '{"letters": "large"}'})


async def _spell(request: Request) -> Response:
    said = json.loads(await request.body())["text"]

    async def words() -> AsyncIterator[bytes]:
        for word in said.split():
            yield f"data: {json.dumps({'word': word})}\n\n".encode()
            await asyncio.sleep(STEP_S)
        yield b"data: [DONE]\n\n"

    return StreamingResponse(words(), media_type="text/event-stream")


APP = Starlette(
    routes=[
        Route("/health", _health),
        Route("/shout", _shout, methods=["POST"]),
        Route("/spell", _spell, methods=["POST"]),
    ]
)


def registration(environ: dict[str, str], url: str) -> dict[str, Any]:
    """Return what is posted to the node."""
    return {
        "url": environ.get("CAPABILITY_URL", url),
        "name": environ["CAPABILITY_NAME"],
        "description": environ.get("CAPABILITY_DESCRIPTION", ""),
        "capacity": int(environ.get("CAPABILITY_CAPACITY", "1")),
        "price_per_unit": int(environ.get("CAPABILITY_PRICE_PER_UNIT", "0")),
        "price_scaling": int(environ.get("CAPABILITY_PRICE_SCALING", "1")),
    }


async def register(environ: dict[str, str], url: str) -> bool:
    """Register at the node; whether that worked."""
    address = f"{environ['ORCH_URL']}/capability/register"
    headers = {"Authorization": environ["ORCH_SECRET"], "Content-Type": "application/json"}
    fields = registration(environ, url)
    async with httpx.AsyncClient(verify=False, trust_env=False, timeout=TIMEOUT_S) as client:
        for number in range(TRIES):
            if number:
                await asyncio.sleep(PAUSE_S)
            try:
                reply = await client.post(address, headers=headers, json=fields)
            except httpx.HTTPError:
                continue
            if reply.status_code in (httpx.codes.OK, SECRET_WRONG):
                return reply.status_code == httpx.codes.OK
    return False


async def main() -> int:
    """Serve on a free loopback port, register, and serve until told to stop."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(APP, log_level="warning"))
        serving = asyncio.create_task(server.serve([listening]))
        if await register(dict(os.environ), url):
            await serving
            return 0
        server.should_exit = True
        await serving
        return 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
