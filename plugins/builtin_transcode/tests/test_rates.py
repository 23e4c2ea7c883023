"""Frame rates, timestamps, keyframes, clips and codecs (wire-video 12.3 to 12.5)."""

from fractions import Fraction
from itertools import pairwise

import pytest
from attrs import evolve
from podium_hookspecs import BadInput, Clip, Codec, Container, H264Profile
from podium_transcode.engine.refusals import RUNAWAY
from podium_transcode.engine.request import EngineOptions, job_from_json, job_to_json


@pytest.fixture(scope="module")
def at_60(kit):
    """120 frames in 2 s."""
    return kit.make_video(120, fps=Fraction(60))


@pytest.mark.parametrize(
    ("fps", "counts"),
    [
        (Fraction(30), {60}),
        (Fraction(24000, 1001), {48, 49}),
        (Fraction(30000, 1001), {60, 61}),
        (Fraction(60000, 1001), {119, 120}),
        (None, {120}),
    ],
)
def test_frame_counts(kit, at_60, fps, counts):
    _, made = kit.run_engine(at_60, kit.profile(fps=fps))
    assert made[0].frames in counts
    assert len(kit.probe(made[0].data).frames) == made[0].frames


def test_pass_through_keeps_every_timestamp(kit):
    source = kit.make_video(127, fps=Fraction(123), start=123 * 25994)
    _, made = kit.run_engine(source, kit.profile(fps=None))
    assert kit.probe(made[0].data).pts == kit.probe(source).pts


def test_a_constant_rate_lands_on_its_own_multiples(kit):
    source = kit.make_video(120, fps=Fraction(60), start=60 * 25994 + 2)
    _, made = kit.run_engine(source, kit.profile(fps=Fraction(30)))
    pts = kit.probe(made[0].data).pts
    assert abs(pts[0] / 90_000 - (25994 + 1 / 30)) < 1e-4
    assert {b - a for a, b in pairwise(pts)} == {3000}
    assert len(pts) == 60


def test_variable_rates_become_constant(kit):
    """15 frames of an odd rhythm over a second declared at 30."""
    source = kit.make_video(15, fps=Fraction(30), pts=[2 * n for n in range(15)])
    _, made = kit.run_engine(source, kit.profile(fps=Fraction(30)))
    assert made[0].frames in {29, 30}


def test_a_source_from_zero_is_shifted_as_a_whole(kit):
    source = kit.make_video(30)
    _, made = kit.run_engine(source, kit.profile(bitrate_bps=200_000), options=EngineOptions())
    pts = kit.probe(made[0].data).pts
    assert pts[0] > 0
    assert len(pts) == 30


@pytest.mark.parametrize("fps", [Fraction(1), Fraction(1, 10), Fraction(30)])
def test_the_shortest_input_gives_a_frame(kit, fps):
    _, made = kit.run_engine(kit.make_video(1, start=7), kit.profile(fps=fps))
    assert made[0].frames == 1
    assert len(kit.probe(made[0].data).frames) == 1


@pytest.mark.parametrize("fps", [None, Fraction(30)])
def test_a_fixed_gop(kit, fps):
    source = kit.make_video(60)
    gop = kit.profile(fps=fps, fps_num=30 if fps else 0, gop_ms=300)
    _, made = kit.run_engine(source, gop)
    assert kit.probe(made[0].data).keyframes == [0, 9, 18, 27, 36, 45, 54]


def test_a_fixed_gop_ignores_the_denominator(kit):
    gop = kit.profile(fps=Fraction(30000, 1001), fps_num=30000, gop_ms=500)
    _, made = kit.run_engine(kit.make_video(60), gop)
    assert kit.probe(made[0].data).keyframes == [0]


def test_intra(kit):
    _, made = kit.run_engine(kit.make_video(20), kit.profile(gop_ms=-1))
    assert kit.probe(made[0].data).keyframes == list(range(20))


@pytest.fixture(scope="module")
def eight_seconds(kit):
    return kit.make_video(480, fps=Fraction(60000, 1001))


@pytest.mark.parametrize(
    ("clip", "fps", "frames"),
    [(Clip(1000, 3000), None, 120), (Clip(1000, 6000), Fraction(120), 601)],
)
def test_clips(kit, eight_seconds, clip, fps, frames):
    summary, made = kit.run_engine(eight_seconds, kit.profile(fps=fps), clip=clip)
    assert summary.decoded_frames == 480
    assert (made[0].frames, made[0].pixels) == (frames, frames * 256 * 144)
    clipped = kit.probe(made[0].data)
    assert clipped.keyframes[0] == 0
    assert clipped.pts[0] < 9000  # restarts at zero, up to the muxer's shift


