"""From bytes to what a function takes, and back: strict, and with every problem named."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from typing import Any, TypeVar, get_origin, get_type_hints

import attrs
from cattrs import Converter, transform_error
from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError

from podium_executor.errors import BadRequest, SetupError

T = TypeVar("T")
Reader = Callable[[bytes], Any]
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
_LINE_END = re.compile(r"\r\n|\r|\n")
_NAMES = {int: "a whole number", str: "a text", bool: "true or false"}


def make_converter() -> Converter:
    """Make a converter that refuses unknown keys and turns nothing into something else."""
    converter = Converter(forbid_extra_keys=True)
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _exactly)
    converter.register_structure_hook(float, _number)
    return converter


def _exactly(value: Any, kind: type[T]) -> T:
    if type(value) is not kind:
        raise ValueError(f"must be {_NAMES[kind]}")
    return value


def _number(value: Any, _: object) -> float:
    if type(value) not in (int, float):
        raise ValueError("must be a number")
    return float(value)


def argument_kinds(function: Callable[..., Any]) -> list[Any]:
    """Return the annotations of a handler's arguments, in order.

    Raises:
        SetupError: one is missing, or names something that cannot be found.
    """
    try:
        hints = get_type_hints(function)
    except NameError as error:
        name = getattr(function, "__name__", function)
        raise SetupError(f"{name}: an annotation names {error.name}, which is not there") from error
    names = list(inspect.signature(function).parameters)
    if missing := [name for name in names if name not in hints]:
        raise SetupError(f"{function.__name__}: say what {missing[0]} is")
    return [hints[name] for name in names]


def make_reader(kind: Any) -> Reader:
    """Return what turns a body into a handler's argument.

    ``bytes`` takes the body as it is, ``str`` as UTF-8, an attrs class or a container as JSON.

    Raises:
        SetupError: bodies cannot become that.
    """
    if kind is bytes:
        return bytes
    if kind is str:
        return _text
    base = get_origin(kind) or kind
    if not (attrs.has(base) or base in (dict, list, tuple, Any)):
        raise SetupError(f"a request is bytes, str, dict, list or an attrs class, not {kind!r}")
    converter = make_converter()
    return lambda body: _structure(converter, kind, body)


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise BadRequest("the body is not UTF-8 text") from error


def _structure(converter: Converter, kind: Any, body: bytes) -> Any:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest("the body is not JSON") from error
    try:
        return converter.structure(value, kind)
    except (BaseValidationError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadRequest(_problems(error)) from error


def _problems(error: Exception) -> str:
    lines = [line.rpartition(" @ $") for line in transform_error(error, format_exception=_say)]
    return "; ".join(f"{path.lstrip('.')}: {text}" if path else text for text, _, path in lines)


def _say(error: BaseException, _: type | None) -> str:
    if isinstance(error, ForbiddenExtraKeysError):
        return f"unknown {', '.join(sorted(error.extra_fields))}"
    if isinstance(error, KeyError):
        return f"missing {error.args[0]}"
    if isinstance(error, TypeError | AttributeError):
        return "must be an object"
    return str(error.args[0]) if error.args else type(error).__name__


@attrs.frozen
class Payload:
    """A reply's bytes and what they are."""

    data: bytes
    content_type: str


def write(value: Any) -> Payload:
    """Turn a handler's reply into bytes: bytes and texts as they are, all else as JSON.

    Raises:
        TypeError: JSON cannot hold it.
    """
    if isinstance(value, bytes):
        return Payload(value, BYTES)
    if isinstance(value, str):
        return Payload(value.encode(), TEXT)
    return Payload(to_json(value).encode(), JSON)


def to_json(value: Any) -> str:
    """Return JSON of attrs instances, containers and plain values."""
    if attrs.has(type(value)):
        value = attrs.asdict(value)
    return json.dumps(value)


def write_event(value: Any) -> bytes:
    """Turn what a handler yields into one server-sent event: a text as it is, all else as JSON."""
    if isinstance(value, bytes):
        value = value.decode()
    text = value if isinstance(value, str) else to_json(value)
    return b"".join(b"data: %s\n" % line.encode() for line in _LINE_END.split(text)) + b"\n"
