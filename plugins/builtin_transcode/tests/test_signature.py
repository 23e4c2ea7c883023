"""MPEG-7 signatures by the ffmpeg program."""

import os
from fractions import Fraction

import pytest
from podium_transcode.config import TranscodeConfig
from podium_transcode.engine.signature import find_program
from podium_transcode.plugin import podium_workers


@pytest.fixture
async def signing_worker(kit):
    if not find_program():
        if os.environ.get("CI"):
            pytest.fail("no ffmpeg program with the signature filter")
        pytest.skip("no ffmpeg program with the signature filter")
    worker = podium_workers(TranscodeConfig(slots=1, devices=("cpu",)), kit.Context())[0]
    await worker.start()
    yield worker
    await worker.close()


async def test_signatures(kit, signing_worker, segments):
    assert 14 in signing_worker.resources.capabilities
    profiles = kit.profile(fps=Fraction(30)), kit.profile(width=426, height=240)
    job = kit.make_job(segments[0], *profiles, want_signature=True)
    done = await kit.collect(signing_worker.run(job))
    assert len(done.videos) == 2
    # 60 frames at 30 per second; the size is the reference's own.
    assert len(done.signatures[0]) == 5538
    assert 0 < len(done.signatures[1]) < 5538


async def test_none_unless_asked(kit, signing_worker, segments):
    done = await kit.collect(signing_worker.run(kit.make_job(segments[0], kit.profile())))
    assert done.signatures == {}
