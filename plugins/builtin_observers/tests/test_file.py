"""Events in a file: whole lines, rotated by size, written in a thread."""

import json
import stat

import pytest
from podium_hookspecs import RoundStarted
from podium_observers.file import Rotating


def numbers(path):
    return [json.loads(line)["data"]["round_number"] for line in path.read_text().splitlines()]


async def test_each_event_is_a_line(load, tmp_path):
    node = await load(
        """
        [plugins.events-file]
        enabled = true
        path = "logs/events.jsonl"
        """
    )
    for number in range(250):
        node.host.emit(RoundStarted(number, True))
    await node.host.close()
    path = tmp_path / "logs" / "events.jsonl"
    assert numbers(path) == list(range(250))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"podium_events_file_delivered_total 250" in node.page()


async def test_without_a_path_it_is_in_the_plugins_folder(load, tmp_path):
    node = await load("[plugins.events-file]\nenabled = true")
    node.host.emit(RoundStarted(1, True))
    await node.host.close()
    assert numbers(tmp_path / "node-0" / "plugins" / "events-file" / "events.jsonl") == [1]


async def test_a_file_that_cannot_be_written_is_told_and_counted(load, tmp_path):
    (tmp_path / "taken").mkdir()
    node = await load('[plugins.events-file]\nenabled = true\npath = "taken"')
    node.host.emit(RoundStarted(1, True))
    await node.host.close()
    (line,) = [line for line in node.log.lines if line.level == "warning"]
    assert line.facts["error"].endswith("taken: Is a directory")
    assert b'podium_events_file_dropped_total{reason="stopped"} 1' in node.page()


def test_files_are_rotated_between_lines(tmp_path):
    path = tmp_path / "e"
    file = Rotating(path, max_bytes=10, keep=2)
    file.add([b"aaaa", b"bbbb", b"cccc"])
    assert (path.read_bytes(), path.with_name("e.1").read_bytes()) == (b"cccc\n", b"aaaa\nbbbb\n")
    file.add([b"dddd"])
    file.add([b"eeee", b"x" * 50, b"ffff"])
    assert path.read_bytes() == b"ffff\n"
    assert path.with_name("e.1").read_bytes() == b"x" * 50 + b"\n"
    assert path.with_name("e.2").read_bytes() == b"eeee\n"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["e", "e.1", "e.2"]


def test_without_old_files_the_full_one_goes(tmp_path):
    file = Rotating(tmp_path / "e", max_bytes=5, keep=0)
    file.add([b"aaaa"])
    file.add([b"bbbb"])
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("e", b"bbbb\n")]


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path):
    path = tmp_path / "e"
    file = Rotating(path, max_bytes=100, keep=1)
    file.add([b"a"])
    path.rename(tmp_path / "moved")
    file.add([b"b"])
    assert path.read_bytes() == b"b\n"


def test_a_full_disk_leaves_no_half_line(tmp_path):
    import resource
    import signal

    path = tmp_path / "e"
    file = Rotating(path, max_bytes=10**6, keep=1)
    file.add([b"first"])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
        with pytest.raises(OSError, match="File too large"):
            file.add([b"x" * 100])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"first\n"
    file.add([b"second"])
    assert path.read_bytes() == b"first\nsecond\n"
