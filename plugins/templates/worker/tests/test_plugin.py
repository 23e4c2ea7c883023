"""The worker holds what every worker must, and does what the program does."""

import sys
from typing import ClassVar

import podium_hookspecs as hooks
from podium.testing.conformance import Sample, WorkerConformance

import podium_worker_example.plugin

SHOUT = """
import sys, time
text = sys.stdin.buffer.read()
time.sleep(5 if text == b"slow" else 0)
sys.exit(2) if b"?" in text else sys.stdout.buffer.write(text.upper())
"""


class Shout(hooks.Pipeline):
    """The pipeline that the worker serves, here without prices."""

    name, unit = "shout", "request"

    def offers(self, workers):
        return (hooks.Offer(36),) if workers else ()

    def require(self, request):
        return hooks.Requirements({36})

    def estimate(self, request):
        return hooks.Units(1, "request")

    async def run(self, job, worker, meter):
        async for output in worker.run(job):
            yield output


class TestWorker(WorkerConformance):
    plugin = podium_worker_example.plugin
    options: ClassVar = {
        "pipeline": "shout",
        "capability": 36,
        "command": [sys.executable, "-c", SHOUT],
    }

    def pick_pipeline(self, loaded):
        return Shout()

    def good(self):
        return Sample(b"hello")

    def lasting(self):
        return Sample(b"slow")

    def bad(self):
        return [Sample(b"what?")]
