"""What the sections' classes are made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import Attribute

Validator = Callable[[Any, "Attribute[Any]", Any], None]


def checked(parse: Callable[[str], object]) -> Validator:
    """Make a validator of a parser; an empty text is left alone."""

    def check(instance: object, attribute: Attribute[Any], value: str) -> None:
        if value:
            parse(value)

    return check


def optional_file(text: str | Path | None) -> Path | None:
    """Return a path with ``~`` expanded."""
    return None if text is None else Path(text).expanduser()


def doc(text: str) -> dict[str, str]:
    """Return the metadata that carries a setting's help."""
    return {"help": text}
