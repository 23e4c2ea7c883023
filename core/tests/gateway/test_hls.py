"""The written stream: playlists that a player accepts, whole at every moment."""

import json
import shutil
import subprocess

import av
import pytest
from podium.testing.gateway import player, profiles, verify
from podium.testing.gateway.client import Rendition
from podium.testing.gateway.hls import HlsWriter, folder_name
from podium.testing.gateway.media import segments
from podium.wire.pb import lp_rpc_pb2 as net


@pytest.fixture(scope="module")
def ladder():
    return profiles.parse_ladder("P144p30fps16x9,P240p30fps16x9")


@pytest.fixture(scope="module")
def pieces(clip, ladder):
    """Four segments as if each were both renditions."""
    made = []
    for segment in segments(clip, 4.0):
        facts = verify.inspect(segment.data)
        made.append([Rendition(p, segment.data, facts, facts.pixels) for p in ladder])
    return made


def frames_played(path):
    with av.open(str(path), "r") as container:
        return sum(1 for _ in container.decode(video=0))


def test_playlists_are_whole_after_every_segment(tmp_path, ladder, pieces):
    writer = HlsWriter(tmp_path, ladder, 4.0)
    for seq, renditions in enumerate(pieces):
        writer.add(seq, renditions)
        text = (tmp_path / "P144p30fps16x9" / "index.m3u8").read_text()
        assert text.count("#EXTINF") == seq + 1
        assert "ENDLIST" not in text
        with av.open(str(tmp_path / "master.m3u8"), "r") as live:
            assert next(live.decode(video=0)).width == 1280
    writer.close()
    writer.close()
    text = (tmp_path / "P144p30fps16x9" / "index.m3u8").read_text()
    assert text.endswith("#EXT-X-ENDLIST\n")
    assert "#EXT-X-TARGETDURATION:4\n" in text
    assert "#EXTINF:3.920000,\n3.ts\n" in text
    assert frames_played(tmp_path / "master.m3u8") == 398
    assert not list(tmp_path.rglob("*.tmp"))


def test_master_says_what_the_renditions_are(tmp_path, ladder, pieces):
    writer = HlsWriter(tmp_path, ladder, 4.0)
    for seq, renditions in enumerate(pieces):
        writer.add(seq, renditions)
    writer.close()
    lines = (tmp_path / "master.m3u8").read_text().splitlines()
    entry = next(line for line in lines if line.startswith("#EXT-X-STREAM-INF"))
    assert 'CODECS="avc1.64001f,mp4a.40.2"' in entry
    assert "RESOLUTION=1280x720" in entry
    assert "FRAME-RATE=25.000" in entry
    bandwidth = int(entry.split("BANDWIDTH=")[1].split(",")[0])
    assert bandwidth >= max(r[0].facts.bits_per_s for r in pieces)
    assert bandwidth < max(r[0].facts.bits_per_s for r in pieces) + 2


def test_order_of_arrival_does_not_matter(tmp_path, ladder, pieces):
    writer = HlsWriter(tmp_path, ladder, 4.0)
    writer.add(1, pieces[1])
    assert not (tmp_path / "master.m3u8").exists()
    writer.add(0, pieces[0])
    text = (tmp_path / "P240p30fps16x9" / "index.m3u8").read_text()
    assert text.index("0.ts") < text.index("1.ts")


def test_a_missing_segment_is_a_discontinuity(tmp_path, ladder, pieces):
    writer = HlsWriter(tmp_path, ladder, 4.0)
    writer.add(0, pieces[0])
    writer.add(2, pieces[2])
    writer.skip(1)
    writer.close()
    text = (tmp_path / "P240p30fps16x9" / "index.m3u8").read_text()
    assert "0.ts\n#EXT-X-DISCONTINUITY\n#EXTINF:4.000000,\n2.ts\n" in text


def test_broken_off_with_holes(tmp_path, ladder, pieces):
    writer = HlsWriter(tmp_path, ladder, 4.0)
    writer.add(3, pieces[3])
    writer.close()
    text = (tmp_path / "P240p30fps16x9" / "index.m3u8").read_text()
    assert text.count("#EXTINF") == 1
    assert text.endswith("#EXT-X-ENDLIST\n")


def test_nothing_came(tmp_path, ladder):
    HlsWriter(tmp_path, ladder).close()
    assert not (tmp_path / "master.m3u8").exists()


def test_mp4_renditions_are_kept_outside_the_playlists(tmp_path, pieces):
    mixed = [
        profiles.preset("P144p30fps16x9"),
        net.VideoProfile(name="m", format=net.VideoProfile.MP4),
    ]
    writer = HlsWriter(tmp_path, mixed, 4.0)
    writer.add(0, pieces[0])
    writer.close()
    assert (tmp_path / "m" / "0.mp4").is_file()
    assert "m/" not in (tmp_path / "master.m3u8").read_text()


def test_hostile_profile_names_stay_in_the_folder():
    for name in ("../../etc", "a/b", "..", "", "x\0y"):
        folder = folder_name(net.VideoProfile(name=name))
        assert folder
        assert "/" not in folder
        assert folder not in (".", "..")


def test_preview_is_one_file(tmp_path, ladder, pieces):
    writer = HlsWriter(tmp_path, ladder, 4.0)
    for seq, renditions in enumerate(pieces):
        writer.add(seq, renditions)
    writer.close()
    preview = player.write_preview(tmp_path, writer.tracks)
    assert preview == tmp_path / "preview.mp4"
    facts = verify.inspect(preview.read_bytes())
    assert facts.frames == 398
    assert facts.start_s == pytest.approx(0, abs=0.1)
    assert facts.duration_s == pytest.approx(15.92, abs=0.1)
    assert player.write_preview(tmp_path, []) is None


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs the ffprobe program")
def test_ffprobe_reads_the_master_playlist(tmp_path, ladder, pieces):
    writer = HlsWriter(tmp_path, ladder, 4.0)
    for seq, renditions in enumerate(pieces):
        writer.add(seq, renditions)
    writer.close()
    command = ["ffprobe", "-v", "error", "-show_streams", "-show_format", "-of", "json"]
    done = subprocess.run(
        [*command, str(tmp_path / "master.m3u8")], capture_output=True, check=True, timeout=30
    )
    found = json.loads(done.stdout)
    assert sum(s["codec_type"] == "video" for s in found["streams"]) == 2
    assert float(found["format"]["duration"]) == pytest.approx(15.92, abs=0.01)
