"""Events as JSON: exact amounts and whole numbers of wei are texts, bytes are hex."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import attrs
from attrs import frozen
from podium_hookspecs import Event

AMOUNTS = ("face_value", "max_float", "paid", "amount", "cost")
"""Fields of whole amounts of money, which are larger than what JSON's readers keep exactly."""


@frozen
class Record:
    """An event, and when it was heard.

    Attributes:
        id: Unique over restarts; a record that comes twice has it twice.
        time: Unix seconds.
        event: What happened.
    """

    id: str
    time: float
    event: Event

    @property
    def type(self) -> str:
        """The event's name: ``"JobFinished"``, ..."""
        return type(self.event).__name__

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        when = datetime.fromtimestamp(self.time, UTC).isoformat(timespec="milliseconds")
        data = {
            name: _plain(value, name in AMOUNTS)
            for name, value in attrs.asdict(self.event, recurse=False).items()
        }
        return {"id": self.id, "time": when, "type": self.type, "data": data}

    def line(self) -> bytes:
        """Return it as one line of JSON, without the line's end."""
        return compact(self.as_json())


def compact(value: object) -> bytes:
    """Return JSON without spaces, in UTF-8."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


def _plain(value: Any, is_amount: bool = False) -> Any:
    match value:
        case Fraction():
            return str(value)
        case bytes():
            return "0x" + value.hex()
        case int() if is_amount:
            return str(value)
        case Mapping():
            return {str(key): _plain(one) for key, one in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(one) for one in value]
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)
