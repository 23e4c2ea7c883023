"""Values of fields: from JSON and from the texts of a form, and back into a form.

Refusals have the texts of the decoders that gateways know (ai 1.2, 1.5), as far as those were
recorded.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from podium_hookspecs import BadInput

from podium_ai_runner.pipelines.describe import INT_MAX, INT_MIN, Field, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_MESSAGES = 10_000
TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})

_INT = re.compile(r"[+-]?[0-9]{1,40}")
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,6})?")
_JSON_TYPES = {dict: "object", list: "array", str: "string", bool: "bool"}


def clean(text: str) -> str:
    """Replace halves of surrogate pairs, which no UTF-8 can hold, as Go's decoder does."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def bounded(field: Field, text: str) -> str:
    """Return the text.

    Raises:
        BadInput: it is longer than the field may be.
    """
    if len(text) > field.max_bytes or len(text.encode()) > field.max_bytes:
        raise BadInput(f"{field.name} is longer than {field.max_bytes} bytes")
    return text


def from_json(type_name: str, field: Field, value: Any) -> Any:
    """Check the value of a field of a JSON request.

    Args:
        type_name: The request's type in messages.
        field: What it must be.
        value: Not None.

    Raises:
        BadInput: it is something else.
    """
    read = _FROM_JSON[field.kind]
    try:
        return read(field, value)
    except _WrongType as error:
        found = error.found
        if found == "number" and field.kind in (Kind.INT, Kind.FLOAT):
            found = f"number {str(value)[:40]}"
        msg = (
            f"json: cannot unmarshal {found} into Go struct field "
            f"{type_name}.{error.path or field.name} of type {error.wanted or field.kind.value}"
        )
        raise BadInput(msg) from None


class _WrongType(Exception):
    def __init__(self, value: Any, path: str = "", wanted: str = "") -> None:
        super().__init__(path)
        self.found = _JSON_TYPES.get(type(value), "number")
        self.path = path
        self.wanted = wanted


def _json_text(field: Field, value: Any) -> str:
    if not isinstance(value, str):
        raise _WrongType(value)
    return bounded(field, clean(value))


def _json_int(field: Field, value: Any) -> int:
    if type(value) is not int or not INT_MIN <= value <= INT_MAX:
        raise _WrongType(value)
    return value


def _json_float(field: Field, value: Any) -> int | float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise _WrongType(value)
    if isinstance(value, int) and not INT_MIN <= value <= INT_MAX:
        raise _WrongType(value)
    number: int | float = value
    return number


def _json_bool(field: Field, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _WrongType(value)
    return value


def _json_messages(field: Field, value: Any) -> list[dict[str, str]]:
    if not isinstance(value, list):
        raise _WrongType(value)
    if len(value) > MAX_MESSAGES:
        raise BadInput(f"more than {MAX_MESSAGES} messages")
    messages = []
    for one in value:
        if not isinstance(one, dict):
            raise _WrongType(one, wanted="worker.LLMMessage")
        message = {}
        for key in ("role", "content"):
            text = one.get(key, "")
            if not isinstance(text, str):
                raise _WrongType(text, f"{field.name}.{key}", "string")
            message[key] = clean(text)
        messages.append(message)
    return messages


_FROM_JSON: dict[Kind, Callable[[Field, Any], Any]] = {
    Kind.TEXT: _json_text,
    Kind.INT: _json_int,
    Kind.FLOAT: _json_float,
    Kind.BOOL: _json_bool,
    Kind.MESSAGES: _json_messages,
}


def from_text(field: Field, text: str) -> Any:
    """Read the value of a field of a form.

    Raises:
        BadInput: it is none of its kind.
    """
    if field.kind is Kind.TEXT:
        return bounded(field, text)
    read, parser = _FROM_TEXT[field.kind]
    value, reason = read(text)
    if reason:
        shown = text[:60].replace("\\", "\\\\").replace('"', '\\"')
        msg = f'error binding string parameter: strconv.{parser}: parsing "{shown}": {reason}'
        raise BadInput(msg)
    return value


def _text_int(text: str) -> tuple[int | None, str]:
    if not _INT.fullmatch(text):
        return None, "invalid syntax"
    value = int(text)
    return value, "" if INT_MIN <= value <= INT_MAX else "value out of range"


def _text_float(text: str) -> tuple[float | None, str]:
    if not _FLOAT.fullmatch(text):
        return None, "invalid syntax"
    value = float(text)
    return value, "" if math.isfinite(value) else "value out of range"


def _text_bool(text: str) -> tuple[bool | None, str]:
    return text in TRUE, "" if text in TRUE or text in FALSE else "invalid syntax"


_FROM_TEXT: dict[Kind, tuple[Callable[[str], tuple[Any, str]], str]] = {
    Kind.INT: (_text_int, "ParseInt"),
    Kind.FLOAT: (_text_float, "ParseFloat"),
    Kind.BOOL: (_text_bool, "ParseBool"),
}


def to_text(value: Any) -> str:
    """Write a value into a form as gateways and workers do (ai 1.2): floats with six decimals."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.6f}" if isinstance(value, float) else str(value)
