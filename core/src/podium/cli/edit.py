"""Changes one value of a configuration file, and nothing else in it."""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from podium.config.load import parse_settings
from podium.config.render import toml

_HEADER = re.compile(r"\s*\[")


class CannotEdit(Exception):
    """The file is not written in a way that a line of it can be replaced."""


def set_values(path: Path, section: str, values: dict[str, Any]) -> None:
    """Set keys of a section; comments and everything else stay as they are.

    The file is replaced as a whole, at once: it is the old one or the new one at any time. Before
    that the new text is read again: it must be valid, and differ in these keys alone.

    Raises:
        CannotEdit: it cannot be done safely; the file is as it was.
        ConfigInvalid: with these values the configuration would not work.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise CannotEdit(error.strerror) from error
    changed = text
    for key, value in values.items():
        changed = replace_value(changed, section, key, toml(value))
    _verify(text, changed, section, values)
    parse_settings(tomllib.loads(changed), path=path)
    try:
        _replace(path, changed)
    except OSError as error:
        raise CannotEdit(error.strerror) from error


def replace_value(text: str, section: str, key: str, value: str) -> str:
    """Return a document with one key set: its line, else its commented default, else a new one."""
    lines = text.splitlines()
    line = f"{key} = {value}"
    header = next((i for i, at in enumerate(lines) if _is_header(at, section)), None)
    if header is None:
        return "\n".join([*lines, "", f"[{section}]", line, ""])
    following = (i for i in range(header + 1, len(lines)) if _HEADER.match(lines[i]))
    end = next(following, len(lines))
    for mark in ("", "#"):
        for i in range(header + 1, end):
            if re.match(rf"\s*{mark}\s*{key}\s*=", lines[i]):
                lines[i] = line
                return "\n".join([*lines, ""])
    lines.insert(header + 1, line)
    return "\n".join([*lines, ""])


def _is_header(line: str, section: str) -> bool:
    return line.partition("#")[0].strip().replace(" ", "") == f"[{section}]"


def _verify(text: str, changed: str, section: str, values: dict[str, Any]) -> None:
    """Compare both as a TOML reader sees them."""
    try:
        before, after = tomllib.loads(text), tomllib.loads(changed)
    except tomllib.TOMLDecodeError as error:
        raise CannotEdit(str(error)) from error
    table = before.get(section, {})
    wanted = tomllib.loads("\n".join(f"{key} = {toml(value)}" for key, value in values.items()))
    if not isinstance(table, dict) or before | {section: {**table, **wanted}} != after:
        msg = "it is not written one key a line"
        raise CannotEdit(msg)


def _replace(path: Path, text: str) -> None:
    target = path.resolve()
    mode = target.stat().st_mode
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    new = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.chmod(mode & 0o7777)
        new.replace(target)
    except BaseException:
        new.unlink()
        raise
