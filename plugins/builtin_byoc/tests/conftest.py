"""The plugin on a real node, a container behind it, and whoever registers it."""

import asyncio
import contextlib
import json

import httpx
import pytest
from podium.app import running
from podium.config.load import parse_settings
from podium.testing.container import Container, serving
from podium.testing.node import node_document
from podium.wire.byoc import JobRequest, encode_job
from podium_hookspecs import JobFinished

SECRET = "s3cret"


class World:
    """One node off chain with the plugin, its client, and containers."""

    def __init__(self, stack, folder):
        self.stack, self.folder = stack, folder
        self.finished = []

    async def node(self, *, open_to_all=True, **section):
        if open_to_all:
            section = {"secret": SECRET} | section
        document = node_document(
            self.folder / "node",
            {
                "account": {"private_key": None},
                "plugins": {"byoc": {"enabled": True} | section},
            },
        )
        del document["account"]
        return await self.serve(parse_settings(document))

    async def serve(self, settings):
        self.running = contextlib.AsyncExitStack()
        await self.stack.enter_async_context(self.running)
        self.app = await self.running.enter_async_context(running(settings))
        self.app.emit.listeners.append(self.heard)
        self.http = await self.stack.enter_async_context(
            httpx.AsyncClient(verify=False, base_url=self.app.service_uri, timeout=20)
        )
        return self.app

    def heard(self, event):
        if isinstance(event, JobFinished):
            self.finished.append(event)

    async def stop(self):
        await self.running.aclose()

    async def container(self, port=0, **options):
        container = Container(**options)
        address = await self.stack.enter_async_context(serving(container, port))
        return container, address

    async def register(self, url, name="cap", secret=SECRET, raw=None, **more):
        fields = {"name": name, "url": url, "capacity": 2, "price_per_unit": 0} | more
        return await self.http.post(
            "/capability/register",
            headers={} if secret is None else {"Authorization": secret},
            content=json.dumps(fields) if raw is None else raw,
        )

    async def unregister(self, text="cap", secret=SECRET):
        headers = {"Authorization": secret}
        return await self.http.post("/capability/unregister", headers=headers, content=text)

    async def post(self, path="echo", name="cap", timeout=70, content=b'{"text":"hello"}', **kw):
        job = JobRequest("j", "{}", "{}", name, "", "", timeout)
        headers = {"Livepeer": encode_job(job), "Content-Type": "application/json"}
        headers |= kw.pop("headers", {})
        url = f"/process/request/{path}"
        return await self.http.post(url, headers=headers, content=content, **kw)

    async def until(self, slots, name="cap"):
        """Wait until so many jobs could begin: nothing tells of it from outside."""
        async with asyncio.timeout(15):
            while await self.capacity(name) != slots:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def capacity(self, name="cap"):
        headers = {"Livepeer-Eth-Address": "e30=", "Livepeer-Capability": name}
        reply = await self.http.get("/process/token", headers=headers)
        return reply.json().get("available_capacity", 0)


@pytest.fixture
async def world(tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        yield World(stack, tmp_path)
