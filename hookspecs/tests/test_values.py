"""Values keep their invariants and do not print what is large or secret."""

import attrs
import pytest
from podium_hookspecs import (
    Busy,
    Chunk,
    Container,
    Job,
    JobFailed,
    Mount,
    Offer,
    PluginError,
    Profile,
    Rendition,
    Resources,
    TranscodeRequest,
    Unsupported,
    WorkerLost,
)


def _job(**changes):
    profile = Profile("P240p30fps16x9", 426, 240, bitrate_bps=600_000)
    request = TranscodeRequest("stream", 7, 2000, (profile,))
    job = Job("job", "session", bytes(20), "transcode", 0, None, 8.0, request)
    return attrs.evolve(job, **changes)


def test_large_bytes_are_not_printed():
    assert "<9 bytes>" in repr(Chunk(b"x" * 9))
    rendition = Rendition(_job().request.profiles[0], b"x" * 9, 10, signature=b"secret")
    assert "<9 bytes>" in repr(rendition)
    assert "secret" not in repr(rendition)
    assert "body" not in repr(_job(body=object()))


def test_jobs_compare_without_their_bodies():
    assert _job(body=object()) == _job(body=None)


@pytest.mark.parametrize("path", ["", "/", "x", "/a/", "/a//b", "/a?b", "/a b", "/ä", "/a\n"])
def test_a_mount_has_a_plain_path(path):
    with pytest.raises(ValueError, match="path"):
        Mount(path, app=None)


@pytest.mark.parametrize("path", ["/a", "/hooks/kafka.v1", "/~me/-/_"])
def test_plain_paths_are_good(path):
    assert Mount(path, app=None).surface == "public"


def test_collections_are_frozen_on_the_way_in():
    resources = Resources(["transcode"], capabilities=[0, 1], models=["a", "a"], devices=[])
    assert resources.pipelines == frozenset({"transcode"})
    assert resources.models == frozenset({"a"})
    assert hash(resources) == hash(Resources({"transcode"}, {1, 0}, {"a"}))


@pytest.mark.parametrize(
    "make", [lambda: Resources([], slots=-1), lambda: Offer(-1), lambda: Offer(0, capacity=-1)]
)
def test_negative_counts_are_refused(make):
    with pytest.raises(ValueError, match="must be >= 0"):
        make()


@pytest.mark.parametrize("width", [426.0, "426", None])
def test_sizes_are_whole(width):
    with pytest.raises(TypeError, match="width"):
        Profile("p", width, 240)


@pytest.mark.parametrize(("container", "ending"), [("ts", ".ts"), ("mp4", ".mp4")])
def test_a_rendition_s_file_ending(container, ending):
    assert Profile("p", 2, 2, container=Container(container)).file_name_ending == ending


def test_an_error_shows_peers_only_what_it_may():
    plain = Busy("no slot on gpu 3")
    assert (str(plain), plain.public) == ("no slot on gpu 3", "no slot on gpu 3")
    careful = JobFailed("gpu 3 fell over", public="")
    assert (str(careful), careful.public) == ("gpu 3 fell over", "")


def test_the_tree_of_errors():
    assert issubclass(WorkerLost, JobFailed)
    assert not issubclass(Busy, JobFailed)
    assert issubclass(Unsupported, PluginError)
    with pytest.raises(JobFailed):
        raise WorkerLost("gone")
