"""What must hold of every plugin, as tests to subclass.

A plugin's author names the plugin and gives samples of work; the tests come by inheritance::

    class TestThumbnails(PipelineConformance):
        plugin = podium_thumbnails.plugin

        def good(self):
            return Sample(video())

        def bad(self):
            return [Sample(b"no video"), Sample(video(), parameters={"count": 0})]

Each test loads the plugin anew through its hooks, on an event loop of its own.
"""

from podium.testing.conformance.pipeline import PipelineConformance
from podium.testing.conformance.pricing import PricingConformance
from podium.testing.conformance.suite import PluginSuite
from podium.testing.conformance.worker import WorkerConformance
from podium.testing.work import Sample

__all__ = [
    "PipelineConformance",
    "PluginSuite",
    "PricingConformance",
    "Sample",
    "WorkerConformance",
]
