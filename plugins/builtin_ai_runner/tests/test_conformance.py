"""What every pipeline and worker must hold, held by the AI plugin with a runner that is told."""

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import podium_ai_runner.plugin
from podium.testing.conformance import PipelineConformance, Sample, WorkerConformance
from podium.testing.loading import running_plugin
from podium_ai_runner.executors.process import free_port

FAKE = Path(__file__).parent / "executors/fake_runner.py"


def chat(text):
    message = {"role": "user", "content": text}
    return Sample(json.dumps({"model": "a", "messages": [message], "max_tokens": 8}).encode())


class Chats:
    plugin = podium_ai_runner.plugin

    @asynccontextmanager
    async def loaded(self, folder):
        port = free_port()
        told = {"HOST": "127.0.0.1", "PORT": str(port), "PIPELINE": "llm", "MODEL_ID": "a"}
        runner = await asyncio.create_subprocess_exec(
            sys.executable, "-S", str(FAKE), env={**os.environ, **told}
        )
        where = {"executor": "external", "url": f"http://127.0.0.1:{port}", "capacity": 2}
        models = [{"pipeline": "llm", "model": "a", **where}]
        options = {"models": models, "watch": {"every_s": 0.2}}
        try:
            async with running_plugin(self.plugin, folder, options) as loaded:
                yield loaded
        finally:
            runner.kill()
            await runner.wait()

    def pick_pipeline(self, loaded):
        return loaded.pipelines["llm"]

    def good(self):
        return chat("echo")

    def lasting(self):
        return chat("slow:30")

    def bad(self):
        return []


class TestPipeline(Chats, PipelineConformance):
    def bad(self):
        wrong = [b"{", b"[]", b'{"model": "a"}', b'{"model": "a", "messages": 7}']
        return [Sample(body) for body in wrong]


class TestWorker(Chats, WorkerConformance):
    pass
