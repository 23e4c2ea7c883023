"""From TOML values to frozen attrs classes: strict, and with every problem at once.

Nothing is coerced: a text stays a text and ``true`` is no number. The one
widening is a whole number where a fraction of seconds may stand. Unknown keys
are problems. Secrets are resolved only for fields typed ``Secret``.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import attrs
from attrs import Attribute, Factory, frozen
from cattrs import BaseConverter, Converter
from cattrs.errors import BaseValidationError, CattrsError, StructureHandlerNotFoundError
from podium_hookspecs import PluginError, Secret

T = TypeVar("T")
Problem = tuple[str, str]
"""A dotted path and what is wrong there."""

_EXACT = re.compile(r"\d+(\.\d+|/0*[1-9]\d*)?", re.ASCII)
_EXPECTED = (ValueError, TypeError, PluginError, CattrsError, BaseValidationError)
_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "a table",
}


class Invalid(ValueError):
    """What is wrong with one value, as problems with paths inside it."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(problems)
        self.problems = problems

    def under(self, key: str) -> list[Problem]:
        """Return the problems with ``key`` in front of their paths."""
        return [(_join(key, path), text) for path, text in self.problems]


@frozen
class Source:
    """What values may refer to.

    Attributes:
        base_dir: Relative paths start here.
        environ: For ``{env = "NAME"}``.
    """

    base_dir: Path
    environ: Mapping[str, str]

    def path(self, text: str) -> Path:
        """Return an absolute or base-relative path, ``~`` expanded."""
        return self.base_dir / Path(text).expanduser()

    def secret(self, value: object) -> Secret:
        """Resolve a secret: a text, ``{env = "NAME"}`` or ``{file = "PATH"}``."""
        match value:
            case str():
                found = value
            case {"env": str(name), **rest} if not rest:
                found = self.environ.get(name, "")
                if not found:
                    raise _wrong(f"the environment variable {name} is not set")
            case {"file": str(name), **rest} if not rest:
                found = self._first_line(self.path(name))
            case _:
                raise _wrong('must be a text, {env = "NAME"} or {file = "PATH"}')
        if not found:
            raise _wrong("is empty")
        return Secret(found)

    def _first_line(self, path: Path) -> str:
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a text file"
            raise _wrong(f"cannot read {path}: {reason}") from None
        return lines[0].strip() if lines else ""


def structure(cls: type[T], table: Mapping[str, Any], source: Source) -> T:
    """Make an instance of an attrs class from a table.

    Raises:
        Invalid: with every problem of the table.
    """
    return _converter(source).structure(table, cls)


def unknown_key(key: str, known: Sequence[str]) -> Problem:
    """Say that a key is unknown, and which one may have been meant."""
    close = difflib.get_close_matches(key, known, n=1)
    return key, "unknown key" + (f"; did you mean {close[0]}?" if close else "")


def _join(key: str, path: str) -> str:
    return key + path if not path or path.startswith("[") else f"{key}.{path}"


def _wrong(text: str) -> Invalid:
    return Invalid(("", text))


def _kind(value: object) -> str:
    return _KINDS.get(type(value), f"a {type(value).__name__}")


def _converter(source: Source) -> Converter:
    converter = Converter(detailed_validation=True)
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _strict)
    converter.register_structure_hook(float, _float)
    converter.register_structure_hook(Fraction, _fraction)
    converter.register_structure_hook(Path, lambda value, _: source.path(_strict(value, str)))
    converter.register_structure_hook(Secret, lambda value, _: source.secret(value))
    converter.register_structure_hook_factory(attrs.has, _class_hook)
    for origins, factory in _FACTORIES:
        converter.register_structure_hook_factory(_has_origin(origins), factory)
    return converter


def _strict(value: Any, kind: type[T]) -> T:
    if type(value) is not kind:
        raise _wrong(f"must be {_KINDS[kind]}, not {_kind(value)}")
    return value


def _float(value: Any, _: object) -> float:
    if type(value) not in (int, float):
        raise _wrong(f"must be a number, not {_kind(value)}")
    if not math.isfinite(value):
        raise _wrong("must be a finite number")
    return float(value)


def _fraction(value: Any, _: object) -> Fraction:
    if type(value) is int or (type(value) is str and _EXACT.fullmatch(value)):
        return Fraction(value)
    raise _wrong('must be a whole number or a text like "0.5" or "1/3" (exact, so no floats)')


Hook = Callable[[Any, Any], Any]


def _each(pairs: Sequence[tuple[str, Any]], kind: Any, converter: BaseConverter) -> list[Any]:
    """Structure named values of one type; raise all their problems."""
    problems: list[Problem] = []
    values = []
    for key, value in pairs:
        try:
            values.append(converter.structure(value, kind))
        except _EXPECTED as error:
            problems += _problems(error).under(key)
    if problems:
        raise Invalid(*problems)
    return values


