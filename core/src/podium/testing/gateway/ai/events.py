"""Server-sent events of a streamed answer, as a Gateway reads them (ai.md 1.3, 5.4)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from podium.testing.gateway.transport import AnswerLost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MAX_LINE_BYTES = 64 * 1024
"""A Gateway's line scanner takes no longer ones."""

_DONE = "[DONE]"


async def read_events(pieces: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """Yield the events of a stream; it ends with the one that has a finish reason.

    What cannot be parsed is skipped, as in the network.

    Raises:
        AnswerLost: an event says that it failed, a line is too long, or the end never came.
    """
    async for line in _lines(pieces):
        field, _, text = line.decode("utf-8", "replace").partition(":")
        if field != "data" or text.strip() == _DONE:
            continue
        try:
            event = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if not isinstance(event, dict):
            continue
        if "error" in event and "choices" not in event:
            raise AnswerLost(f"the stream ended with an error: {event['error']}")
        yield event
        if _finished(event):
            return
    raise AnswerLost("the stream ended before its last event")


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = b""
    async for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line.rstrip(b"\r")
        if len(rest) > MAX_LINE_BYTES:
            raise AnswerLost(f"a line of the stream is longer than {MAX_LINE_BYTES} bytes")
    if rest:
        yield rest


def _finished(event: dict[str, Any]) -> bool:
    choices = event.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return False
    return bool(choices[0].get("finish_reason"))


def text_of(event: dict[str, Any]) -> str:
    """Return what an event adds to the answer's text."""
    choices = event.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict):
        return ""
    delta = first.get("delta") or first.get("message")
    return str(delta.get("content") or "") if isinstance(delta, dict) else ""
