"""What every pipeline and worker must hold, held by the transcoder."""

from pathlib import Path
from typing import ClassVar

import podium_transcode.plugin
from podium.testing.conformance import PipelineConformance, Sample, WorkerConformance
from podium_hookspecs import Profile, TranscodeRequest

SEGMENT = (Path(__file__).parent / "data/seg000.ts").read_bytes()
SMALL = Profile(name="small", width=128, height=72, bitrate_bps=100_000)
LARGE = Profile(name="large", width=1280, height=720, bitrate_bps=4_000_000)


def segment(body, *profiles):
    return Sample(body, TranscodeRequest("m", 0, 2000, profiles))


class Transcoder:
    plugin = podium_transcode.plugin
    options: ClassVar = {"devices": ["cpu"], "slots": 1, "preset": "ultrafast"}

    def good(self):
        return segment(SEGMENT, SMALL)

    def lasting(self):
        return segment(SEGMENT, LARGE, LARGE)

    def bad(self):
        return [segment(b"no video", SMALL), segment(SEGMENT[:100], SMALL), segment(b"", SMALL)]


class TestPipeline(Transcoder, PipelineConformance):
    pass


class TestWorker(Transcoder, WorkerConformance):
    pass
