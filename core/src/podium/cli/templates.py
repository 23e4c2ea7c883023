"""Projects that are copied and renamed by ``podium plugins new``.

Each is a real distribution with tests of its own, so there is no second copy to drift.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

import podium
from podium.errors import PodiumError

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = {
    "pipeline": "a kind of work, done beside the node (BYOC by name)",
    "executor": "a function that an orchestrator pays for, in a program of its own",
    "pricing": "prices",
    "worker": "a place to do another plugin's work",
    "observer": "a listener to what happens on the node",
}
MAX_NAME_CHARS = 32
_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_TEXT = {".py", ".toml", ".md", ".typed"}
_LEFT_OUT = {"__pycache__", "build", "dist"}


class TemplateError(PodiumError):
    """A project cannot be made as it was asked for."""

    code = "template"


@frozen
class Project:
    """What was made.

    Attributes:
        name: As in ``[plugins.NAME]``.
        kind: One of ``KINDS``.
        folder: Where it is.
        files: How many files it has.
    """

    name: str
    kind: str
    folder: Path
    files: int

    @property
    def package(self) -> str:
        """The name to import."""
        return f"podium_{self.name.replace('-', '_')}"


def check_name(name: str) -> None:
    """Say whether a plugin may be called so.

    Raises:
        TemplateError: it may not.
    """
    if _NAME.fullmatch(name) is None or len(name) > MAX_NAME_CHARS:
        raise TemplateError(
            f"{name!r} is no name: lower-case letters, digits and single hyphens, a letter first, "
            f"at most {MAX_NAME_CHARS} characters"
        )
    try:
        taken = distribution(f"podium-{name}")
    except PackageNotFoundError:
        return
    raise TemplateError(f"podium-{name} {taken.version} is installed here; take another name")


def make_project(name: str, kind: str, folder: Path) -> Project:
    """Copy a template and rename it.

    Args:
        name: As in ``[plugins.NAME]``; the distribution becomes ``podium-NAME``.
        kind: One of ``KINDS``.
        folder: Where to; it must not exist, or be empty.

    Raises:
        TemplateError: the name is none, the folder is taken, or cannot be written.
    """
    check_name(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TemplateError(f"{folder} is there already")
    source, old = template(kind)
    count = 0
    try:
        for path in _files(source):
            target = folder / _renamed(str(path.relative_to(source)), old, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix in _TEXT:
                target.write_text(_renamed(path.read_text("utf-8"), old, name), "utf-8")
            else:
                target.write_bytes(path.read_bytes())
            count += 1
    except OSError as error:
        raise TemplateError(f"cannot write {error.filename}: {error.strerror}") from error
    return Project(name, kind, folder, count)


def template(kind: str) -> tuple[Path, str]:
    """Return a template's folder, and the name to replace in it.

    An installed Podium carries the templates; in a checkout they are the projects themselves.
    """
    package = Path(podium.__file__).parent
    old = "byoc-example" if kind == "pipeline" else f"{kind}-example"
    packaged = package / "templates" / kind
    if packaged.is_dir():
        return packaged, old
    plugins = package.parents[2] / "plugins"
    return plugins / ("byoc_example" if kind == "pipeline" else f"templates/{kind}"), old


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(p.startswith(".") or p in _LEFT_OUT for p in parts):
            yield path


def _renamed(text: str, old: str, new: str) -> str:
    text = text.replace(old, new)
    return text.replace(old.replace("-", "_"), new.replace("-", "_"))
