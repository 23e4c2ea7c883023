"""The folder for a result: an empty one, or one that holds an earlier result and nothing else."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from podium.testing.gateway.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MARK = ".podium-output"
"""Lies in every folder that was made here, so that a run that was killed is known as ours, too."""

_SIGNS = (MARK, "summary.json")
_OURS = re.compile(
    r"\.podium-output|node\.log"
    r"|(summary\.json|index\.html|master\.m3u8|preview\.mp4)(\.tmp)?"
    r"|player/[^/]*hls[^/]*"
    r"|[^/]+/(\d+\.(ts|mp4)|index\.m3u8(\.tmp)?)"
)


def check_room(out: Path, ours: re.Pattern[str] = _OURS) -> None:
    """Accept a folder to write to; nothing is changed.

    Args:
        out: The folder.
        ours: Matches the files that an earlier result may hold, by their paths in the folder.

    Raises:
        InputError: it is no folder, or holds something that is not an earlier result.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out} is no folder; name one with --out")
    inside = [path for path in out.iterdir() if not _is_apart(path)]
    if not inside:
        return
    known = any((out / sign).is_file() for sign in _SIGNS)
    if not known or any(_is_foreign(path, out, ours) for path in _below(inside)):
        raise InputError(f"{out} holds something else; name an empty folder with --out")


def _is_apart(path: Path) -> bool:
    """Whether this is a folder that another command of ours wrote: left as it is."""
    return path.is_dir() and not path.is_symlink() and (path / MARK).is_file()


def _below(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from path.rglob("*")


def _is_foreign(path: Path, out: Path, ours: re.Pattern[str]) -> bool:
    if path.is_symlink():
        return True
    return not path.is_dir() and not ours.fullmatch(path.relative_to(out).as_posix())


def make_room(out: Path, ours: re.Pattern[str] = _OURS) -> None:
    """Make the folder; an earlier result in it is removed.

    Raises:
        InputError: as ``check_room``.
    """
    check_room(out, ours)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).write_text("podium wrote this folder, and may replace it\n")
    for path in out.iterdir():
        if path.is_dir():
            if not _is_apart(path):
                shutil.rmtree(path)
        elif path.name != MARK:
            path.unlink()
