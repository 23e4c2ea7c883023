"""Engines that speak OpenAI's chat completions, in the words of the network's llm pipeline.

The two are close; what differs is translated: the path, ``top_k``, the last event's usage, and
error objects (which ``refusals`` reads as they are).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from podium_ai_runner.pipelines.describe import LLM, Description
from podium_ai_runner.refusals import unusable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

CHAT = "/chat/completions"
USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")


def url(base: str) -> str:
    """Return where to post to, with ``/v1`` in the base URL or without."""
    return f"{base}{CHAT}" if base.endswith("/v1") else f"{base}/v1{CHAT}"


def request(values: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Translate a request; what it leaves out gets the network's defaults."""
    asked: dict[str, Any] = {"model": model}
    for name in ("messages", "max_tokens", "temperature", "top_p", "stream"):
        field = LLM.field(name)
        default = field.runner_default if field else None
        if (value := values.get(name, default)) is not None:
            asked[name] = value
    if values.get("top_k", -1) != -1:
        asked["top_k"] = values["top_k"]
    if asked.get("stream"):
        asked["stream_options"] = {"include_usage": True}
    return asked


def reply(raw: bytes, model: str, description: Description) -> bytes:
    """Translate a whole answer.

    Raises:
        RunnerRefused: it is no completion.
    """
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("choices"), list):
        raise unusable(description, 200, "no completion")
    return _dumped(_chunk(found, model, found.get("usage")))


async def events(found: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Translate events; the finishing one waits for the usage that comes behind it."""
    last: dict[str, Any] | None = None
    async for raw in found:
        try:
            event = json.loads(raw)
        except (ValueError, RecursionError):
            continue
        if not isinstance(event, dict):
            continue
        choices = event.get("choices")
        if last is not None and not choices:
            last["usage"] = _usage(event.get("usage"))
            break
        if last is None and not choices and event.get("usage") and "error" not in event:
            continue  # usage alone, in the middle: nothing to pass on
        if isinstance(choices, list) and _finishes(choices):
            last = _chunk(event, str(event.get("model", "")), event.get("usage"))
        else:
            yield (
                raw
                if not isinstance(choices, list)
                else _dumped(_chunk(event, str(event.get("model", "")), event.get("usage")))
            )
    if last is not None:
        yield _dumped(last)


def _finishes(choices: list[Any]) -> bool:
    return any(isinstance(one, dict) and one.get("finish_reason") for one in choices)


def _chunk(found: Mapping[str, Any], model: str, usage: Any) -> dict[str, Any]:
    return {
        "id": found.get("id", ""),
        "model": model,
        "created": found.get("created", 0),
        "usage": _usage(usage),
        "choices": [_choice(one) for one in found["choices"] if isinstance(one, dict)],
    }


def _usage(found: Any) -> dict[str, int]:
    known = found if isinstance(found, dict) else {}
    return {name: n if isinstance(n := known.get(name), int) else 0 for name in USAGE}


def _choice(found: Mapping[str, Any]) -> dict[str, Any]:
    choice: dict[str, Any] = {
        "index": found.get("index", 0),
        "finish_reason": found.get("finish_reason") or "",
    }
    for name in ("delta", "message"):
        said = found.get(name)
        if isinstance(said, dict):
            content = said.get("content") or ""
            choice[name] = {"role": said.get("role") or "assistant", "content": content}
    return choice


def _dumped(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
