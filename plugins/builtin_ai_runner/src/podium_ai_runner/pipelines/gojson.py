"""JSON of peers: bounded in size and depth, lenient as the network's decoder, with its texts.

As there, only the first value of a body is read, and bytes that are no UTF-8 are replaced.
"""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 64
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.S)
_LITERALS = ("true", "false", "null")
_SPACE = " \t\r\n"


class BadJson(ValueError):
    """A text that is no JSON, with what a decoder would say."""


def _no_constant(text: str) -> object:
    raise BadJson(f"invalid character '{text[0]}' looking for beginning of value")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def decode(raw: bytes, *, end_of_stream: bool = False) -> Any:
    """Read the first JSON value.

    Args:
        raw: The text, in UTF-8.
        end_of_stream: Name an early end as a reader of streams does (``EOF``), rather than as a
            reader of whole texts.

    Raises:
        BadJson: there is none, or it is nested too deeply.
    """
    text = raw.decode("utf-8", "replace").lstrip(_SPACE)
    if not text:
        raise BadJson("EOF" if end_of_stream else "unexpected end of JSON input")
    _check_depth(text)
    try:
        return _DECODER.raw_decode(text)[0]
    except json.JSONDecodeError as error:
        early = "unexpected EOF" if end_of_stream else "unexpected end of JSON input"
        raise BadJson(_reason(text, error.pos) or early) from None
    except BadJson:
        raise
    except (ValueError, RecursionError) as error:  # a number of too many digits
        raise BadJson("number out of range") from error


def _check_depth(text: str) -> None:
    depth = 0
    for token in _TOKEN.finditer(text):
        mark = text[token.start()]
        if mark in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise BadJson("exceeded max depth")
        elif mark in "]}":
            depth -= 1
            if depth <= 0:
                return


def _reason(text: str, at: int) -> str:
    """Say which character is wrong; empty when the text just ends."""
    if at >= len(text):
        return ""
    char = text[at]
    if char == '"' and not _complete(text, at):
        return ""
    for literal in _LITERALS:
        if char == literal[0]:
            for offset, wanted in enumerate(literal):
                if at + offset >= len(text):
                    return ""
                found = text[at + offset]
                if found != wanted:
                    shown, rest = _shown(found), f"(expecting '{wanted}')"
                    return f"invalid character {shown} in literal {literal} {rest}"
    return f"invalid character {_shown(char)} looking for beginning of value"


def _complete(text: str, at: int) -> bool:
    match = _TOKEN.match(text, at)
    return match is not None and len(match[0]) > 1 and match[0].endswith('"')


def _shown(char: str) -> str:
    return repr(char) if char.isprintable() else f"'\\x{ord(char):02x}'"