def _literal_hook(kind: Any, converter: BaseConverter) -> Hook:
    allowed = get_args(kind)
    del converter

    def hook(value: Any, _: object) -> Any:
        if not any(type(value) is type(one) and value == one for one in allowed):
            raise _wrong(f"must be one of {', '.join(map(repr, allowed))}")
        return value

    return hook


def _union_hook(kind: Any, converter: BaseConverter) -> Hook:
    """Choose by the value's own type; TOML has no null, so ``X | None`` is just ``X``."""
    kinds = [one for one in get_args(kind) if one is not NoneType]

    def hook(value: Any, _: object) -> Any:
        same = [one for one in kinds if one is type(value)]
        if same or len(kinds) == 1:
            return converter.structure(value, (same or kinds)[0])
        raise _wrong(f"must be {' or '.join(_KINDS.get(one, str(one)) for one in kinds)}")

    return hook


def _list_hook(kind: Any, converter: BaseConverter) -> Hook:
    origin = get_origin(kind)
    make = tuple if origin is Sequence else origin
    inner = (get_args(kind) or (Any,))[0]

    def hook(value: Any, _: object) -> Any:
        items = _strict(value, list)
        return make(_each([(f"[{i}]", item) for i, item in enumerate(items)], inner, converter))

    return hook


def _table_hook(kind: Any, converter: BaseConverter) -> Hook:
    inner = (get_args(kind) or (str, Any))[1]

    def hook(value: Any, _: object) -> Any:
        table = _strict(value, dict)
        return dict(zip(table, _each(list(table.items()), inner, converter), strict=True))

    return hook


def _class_hook(cls: Any, converter: BaseConverter) -> Hook:
    fields = [field for field in attrs.fields(attrs.resolve_types(cls)) if field.init]
    known = [_key(field) for field in fields]

    def hook(value: Any, _: object) -> Any:
        table = _strict(value, dict)
        problems = [unknown_key(key, known) for key in table if key not in known]
        values: dict[str, Any] = {}
        for field in fields:
            key = _key(field)
            if key in table:
                try:
                    (values[key],) = _each([(key, table[key])], _type(field), converter)
                except Invalid as error:
                    problems += error.problems
            elif field.default is attrs.NOTHING:
                problems.append((key, _missing(field)))
            elif (default := _default(field)) is not attrs.NOTHING:
                values[key] = default
        problems += _invariants(fields, values)
        if problems:
            raise Invalid(*problems)
        try:
            return cls(**values)
        except _EXPECTED as error:
            raise _problems(error) from error

    return hook


def _key(field: Attribute[Any]) -> str:
    return field.alias or field.name


def _type(field: Attribute[Any]) -> Any:
    return Any if field.type is None else field.type


def _missing(field: Attribute[Any]) -> str:
    text = field.metadata.get("help", "")
    return f"is missing. {text}" if text else "is missing"


def _invariants(fields: Sequence[Attribute[Any]], values: Mapping[str, Any]) -> list[Problem]:
    """Run converters, then validators, field by field, so that every problem is found.

    Validators get a stand-in for the instance, as they may compare fields.
    """
    problems: list[Problem] = []
    stand_in = SimpleNamespace()
    for field in fields:
        if _key(field) in values:
            try:
                setattr(stand_in, field.name, _converted(field, values[_key(field)]))
            except _EXPECTED as error:
                problems += _problems(error, field.name).under(_key(field))
    for field in fields:
        try:
            if field.validator is not None:
                field.validator(stand_in, field, getattr(stand_in, field.name))
        except AttributeError:
            continue  # this field, or one it is compared with, has a problem already
        except _EXPECTED as error:
            problems += _problems(error, field.name).under(_key(field))
    return problems


_FACTORIES: tuple[tuple[tuple[object, ...], Callable[[Any, BaseConverter], Hook]], ...] = (
    ((Literal,), _literal_hook),
    ((Union, UnionType), _union_hook),
    ((list, tuple, set, frozenset, Sequence), _list_hook),
    ((dict, Mapping), _table_hook),
)
"""How generic types are made, by what they are made of."""


def _has_origin(origins: tuple[object, ...]) -> Callable[[Any], bool]:
    return lambda kind: get_origin(kind) in origins


def _default(field: Attribute[Any]) -> Any:
    """Return the default, or ``NOTHING`` where there is none without an instance."""
    if isinstance(field.default, Factory):  # type: ignore[arg-type]
        factory: Any = field.default
        return attrs.NOTHING if factory.takes_self else factory.factory()
    return field.default


def _converted(field: Attribute[Any], value: Any) -> Any:
    if field.converter is None or isinstance(field.converter, attrs.Converter):
        return value
    return field.converter(value)


def _problems(error: BaseException, name: str = "") -> Invalid:
    """Turn what a converter or validator raised into problems with a readable text."""
    if isinstance(error, Invalid):
        return error
    text = str(error.args[0]) if error.args else type(error).__name__
    if isinstance(error, BaseValidationError | StructureHandlerNotFoundError):
        text = "has a type that cannot be configured"
    return _wrong(text.removeprefix(f"'{name}' "))
