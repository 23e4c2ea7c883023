"""A server under test, in a process of its own: ``python -m podium.bench.server KIND``.

``discard`` and ``echo`` are bare apps on the node's listener: the least that anything on this port
can cost. ``hash`` reads a body and takes its Keccak-256, which the protocol asks of every
orchestrator: the least that a segment can cost. ``node`` is the whole node, with a plugin that does
no work and real tickets. ``proxy`` is one whose plugin passes AI jobs to a runner and does no more,
``ai`` is one with the AI plugin.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podium.app import running
from podium.assembly import Overrides
from podium.bench import null
from podium.bench.container import CAPABILITY
from podium.bench.proxy import ProxyPlugin
from podium.bench.runner import MODEL
from podium.config.load import parse_settings
from podium.faces import HASH_THREADS
from podium.listener import make_server, self_signed
from podium.model import MAX_BODY_BYTES
from podium.node import loop_factory
from podium.stores.spool import SpoolBudget, SpooledBody
from podium.web.asgi import read_body
from podium.web.grpc import GrpcApp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from concurrent.futures import Executor

    from podium_hookspecs import AsgiApp

    from podium.web.asgi import Receive, Scope, Send
    from podium.web.grpc import Context

KINDS = ("discard", "hash", "echo", "node", "proxy", "ai", "byoc")
NODE_KEY = "6e" * 32
"""A throwaway private key: the node signs results with it and is paid to its address."""

METHOD = "/net.Orchestrator/GetOrchestrator"
HOST = "127.0.0.1"
AI_CAPACITY = 64
"""Jobs at a time of each model."""

BYOC_CAPACITY = 2000
"""Requests at a time, idle streams among them."""


async def discard(scope: Scope, receive: Receive, send: Send) -> None:
    """Read a body, keep none of it, answer 200."""
    del scope
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def hashing(executor: Executor) -> AsgiApp:
    """Return an app that reads a body and answers with its hash, taken as the node takes it."""
    budget = SpoolBudget(MAX_BODY_BYTES)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        body = SpooledBody(executor, budget, limit_bytes=MAX_BODY_BYTES)
        await read_body(receive, body.write, stall_timeout_s=30)
        digest = await body.keccak256()
        await body.close()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": digest})

    return app


async def echo(request: bytes, _context: Context) -> bytes:
    """Answer a gRPC call with its own message."""
    return request


@asynccontextmanager
async def serving(kind: str, folder: Path, max_sessions: int, runner: str) -> AsyncIterator[int]:
    """Run a server of a kind; yield its port."""
    if kind == "node":
        opened = _node(folder, max_sessions, {"null": {"enabled": True}}, {"null": null})
    elif kind == "proxy":
        plugins = {"proxy": ProxyPlugin(runner)}
        opened = _node(folder, max_sessions, {"proxy": {"enabled": True}}, plugins)
    elif kind == "ai":
        opened = _node(folder, max_sessions, {"ai": ai_options(runner)}, {})
    elif kind == "byoc":
        opened = _node(folder, max_sessions, {"byoc": byoc_options(runner)}, {})
    else:
        opened = _bare(kind, folder)
    async with opened as port:
        yield port


@asynccontextmanager
async def _bare(kind: str, folder: Path) -> AsyncIterator[int]:
    with ThreadPoolExecutor(HASH_THREADS) as executor:
        apps: dict[str, AsgiApp] = {
            "discard": discard,
            "hash": hashing(executor),
            "echo": GrpcApp(unary={METHOD: echo}, stopping=asyncio.Event()),
        }
        server = make_server(apps[kind], HOST, 0, self_signed(folder, HOST))
        server.bind()
        task = asyncio.create_task(server.serve())
        try:
            await server.ready.wait()
            yield server.port
        finally:
            server.stop_now()
            await task


@asynccontextmanager
async def _node(
    folder: Path, max_sessions: int, sections: dict[str, Any], plugins: Mapping[str, object]
) -> AsyncIterator[int]:
    document = {
        "node": {
            "data_dir": str(folder),
            "listen": f"{HOST}:0",
            "admin_listen": f"{HOST}:0",
            "max_sessions": max_sessions,
            "session_idle_s": 3600,
            "log_format": "json",
        },
        "account": {"private_key": NODE_KEY},
        "payments": {"price_per_unit": "1.2", "pixels_per_unit": 1},
        "plugins": sections,
    }
    async with running(parse_settings(document), Overrides(plugins=plugins)) as node:
        yield node.public.port


def ai_options(runner: str) -> dict[str, Any]:
    """Return the AI plugin's section for models behind a runner's URL."""
    common = {"model": MODEL, "url": runner, "warm": True, "capacity": AI_CAPACITY}
    models = [{"pipeline": pipeline, **common} for pipeline in ("llm", "text-to-speech")]
    return {"enabled": True, "models": models}


def byoc_options(url: str) -> dict[str, Any]:
    """Return the BYOC plugin's section for a container."""
    executor = {"name": CAPABILITY, "url": url, "capacity": BYOC_CAPACITY, "price": 1000}
    return {"enabled": True, "executors": [executor]}


async def serve(kind: str, max_sessions: int, runner: str) -> None:
    """Serve until standard input ends or a signal comes; say on standard output where."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(sys.stdin, stop.set)  # the parent writes nothing: this is its end
    with tempfile.TemporaryDirectory(prefix="podium-bench-") as folder:
        async with serving(kind, Path(folder), max_sessions, runner) as port:
            click.echo(json.dumps({"port": port, "pid": os.getpid()}))
            await stop.wait()


@click.command()
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--max-sessions", default=100, help="Sessions of the node.")
@click.option("--runner", default="", help="Base URL of the runner behind the node.")
def main(kind: str, max_sessions: int, runner: str) -> None:
    """Serve one KIND on a free loopback port."""
    with asyncio.Runner(loop_factory=loop_factory()) as loop:
        loop.run(serve(kind, max_sessions, runner))


if __name__ == "__main__":
    main()
