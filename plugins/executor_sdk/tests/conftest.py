"""A running executor, and an orchestrator's registration side; real sockets, both."""

import asyncio
import contextlib
import socket

import httpx
import podium_executor as sdk
import pytest
import uvicorn
from attrs import define, field
from podium_executor.serve import _Server as Server

SECRET = "orchestrator-secret"


@define(eq=False)
class Orchestrator:
    """Answers registrations as the network's do, and remembers them."""

    statuses: list[int] = field(factory=list)
    calls: list[tuple[str, dict, bytes]] = field(factory=list)
    changed: asyncio.Condition = field(factory=asyncio.Condition)
    uri: str = ""
    secret: str = SECRET

    async def __call__(self, scope, receive, send):
        headers = {k.decode(): v.decode() for k, v in scope["headers"]}
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message.get("more_body"):
                break
        status, text = 200, b"ok"
        if headers.get("authorization") != SECRET:
            status, text = 400, b"invalid authorization\n"
        elif self.statuses:
            status = self.statuses.pop(0)
        async with self.changed:
            self.calls.append((scope["path"], headers, body))
            self.changed.notify_all()
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": text})

    async def heard(self, count, path="/capability/register"):
        """Wait until there were so many calls."""
        async with asyncio.timeout(20), self.changed:
            await self.changed.wait_for(lambda: len(self.of(path)) >= count)
        return self.of(path)

    def of(self, path):
        return [call for call in self.calls if call[0] == path]


@define(eq=False)
class Running:
    """An executor that serves."""

    url: str
    client: httpx.AsyncClient
    stopping: asyncio.Event
    task: asyncio.Task

    async def post(self, path="", **more):
        return await self.client.post(f"{self.url}/{path}", **more)


@pytest.fixture
async def stack():
    async with contextlib.AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def orchestrator(stack):
    made = Orchestrator()
    server = Server(uvicorn.Config(made, lifespan="off", log_config=None))
    listening = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(server.serve([listening]))
    made.uri = f"http://127.0.0.1:{listening.getsockname()[1]}"
    yield made
    server.should_exit = True
    await task


@pytest.fixture
async def start(stack):
    """Serve an executor on a free port."""

    async def start(executor, **settings):
        stopping, address = asyncio.Event(), asyncio.get_running_loop().create_future()
        settings = sdk.Settings(port=0, **settings)
        task = asyncio.create_task(sdk.serve(executor, settings, stopping, address.set_result))

        async def stop():
            stopping.set()
            await asyncio.gather(task, return_exceptions=True)

        stack.push_async_callback(stop)
        await asyncio.wait({task, address}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=20))
        return Running(address.result(), client, stopping, task)

    return start