def test_a_clip_takes_its_audio_along(kit, segments):
    _, made = kit.run_engine(segments[0], kit.profile(), clip=Clip(1000, 1500))
    clipped = kit.probe(made[0].data)
    assert len(clipped.frames) == 13
    assert 20 < len(clipped.audio) < 30
    assert 0 <= clipped.audio[0][0] - clipped.pts[0] < 3000


def test_a_clip_without_start_keeps_its_time(kit, segments):
    _, made = kit.run_engine(segments[0], kit.profile(), clip=Clip(0, 500))
    clipped = kit.probe(made[0].data)
    assert (clipped.pts[0], len(clipped.frames)) == (133200, 13)
    assert clipped.audio[0][0] == 131280


@pytest.mark.parametrize(("fps", "frames"), [(Fraction(30), 60), (None, 120)])
@pytest.mark.parametrize("container", list(Container))
def test_the_resolution_may_change_inside_a_segment(kit, fps, frames, container):
    turning = kit.make_video(
        0, fps=Fraction(60), sizes=[(120, (100, 56)), (120, (56, 100)), (120, (100, 56))]
    )
    _, made = kit.run_engine(turning, kit.profile(fps=fps, container=container))
    shapes = [size for *_, size in kit.probe(made[0].data).frames]
    assert made[0].frames == 3 * frames
    assert made[0].pixels == frames * (2 * 256 * 144 + 146 * 260)
    assert shapes == [(256, 144)] * frames + [(146, 260)] * frames + [(256, 144)] * frames


@pytest.mark.parametrize(
    ("codec", "container", "name"),
    [
        (Codec.HEVC, Container.MPEGTS, "hevc"),
        (Codec.HEVC, Container.MP4, "hevc"),
        (Codec.VP9, Container.MP4, "vp9"),
    ],
)
def test_output_codecs(kit, codec, container, name):
    wanted = kit.profile(codec=codec, container=container, bitrate_bps=200_000, fps=Fraction(30))
    _, made = kit.run_engine(kit.make_video(20), wanted)
    found = kit.probe(made[0].data)
    assert found.codec == name
    assert (len(found.frames), found.size) == (20, (256, 144))
    assert found.keyframes[0] == 0


@pytest.mark.parametrize(
    ("codec", "container", "pix_fmt"),
    [
        ("libx265", "mpegts", "yuv420p"),
        ("libvpx-vp9", "mp4", "yuv420p"),
        ("libx264", "mpegts", "yuv444p"),
        ("libx264", "mpegts", "yuv422p"),
        ("libx264", "mpegts", "yuv444p10le"),
        ("libx264", "mpegts", "yuv422p10le"),
        ("libx264", "mpegts", "yuv420p10le"),
    ],
)
def test_input_codecs_and_formats(kit, codec, container, pix_fmt):
    source = kit.make_video(10, codec=codec, container=container, pix_fmt=pix_fmt)
    _, made = kit.run_engine(source, kit.profile())
    assert len(kit.probe(made[0].data).frames) == 10


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        (H264Profile.BASELINE, "Constrained Baseline"),
        (H264Profile.MAIN, "Main"),
        (H264Profile.HIGH, "High"),
        (H264Profile.CONSTRAINED_HIGH, "High"),
    ],
)
def test_h264_profiles(kit, wanted, name):
    options = EngineOptions(preset="veryfast")
    _, made = kit.run_engine(
        kit.make_video(10, pix_fmt="yuv444p"), kit.profile(h264_profile=wanted), options=options
    )
    assert kit.probe(made[0].data).profile == name


def test_rates_that_run_away_are_stopped(kit):
    sparse = kit.make_video(4, pts=[0, 1, 2, 300_000])
    with pytest.raises(BadInput) as caught:
        kit.run_engine(sparse, kit.profile(fps=Fraction(60)))
    assert caught.value.public == RUNAWAY


def test_the_largest_rendition_has_the_right_of_way(kit):
    from podium_transcode.engine.transcode import LanePlan, plan_lanes

    ladder = [kit.profile(width=width) for width in (426, 640, 1024, 256, 200)]
    plans = plan_lanes(ladder, 2)
    assert plans[:3] == [LanePlan(1, 19), LanePlan(2, 10), LanePlan(3, 0)]
    assert plans[3:] == [LanePlan(1, 19)] * 2
    assert plan_lanes([kit.profile()], 1) == [LanePlan(1, 0)]
    assert plan_lanes([kit.profile()], 64) == [LanePlan(16, 0)]
    assert plan_lanes([], 2) == []


def test_a_job_survives_its_json(kit):
    from podium_transcode.engine.request import EngineJob

    wanted = kit.profile(fps=Fraction(30000, 1001), codec=Codec.VP9, container=Container.MP4)
    job = EngineJob((wanted, evolve(wanted, fps=None)), Clip(1, 2), True, EngineOptions("0"))
    assert job_from_json(job_to_json(job)) == job
