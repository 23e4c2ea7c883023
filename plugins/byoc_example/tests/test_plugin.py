"""The plugin by itself, and what every plugin must hold."""

import json
from pathlib import Path

from podium.testing.conformance import (
    PipelineConformance,
    PricingConformance,
    Sample,
    WorkerConformance,
)
from podium_hookspecs import JobFinished, PriceRequest

from podium_byoc_example import plugin as mine

NAME = "byoc-example"
VIDEO = (Path(__file__).parent / "data/clip.mp4").read_bytes()


class TestPipeline(PipelineConformance):
    plugin = mine

    def good(self):
        return Sample(VIDEO)

    def bad(self):
        wrong = [{"count": 0}, {"count": "5"}, {"width": 10_000}]
        return [Sample(b"no video"), *(Sample(VIDEO, parameters=p) for p in wrong)]


class TestWorker(WorkerConformance):
    plugin = mine

    def good(self):
        return Sample(VIDEO, parameters={"count": 3, "width": 64})

    def bad(self):
        return [Sample(VIDEO[:1000])]


class TestPricing(PricingConformance):
    plugin = mine

    def priced(self):
        return [PriceRequest(bytes(20), 37, NAME, "second")]

    def passed(self):
        return [PriceRequest(bytes(20), 37, "other", "second"), PriceRequest(bytes(20), 0)]


async def test_a_paid_request(podium_app, paid_request, hook_recorder):
    app = podium_app(plugins={NAME: mine, "ears": hook_recorder})
    reply = await paid_request(app.uri, NAME, VIDEO, parameters={"count": 3})
    assert reply.status_code == 200
    events = [line[6:] for line in reply.text.splitlines() if line.startswith("data: ")]
    thumbnails = [json.loads(event) for event in events[:3]]
    assert [thumbnail["number"] for thumbnail in thumbnails] == [1, 2, 3]
    assert events[-1] == "[DONE]"
    (job,) = await hook_recorder.wait_for(JobFinished)
    assert (job.outcome, job.fee_wei) == ("ok", job.units * 1_000_000)
