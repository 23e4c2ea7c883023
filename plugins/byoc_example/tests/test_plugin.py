"""The plugin by itself, and what every plugin must hold."""

from pathlib import Path

from podium.testing.conformance import (
    PipelineConformance,
    PricingConformance,
    Sample,
    WorkerConformance,
)
from podium_hookspecs import PriceRequest

import podium_byoc_example.plugin

VIDEO = (Path(__file__).parent / "data/clip.mp4").read_bytes()


class TestPipeline(PipelineConformance):
    plugin = podium_byoc_example.plugin

    def good(self):
        return Sample(VIDEO)

    def bad(self):
        wrong = [{"count": 0}, {"count": "5"}, {"width": 10_000}]
        return [Sample(b"no video"), *(Sample(VIDEO, parameters=p) for p in wrong)]


class TestWorker(WorkerConformance):
    plugin = podium_byoc_example.plugin

    def good(self):
        return Sample(VIDEO, parameters={"count": 3, "width": 64})

    def bad(self):
        return [Sample(VIDEO[:1000])]


class TestPricing(PricingConformance):
    plugin = podium_byoc_example.plugin

    def priced(self):
        return [PriceRequest(bytes(20), 37, "byoc-example", "second")]

    def passed(self):
        return [PriceRequest(bytes(20), 37, "other", "second"), PriceRequest(bytes(20), 0)]
