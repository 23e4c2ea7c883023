"""Renditions of the recorded segments have the properties of the reference's own.

Source: go-livepeer 0.9.1's renditions of the same two segments.
"""

import io
from fractions import Fraction

import av
import pytest

from podium_hookspecs import GOP_INTRA, Container, H264Profile, Profile

A = Profile("a", 256, 144, 200_000, None, 0, gop_ms=1000, h264_profile=H264Profile.BASELINE)
B = Profile(
    "b", 426, 240, 400_000, Fraction(30000, 1001), 30000, gop_ms=2000, h264_profile=H264Profile.HIGH
)
C = Profile(
    "c", 256, 144, 300_000, Fraction(60), 60, gop_ms=GOP_INTRA, quality=30,
    h264_profile=H264Profile.CONSTRAINED_HIGH,
)  # fmt: skip
PTS = {"a": (133200, 313200), "b": (132132, 312312), "c": (133500, 313500)}
PIXELS = {"a": 1843200, "b": 6134400, "c": 4423680}


@pytest.fixture
def made(worker, pipeline, collect, make_job, meter):
    async def run(data, *profiles, **more):
        return await collect(pipeline.run(make_job(data, *profiles, **more), worker, meter))

    return run
