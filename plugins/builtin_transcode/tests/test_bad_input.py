"""Bad input gets the protocol's exact text, and the engine stays whole."""

import io
import os
import random
from fractions import Fraction

import av
import pytest
from attrs import evolve
from podium_hookspecs import BadInput, JobFailed, PluginError
from podium_transcode.engine.request import EngineOptions


def refused(kit, data, *profiles, **more):
    with pytest.raises(PluginError) as caught:
        kit.run_engine(data, *(profiles or (kit.profile(),)), **more)
    return caught.value


@pytest.mark.parametrize(
    "data",
    [b"", b"G", random.Random(7).randbytes(5000), b"<html>" * 500, bytes(100_000)],
    ids=["empty", "one byte", "random", "html", "zeros"],
)
def test_not_video(kit, data):
    error = refused(kit, data)
    assert isinstance(error, BadInput)
    assert error.public == "TranscoderInvalidVideo"


def test_other_containers_and_playlists_are_not_opened(kit, tmp_path):
    secret = tmp_path / "secret.ts"
    secret.write_bytes(kit.make_video(5))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    concat = f"ffconcat version 1.0\nfile {secret}\n"
    matroska = kit.make_video(5, container="matroska")
    for data in (playlist.encode(), concat.encode(), matroska):
        assert refused(kit, data).public == "TranscoderInvalidVideo"


def audio_only() -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format="mpegts") as file:
        stream = file.add_stream("aac", 48000)
        for number in range(20):
            frame = av.AudioFrame("fltp", "stereo", 1024)
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.sample_rate, frame.pts = 48000, number * 1024
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()


def test_audio_only(kit):
    assert refused(kit, audio_only()).public == "TranscoderInvalidVideo"


def test_zero_frames(kit):
    """A program map that announces video, and nothing of it."""
    whole = kit.make_video(30)
    tables = b"".join(whole[at : at + 188] for at in range(0, 3 * 188, 188))
    assert refused(kit, tables).public == "TranscoderInvalidVideo"


def test_no_keyframe(kit):
    """Everything from the second frame on."""
    out, source = io.BytesIO(), kit.make_video(30)
    with av.open(io.BytesIO(source)) as reading, av.open(out, "w", format="mpegts") as writing:
        stream = writing.add_stream_from_template(reading.streams.video[0])
        for packet in list(reading.demux())[1:]:
            if packet.size:
                packet.stream = stream
                writing.mux(packet)
    error = refused(kit, out.getvalue())
    assert (error.public, isinstance(error, BadInput)) == ("No keyframes in input", True)


def test_other_codecs(kit):
    error = refused(kit, kit.make_video(5, codec="mpeg2video"))
    assert (error.public, isinstance(error, BadInput)) == ("Unsupported input codec", True)


def test_damage_inside_is_skipped(kit):
    source = bytearray(kit.make_video(60))
    for at in range(40 * 188, len(source), 40 * 188):
        source[at + 20 : at + 100] = os.urandom(80)
    summary, made = kit.run_engine(bytes(source), kit.profile())
    assert 0 < summary.decoded_frames <= 60
    assert kit.probe(made[0].data).frames


def test_pictures_larger_than_the_bound(kit):
    options = EngineOptions(preset="ultrafast", max_pixels_per_frame=100_000)
    error = refused(kit, kit.make_video(3, size=(640, 360)), options=options)
    assert isinstance(error, BadInput | JobFailed)
    assert error.public in ("TranscoderInvalidResolution", "TranscoderInvalidVideo")


def test_a_picture_that_grows_beyond_the_bound(kit):
    options = EngineOptions(preset="ultrafast", max_pixels_per_frame=100_000)
    growing = kit.make_video(0, sizes=[(5, (160, 90)), (5, (640, 360))])
    error = refused(kit, growing, options=options)
    assert error.public == "TranscoderInvalidResolution"


def test_more_frames_than_the_bound(kit):
    options = EngineOptions(preset="ultrafast", max_decoded_frames=20)
    error = refused(kit, kit.make_video(30), options=options)
    assert error.public == "TranscoderInvalidDuration"


def test_longer_than_the_bound(kit):
    error = refused(kit, kit.make_video(303, fps=Fraction(1)))
    assert error.public == "TranscoderInvalidDuration"


def test_a_long_thin_picture(kit):
    source = kit.make_video(3, size=(4096, 16))
    assert refused(kit, source).public == "TranscoderInvalidResolution"


def test_between_segments_everything_may_change(kit):
    for source in (
        kit.make_video(10),
        kit.make_video(10, size=(180, 320)),
        kit.make_video(10, codec="libx265"),
    ):
        _, made = kit.run_engine(source, kit.profile())
        assert len(kit.probe(made[0].data).frames) == 10


def test_the_codec_may_change_inside_a_segment(kit):
    """One program after the other under one number: the demuxer cannot tell them apart."""
    both = kit.make_video(10) + kit.make_video(10, codec="libx265", start=10)
    error = refused(kit, both)
    assert isinstance(error, JobFailed)
    assert error.public == "Invalid data found when processing input"


def test_one_bad_rendition_fails_the_job_and_ends_every_thread(kit):
    import threading

    before = threading.active_count()
    bad = evolve(kit.profile("bad"), bitrate_bps=-5)
    with pytest.raises((PluginError, ValueError, av.FFmpegError)):
        kit.run_engine(kit.make_video(40), kit.profile("good"), bad)
    assert threading.active_count() == before
