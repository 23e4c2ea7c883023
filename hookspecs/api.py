"""The public API as data, and what a change of it asks of the version.

``python hookspecs/api.py`` (``make api``) writes ``api.json``, unless the change is one that
``API_VERSION`` does not declare; with ``--release`` it also notes that this version is out, so that
whatever is added from then on needs the next one. A test compares the code with that file.
"""

from __future__ import annotations

import enum
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import attrs
import podium_hookspecs
from attrs import frozen
from podium_hookspecs import API_VERSION, specs

SNAPSHOT = Path(__file__).with_name("api.json")
HOOK = "hook "
OPERATORS = {"__add__", "__aiter__"}


@frozen
class Change:
    """One difference; ``breaks`` says whether plugins or hosts made before it may fail."""

    text: str
    breaks: bool


def surface() -> dict[str, Any]:
    """Return the API as JSON can hold it: each public name, and each hook."""
    names = {name: _describe(getattr(podium_hookspecs, name)) for name in podium_hookspecs.__all__}
    del names["API_VERSION"]
    hooks = {
        HOOK + name: _function(value, named=True)
        for name, value in vars(specs).items()
        if name.startswith("podium_")
    }
    return dict(sorted((names | hooks).items()))


def _describe(value: Any) -> dict[str, Any]:
    if inspect.isclass(value):
        return _class(value)
    if inspect.isfunction(value):
        return _function(value)
    return {"value": value if isinstance(value, int | str) else "alias"}


def _text(annotation: Any) -> str:
    """Return an annotation as it is written."""
    return "" if annotation is inspect.Parameter.empty else str(annotation)


def _class(cls: type[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "bases": [
            b.__name__ for b in cls.__mro__[1:] if b.__module__ not in ("builtins", "typing")
        ],
        "members": {
            name: _member(name, value)
            for name, value in sorted(vars(cls).items())
            if (not name.startswith("_") or name in OPERATORS) and name not in _field_names(cls)
        },
    }
    if issubclass(cls, enum.Enum):
        found["members"] = {member.name: {"value": member.value} for member in cls}
    if attrs.has(cls):
        found["fields"] = {f.name: _field(f) for f in attrs.fields(cls)}
    elif "__annotations__" in vars(cls):
        found["attributes"] = {n: str(kind) for n, kind in sorted(cls.__annotations__.items())}
    if "__init__" in vars(cls) and not attrs.has(cls) and not getattr(cls, "_is_protocol", False):
        found["init"] = _function(cls.__init__)
    return found


def _field_names(cls: type[Any]) -> set[str]:
    return {f.name for f in attrs.fields(cls)} if attrs.has(cls) else set()


def _field(field: attrs.Attribute[Any]) -> dict[str, Any]:
    kind = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", "")
    return {"type": kind, "required": field.default is attrs.NOTHING, "keyword": field.kw_only}


def _member(name: str, value: Any) -> dict[str, Any]:
    found: dict[str, Any]
    if isinstance(value, property):
        value = value.fget
        found = {"property": _text(inspect.signature(value).return_annotation)}
    elif callable(value):
        found = _function(value)
    else:
        found = {"value": value if isinstance(value, int | str) else name}
    if getattr(value, "__isabstractmethod__", False):
        found["abstract"] = True
    return found


def _function(function: Any, *, named: bool = False) -> dict[str, Any]:
    signature = inspect.signature(function)
    arguments = {
        name: {"type": _text(one.annotation), "required": one.default is one.empty}
        for name, one in signature.parameters.items()
        if name != "self"
    }
    found: dict[str, Any] = {"arguments": arguments, "returns": _text(signature.return_annotation)}
    if named:  # a hook's arguments go by name, and implementations take those they want
        found["hook"] = True
    if inspect.iscoroutinefunction(function):
        found["async"] = True
    return found


def compare(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """Return what has changed from one surface to another."""
    changes = [Change(f"removed: {name}", True) for name in old if name not in new]
    changes += [Change(f"added: {name}", False) for name in new if name not in old]
    for name in old:
        if name in new:
            changes += _compare_one(name, old[name], new[name])
    return changes


def _compare_one(where: str, old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    parts = ("members", "fields", "attributes", "arguments")
    changes = [Change(f"no longer abstract: {where}", False)] if _freed(old, new) else []
    changes += [
        Change(f"changed: {where}: {key} was {old.get(key)!r}, is {new.get(key)!r}", True)
        for key in sorted({*old, *new} - {*parts, "init"})
        if old.get(key) != new.get(key) and not (key == "abstract" and _freed(old, new))
    ]
    if "init" in old and "init" in new:
        changes += _compare_one(f"{where}()", old["init"], new["init"])
    for part in parts:
        before, after = old.get(part, {}), new.get(part, {})
        changes += [Change(f"removed: {where}.{n}", True) for n in before if n not in after]
        for name, value in after.items():
            if name not in before:
                breaks = _demands(value, hook=bool(new.get("hook")))
                changes.append(Change(f"added: {where}.{name}", breaks))
            elif before[name] != value:
                text = f"changed: {where}.{name}: was {before[name]}, is {value}"
                changes.append(Change(text, not _loosened(before[name], value)))
    return changes


def _freed(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether a method need not be implemented any more."""
    return bool(old.get("abstract")) and not new.get("abstract")


def _demands(value: Any, *, hook: bool) -> bool:
    """Whether something new asks for something of code that does not know it."""
    if hook or not isinstance(value, dict):
        return False
    return bool(value.get("required") or value.get("abstract"))


def _loosened(before: Any, after: Any) -> bool:
    """Whether what was asked for is only asked for less."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return False
    if "required" in before:
        return bool(after == {**before, "required": False})
    return not any(change.breaks for change in _compare_one("", before, after))


def undeclared(
    old_version: str, new_version: str, changes: list[Change], *, released: bool = True
) -> str:
    """Say what is wrong with a version, given what has changed since the old one; "" if nothing.

    Args:
        old_version: Of the snapshot.
        new_version: Of the code.
        changes: From the one to the other.
        released: The old one is out; until then it may grow.
    """
    (old_major, old_minor), (major, minor) = _parts(old_version), _parts(new_version)
    breaks = [change.text for change in changes if change.breaks]
    lines = "\n  ".join(breaks or [change.text for change in changes])
    if breaks and major <= old_major:
        return (
            f"this breaks plugins made for {old_version}, so it needs {old_major + 1}.0, not "
            f"{new_version} (docs/explanation/compatibility.md):\n  {lines}"
        )
    grown = released or (major, minor) < (old_major, old_minor)
    if changes and not breaks and grown and (major, minor) <= (old_major, old_minor):
        return (
            f"this adds to {old_version}, so it needs {old_major}.{old_minor + 1}: raise "
            f"API_VERSION and the distribution's version, then run make api:\n  {lines}"
        )
    if (major, minor) < (old_major, old_minor):
        return f"{new_version} is older than {old_version}"
    return ""


def _parts(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor)


def main() -> None:
    """Write the snapshot, unless the version does not declare what has changed."""
    new, released = surface(), "--release" in sys.argv[1:]
    if SNAPSHOT.is_file():
        old = json.loads(SNAPSHOT.read_text())
        changes = compare(old["api"], new)
        if problem := undeclared(old["version"], API_VERSION, changes, released=old["released"]):
            sys.exit(problem)
        released |= old["released"] and old["version"] == API_VERSION
    document = {"version": API_VERSION, "released": released, "api": new}
    SNAPSHOT.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
