"""The fields of a request: one table for each pipeline, checked before anything else happens."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

from attrs import field, frozen

from podium_runner_cpu.errors import InvalidFields

Kind = Literal["str", "int", "float", "bool", "file", "messages"]
Values = dict[str, object]
"""A request's checked fields: ``str``, ``int``, ``float``, ``bool``, ``Upload`` or messages."""

ROLES = ("system", "user", "assistant")
MAX_MESSAGES = 1024
MAX_INT = 2**63
TRUE = {"true", "1", "yes", "on", "t", "y"}
FALSE = {"false", "0", "no", "off", "f", "n"}


@frozen
class Upload:
    """A file of a form.

    Attributes:
        name: what the client calls it.
        data: its bytes.
    """

    name: str
    data: bytes = field(repr=False)


@frozen
class Field:
    """One field of a request.

    Attributes:
        name: as in the JSON object or the form.
        kind: its type.
        required: whether a request without it is refused.
        default: its value when left out; None where "left out" means something of its own.
        low: the smallest number accepted, or None.
        high: the largest number accepted, or None.
    """

    name: str
    kind: Kind = "str"
    required: bool = False
    default: object = None
    low: float | None = None
    high: float | None = None


class _Bad(Exception):
    def __init__(self, kind: str, message: str, *where: object) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.where = where


def parse(fields: tuple[Field, ...], given: object) -> Values:
    """Check a request's fields and fill in the defaults; unknown ones are ignored.

    Args:
        fields: the pipeline's table.
        given: a decoded JSON value, or a form's ``{name: str or Upload}``.

    Raises:
        InvalidFields: every field that is wrong, not only the first.
    """
    if not isinstance(given, Mapping):
        text = "Input should be a valid dictionary or object"
        raise InvalidFields([{"loc": ["body"], "msg": text, "type": "dict_type"}])
    values: Values = {}
    problems: list[dict[str, object]] = []
    for one in fields:
        try:
            values[one.name] = _value(one, given)
        except _Bad as bad:
            where = ["body", one.name, *bad.where]
            problems.append({"loc": where, "msg": bad.message, "type": bad.kind})
    if problems:
        raise InvalidFields(problems)
    return values


def _value(one: Field, given: Mapping[str, object]) -> object:
    if one.name not in given:
        if one.required:
            raise _Bad("missing", "Field required")
        return one.default
    value = PARSERS[one.kind](given[one.name])
    if isinstance(value, int | float):
        _in_range(one, value)
    return value


def _in_range(one: Field, value: float) -> None:
    if one.low is not None and value < one.low:
        text = f"Input should be greater than or equal to {one.low:g}"
        raise _Bad("greater_than_equal", text)
    if one.high is not None and value > one.high:
        raise _Bad("less_than_equal", f"Input should be less than or equal to {one.high:g}")


def _str(value: object) -> str:
    if not isinstance(value, str):
        raise _Bad("string_type", "Input should be a valid string")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise _Bad("string_unicode", "Input should be a valid string") from error
    return value


def _int(value: object) -> int:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        if not value.is_integer():
            text = "Input should be a valid integer, got a number with a fractional part"
            raise _Bad("int_from_float", text)
        value = int(value)
    if isinstance(value, str):
        try:
            value = int(value[:30])
        except ValueError as error:
            text = "Input should be a valid integer, unable to parse string as an integer"
            raise _Bad("int_parsing", text) from error
    if not isinstance(value, int):
        raise _Bad("int_type", "Input should be a valid integer")
    if abs(value) >= MAX_INT:
        raise _Bad("int_parsing_size", "Input should be an integer of 64 bits")
    return value


def _float(value: object) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError as error:
            text = "Input should be a valid number, unable to parse string as a number"
            raise _Bad("float_parsing", text) from error
    if not isinstance(value, int | float):
        raise _Bad("float_type", "Input should be a valid number")
    if abs(value) > MAX_INT or not math.isfinite(value):
        raise _Bad("finite_number", "Input should be a finite number")
    return float(value)


def _bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).lower() if isinstance(value, str | int | float) else ""
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise _Bad("bool_parsing", "Input should be a valid boolean, unable to interpret input")


def _file(value: object) -> Upload:
    if not isinstance(value, Upload):
        raise _Bad("value_error", "Value error, Expected UploadFile")
    return value


def _messages(value: object) -> list[dict[str, str]]:
    if not isinstance(value, list):
        raise _Bad("list_type", "Input should be a valid list")
    if len(value) > MAX_MESSAGES:
        raise _Bad("too_long", f"List should have at most {MAX_MESSAGES} items")
    return [_message(item, number) for number, item in enumerate(value)]


def _message(item: object, number: int) -> dict[str, str]:
    if not isinstance(item, Mapping):
        text = "Input should be a valid dictionary or object"
        raise _Bad("dict_type", text, number)
    for name in ("role", "content"):
        if name not in item:
            raise _Bad("missing", "Field required", number, name)
        if not isinstance(item[name], str):
            raise _Bad("string_type", "Input should be a valid string", number, name)
        _str(item[name])
    if item["role"] not in ROLES:
        raise _Bad("literal_error", f"Input should be one of {', '.join(ROLES)}", number, "role")
    return {"role": item["role"], "content": item["content"]}


PARSERS: dict[Kind, Callable[[object], object]] = {
    "str": _str,
    "int": _int,
    "float": _float,
    "bool": _bool,
    "file": _file,
    "messages": _messages,
}
