"""Renditions of the recorded segments have the properties of the reference's own.

Source: go-livepeer 0.9.1's renditions of the same two segments.
"""

import asyncio
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


async def run(kit, worker, pipeline, data, *profiles, **more):
    meter = kit.Meter()
    done = await kit.collect(pipeline.run(kit.make_job(data, *profiles, **more), worker, meter))
    return done, meter


@pytest.mark.parametrize("number", [0, 1])
async def test_renditions_have_the_reference_properties(kit, worker, pipeline, segments, number):
    done, meter = await run(kit, worker, pipeline, segments[number], A, B, C)
    made = {p.name: kit.probe(done.videos[i].data) for i, p in enumerate((A, B, C))}
    assert {name: (p.size, len(p.frames)) for name, p in made.items()} == {
        "a": ((256, 144), 50),
        "b": ((426, 240), 60),
        "c": ((256, 144), 120),
    }
    assert {name: p.pts[0] for name, p in made.items()} == {n: p[number] for n, p in PTS.items()}
    assert {name: p.pixels for name, p in made.items()} == PIXELS
    assert {p.name: done.videos[i].units for i, p in enumerate((A, B, C))} == PIXELS
    assert meter.total.amount == sum(PIXELS.values()) == done.result.units
    assert made["a"].keyframes == [0, 25]
    assert made["b"].keyframes == [0]
    assert made["c"].keyframes == list(range(120))
    assert "B" not in made["a"].types
    assert "B" in made["b"].types
    assert made["a"].profile in ("Constrained Baseline", "Baseline")
    assert (made["b"].profile, made["c"].profile) == ("High", "High")
    facts = done.result.attributes
    assert (facts["decoded_frames"], facts["decoded_pixels"]) == ("50", str(50 * 1280 * 720))
    assert 0 < float(facts["transcode_s"]) < 60


@pytest.mark.parametrize(("number", "count", "first"), [(0, 91, 131280), (1, 94, 306000)])
async def test_audio_packets_are_untouched(kit, worker, pipeline, segments, number, count, first):
    source = kit.probe(segments[number]).audio
    done, _ = await run(kit, worker, pipeline, segments[number], A, B)
    for chunk in done.videos.values():
        audio = kit.probe(chunk.data).audio
        assert (len(audio), audio[0][0]) == (count, first)
        assert audio == source


async def test_sizes_in_bytes_are_near_the_reference(kit, worker, pipeline, segments):
    done, _ = await run(kit, worker, pipeline, segments[0], A, B, C)
    sizes = [len(done.videos[i].data) for i in range(3)]
    for ours, theirs in zip(sizes, (110356, 158484, 156228), strict=True):
        assert abs(ours - theirs) < 0.04 * theirs, sizes


async def test_a_truncated_segment_goes_as_far_as_it_goes(kit, worker, pipeline, segments):
    done, _ = await run(kit, worker, pipeline, segments[0][:300_000], A, B, C)
    frames = [int(done.videos[i].attributes["frames"]) for i in range(3)]
    assert frames == [20, 28, 55]
    assert [done.videos[i].units for i in range(3)] == [737280, 2862720, 2027520]


async def test_mp4_starts_fast_and_names_its_maker(kit, worker, pipeline, segments):
    mp4 = Profile("m", 256, 144, 200_000, container=Container.MP4)
    done, _ = await run(kit, worker, pipeline, segments[0], mp4)
    data = done.videos[0].data
    assert data[4:12] == b"ftypisom"
    assert data.index(b"moov") < data.index(b"mdat")
    made = kit.probe(data)
    assert made.metadata["comment"] == "Processed by Livepeer Transcoder 0.9.1 (offchain)"
    assert len(made.frames) == 50
    assert len(made.audio) == 91
    assert done.videos[0].content_type == "video/mp4"


async def test_ts_names_its_maker(kit, worker, pipeline, segments):
    done, _ = await run(kit, worker, pipeline, segments[0], A)
    assert b"Livepeer Transcoder 0.9.1 (offchain)" in done.videos[0].data
    with av.open(io.BytesIO(done.videos[0].data)) as container:
        assert len(container.streams) == 2


async def test_joined_segments_say_that_their_counters_restart(
    kit, worker, pipeline, segments, tmp_path
):
    """FFmpeg takes a counter that jumps, unannounced, for loss: "Packet corrupt"."""
    playlist = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:3"]
    for number, segment in enumerate(segments):
        done, _ = await run(kit, worker, pipeline, segment, A)
        data = done.videos[0].data
        assert discontinuous_pids(data) == {0, 0x11, 0x100, 0x101, 0x1000}
        (tmp_path / f"{number}.ts").write_bytes(data)
        playlist += ["#EXTINF:2,", f"{number}.ts"]
    (tmp_path / "all.m3u8").write_text("\n".join([*playlist, "#EXT-X-ENDLIST", ""]))
    ffmpeg = await asyncio.create_subprocess_exec(
        *(kit.ffmpeg_program(), "-nostdin", "-v", "warning", "-i", str(tmp_path / "all.m3u8")),
        *("-map", "0", "-f", "null", "-"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, warnings = await ffmpeg.communicate()
    assert (ffmpeg.returncode, warnings) == (0, b"")


def discontinuous_pids(data: bytes) -> set[int]:
    """Read which PIDs' first packets have the discontinuity indicator (ISO 13818-1 2.4.3.4)."""
    first: dict[int, bool] = {}
    for at in range(0, len(data), 188):
        packet = data[at : at + 188]
        pid = int.from_bytes(packet[1:3], "big") & 0x1FFF
        adaptation = packet[3] & 0x20 and packet[4] > 0
        first.setdefault(pid, bool(adaptation and packet[5] & 0x80))
    return {pid for pid, marked in first.items() if marked}


async def test_an_mp4_input_serves_as_well(kit, worker, pipeline, segments):
    done, _ = await run(
        kit, worker, pipeline, segments[0], Profile("m", 256, 144, container=Container.MP4)
    )
    again, _ = await run(kit, worker, pipeline, done.videos[0].data, Profile("n", 146, 82))
    assert len(kit.probe(again.videos[0].data).frames) == 50
    assert again.result.attributes["decoded_frames"] == "50"
