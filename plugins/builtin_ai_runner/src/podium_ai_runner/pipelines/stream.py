"""A chat's answer as events (ai 1.3): each one leaves when it comes, the last one is paid for.

Gateways look at ``choices[0]`` of every event unchecked and read lines of less than 64 KiB, so
that is what they get, whatever the engine says; what goes wrong after the first event is said in
an event that has a choice, too.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from podium_hookspecs import Chunk, PluginError

from podium_ai_runner.pipelines.describe import LLM
from podium_ai_runner.refusals import unusable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

EVENTS = "text/event-stream"
MAX_LINE_BYTES = 64 * 2**10 - 1
NO_EVENTS = "no event stream"
NO_CHOICES = "an event without choices"
NO_FINISH = "the stream ended without a finish reason"
TOO_LONG = "an event that is too long"


async def checked(
    chunks: AsyncIterator[Chunk], model: str
) -> AsyncGenerator[tuple[Chunk, bool], None]:
    """Yield the events as gateways read them, each with whether it finishes the answer.

    What is no JSON is passed over, as the reference does.

    Raises:
        PluginError: the stream is none, or ends too soon; after a first event one was yielded
            that says so.
    """
    begun = False
    try:
        async for chunk in chunks:
            event = _decoded(chunk.data)
            if event is None:
                continue
            line = _line(event)
            _check(event, line)
            last = _finishes(event)
            yield _event(line), last
            if last:
                return
            begun = True
        raise unusable(LLM, 200, NO_FINISH if begun else NO_EVENTS)
    except PluginError as error:
        if begun:
            yield failed(error, model), False
        raise


def _check(event: dict[str, Any], line: bytes) -> None:
    """Raise for an event that no gateway can take, with the engine's own reason if it has one."""
    if not _has_choice(event):
        raise unusable(LLM, 200, _error_of(event) or NO_CHOICES)
    if len(line) > MAX_LINE_BYTES:
        raise unusable(LLM, 200, TOO_LONG)


def failed(error: PluginError, model: str) -> Chunk:
    """Return the event that says what went wrong."""
    said: dict[str, Any] = {
        "error": {"message": error.public},
        "choices": [
            {"index": 0, "finish_reason": "error", "delta": {"role": "assistant", "content": ""}}
        ],
        "model": model,
    }
    return _event(_line(said))


def _decoded(data: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _line(event: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(event, separators=(",", ":")).encode()


def _event(line: bytes) -> Chunk:
    return Chunk(line + b"\n\n", kind="event", content_type=EVENTS)


def _has_choice(event: dict[str, Any]) -> bool:
    choices = event.get("choices")
    return isinstance(choices, list) and bool(choices) and isinstance(choices[0], dict)


def _finishes(event: dict[str, Any]) -> bool:
    reason = event["choices"][0].get("finish_reason")
    return isinstance(reason, str) and bool(reason)


def _error_of(event: dict[str, Any]) -> str:
    error = event.get("error")
    if isinstance(error, dict):
        error = error.get("message", error.get("msg"))
    return error[:500] if isinstance(error, str) else ""
