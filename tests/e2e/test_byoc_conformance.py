"""The BYOC plugin with a real executor holds what every pipeline must."""

import asyncio
from contextlib import asynccontextmanager

import podium_byoc.plugin
import podium_executor as sdk
from podium.testing.conformance import PipelineConformance, Sample, WorkerConformance
from podium.testing.loading import running_plugin

NAME = "shout"


@sdk.executor(NAME, capacity=2)
async def shout(body: bytes) -> bytes:
    if body == b"slow":
        await asyncio.sleep(3600)
    return body.upper()


class WithExecutor:
    plugin = podium_byoc.plugin

    @asynccontextmanager
    async def loaded(self, folder):
        stopping, address = asyncio.Event(), asyncio.get_running_loop().create_future()
        settings = sdk.Settings(port=0, drain_s=1)
        serving = asyncio.create_task(sdk.serve(shout, settings, stopping, address.set_result))
        executors = [{"name": NAME, "url": await address, "capacity": 2}]
        try:
            async with running_plugin(self.plugin, folder, {"executors": executors}) as loaded:
                yield loaded
        finally:
            stopping.set()
            await serving

    def pick_worker(self, loaded):
        (worker,) = loaded.context.workers.values()
        return worker

    def good(self):
        return Sample(b"hello", name=NAME)

    def lasting(self):
        return Sample(b"slow", name=NAME)

    def bad(self):
        return []


class TestPipeline(WithExecutor, PipelineConformance):
    pass


class TestWorker(WithExecutor, WorkerConformance):
    pass
