"""Cutting inputs into segments."""

import io

import av
import pytest
from podium.testing.gateway import verify
from podium.testing.gateway.errors import InputError
from podium.testing.gateway.media import START_S, media_seconds, probe, segments


def make_video(
    path, *, codec="libx264", size=(160, 120), fps=25, frames=100, gop=25, audio=None, **options
):
    """Write a small video with moving content, and sound if asked for."""
    with av.open(str(path), "w") as out:
        video = out.add_stream(
            codec, rate=fps, options={"g": str(gop), "keyint_min": str(gop), **options}
        )
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        sound = out.add_stream(audio, rate=48000, layout="stereo") if audio else None
        for number in range(frames):
            frame = av.VideoFrame(*size, "yuv420p")
            for index, plane in enumerate(frame.planes):
                plane.update(bytes([(number * 3 + index * 40) % 256]) * plane.buffer_size)
            frame.pts = number
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if sound is not None:
            for number in range(frames * 48000 // fps // 1024):
                frame = av.AudioFrame("fltp", "stereo", 1024)
                for plane in frame.planes:
                    plane.update(bytes(plane.buffer_size))
                frame.sample_rate, frame.pts = 48000, number * 1024
                out.mux(sound.encode(frame))
            out.mux(sound.encode(None))
    return path


def sound_seconds(data):
    """Decode all sound; a broken packet raises."""
    with av.open(io.BytesIO(data), "r") as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


def packets(data):
    with av.open(io.BytesIO(data), "r") as container:
        return [bytes(p) for p in container.demux(video=0) if p.size]


def test_the_clip_is_cut_without_encoding(clip):
    cut = list(segments(clip))
    assert [round(s.duration_s, 3) for s in cut] == [2.0] * 7 + [1.92]
    assert [s.seq for s in cut] == list(range(8))
    assert cut[0].codec == "h264"
    end = float(START_S)
    for segment in cut:
        facts = verify.inspect(segment.data)
        assert facts.keyframes == 1
        assert facts.start_s == pytest.approx(end, abs=1e-4), "no gap, no overlap"
        assert facts.codecs[1] == "mp4a.40.2"
        end += facts.duration_s
    assert sum(verify.inspect(s.data).frames for s in cut) == 398
    assert sum(sound_seconds(s.data) for s in cut) == pytest.approx(15.93, abs=0.05)
    assert media_seconds(clip) == pytest.approx(15.936, abs=0.01)


def test_long_segments_hold_several_keyframes(clip):
    cut = list(segments(clip, 4.0))
    assert [round(s.duration_s, 2) for s in cut] == [4.0, 4.0, 4.0, 3.92]


def test_far_keyframes_are_encoded_anew(tmp_path):
    path = make_video(tmp_path / "long-gop.mp4", frames=150, gop=150, audio="aac")
    cut = list(segments(path, 2.0))
    assert [round(s.duration_s, 2) for s in cut] == [2.0, 2.0, 2.0]
    assert all(verify.inspect(s.data).keyframes == 1 for s in cut)
    assert {s.codec for s in cut} == {"h264"}
    heard = [sound_seconds(s.data) for s in cut]
    assert heard == pytest.approx([2.0, 2.0, 2.0], abs=0.1)


def test_near_keyframes_are_copied(tmp_path):
    path = make_video(tmp_path / "short-gop.mp4", frames=100, gop=10)
    cut = list(segments(path, 2.0))
    assert [round(s.duration_s, 2) for s in cut] == [2.0, 2.0]
    with av.open(str(path), "r") as source:
        assert sum(bool(p.size) for p in source.demux(video=0)) == sum(
            len(packets(s.data)) for s in cut
        )


def test_a_codec_that_cannot_be_sent_is_encoded(tmp_path):
    path = make_video(
        tmp_path / "v.webm",
        codec="libvpx",
        frames=60,
        gop=60,
        size=(161, 121),
        audio="libopus",
        deadline="realtime",
    )
    cut = list(segments(path, 2.0))
    assert [s.codec for s in cut] == ["h264"] * 2
    assert sound_seconds(cut[0].data) == pytest.approx(2.0, abs=0.1)
    facts = verify.inspect(cut[0].data)
    assert (facts.width, facts.height) == (160, 120)
    assert facts.codecs[0].startswith("avc1.6400")
    assert facts.codecs[1] == "mp4a.40.2"


def test_folder_and_playlist(tmp_path, clip):
    for segment in segments(clip, 4.0):
        (tmp_path / f"{segment.seq:03}.ts").write_bytes(segment.data)
    (tmp_path / "notes.txt").write_text("not a segment")
    folder = list(segments(tmp_path))
    assert [round(s.duration_s, 2) for s in folder] == [4.0, 4.0, 4.0, 3.92]
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXTINF:4,\n002.ts\n#EXTINF:4,\n000.ts\n")
    listed = list(segments(playlist))
    assert [s.data for s in listed] == [folder[2].data, folder[0].data]
    assert listed[0].duration_ms == 4000
    assert probe(listed[0].data, 7).seq == 7


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("none.mp4", None, "no file or folder"),
        ("junk.mp4", b"junk" * 1000, "cannot be read as video"),
        ("a.m3u8", b"#EXTM3U\nmissing.ts\n", "there is no segment"),
        ("b.m3u8", b"#EXTM3U\nother.m3u8\n", "is a master playlist"),
        ("c.m3u8", b"#EXTM3U\n", "names no segment"),
    ],
)
def test_inputs_that_cannot_be_used(tmp_path, name, content, problem):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=problem):
        list(segments(path))


def test_sound_alone_is_no_input(tmp_path):
    path = tmp_path / "sound.m4a"
    with av.open(str(path), "w", format="mp4") as out:
        sound = out.add_stream("aac", rate=48000, layout="stereo")
        frame = av.AudioFrame("fltp", "stereo", 1024)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate = 48000
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    with pytest.raises(InputError, match="holds no video"):
        list(segments(path))
