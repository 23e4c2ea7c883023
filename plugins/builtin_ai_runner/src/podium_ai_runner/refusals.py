"""What runners refuse, in the words that gateways know (ai 1.6).

``returned 400`` must survive in the text: gateways stop trying when they find it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from podium_hookspecs import JobFailed

if TYPE_CHECKING:
    from podium_ai_runner.pipelines.describe import Description

MAX_TEXT_CHARS = 500
MAX_ERROR_CHARS = 4000
JSON = "application/json"


class RunnerRefused(JobFailed):
    """A runner answered with an error, or with what it must not answer."""

    code = "runner_refused"


def refused(description: Description, status: int, content_type: str, body: bytes) -> RunnerRefused:
    """Return the error for an answer that is no result.

    Args:
        description: The pipeline.
        status: As answered.
        content_type: As answered.
        body: At least its beginning.
    """
    label = description.labelled
    if status == 413 and description.text_413:
        return RunnerRefused(description.text_413)
    if media_type(content_type) == JSON:
        if status == 422:
            label = description.label_422 or label
            return RunnerRefused(f"{label} container returned 422: {_text(body, MAX_ERROR_CHARS)}")
        passes = status in (400, 401, 500) or (status == 415 and description.passes_415)
        message = _detail(body)
        if passes and message is not None:
            return RunnerRefused(f"{label} container returned {status}: {message}")
    return unusable(description, status, _text(body))


def unusable(description: Description, status: int, reason: str) -> RunnerRefused:
    """Return the error for an answer that nobody foresaw, or that cannot be used."""
    return RunnerRefused(f"{description.labelled} container returned {status}: {reason}")


def media_type(content_type: str) -> str:
    """Return a content type without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def _text(body: bytes, limit: int = MAX_TEXT_CHARS) -> str:
    """Return a body as one line, as far as it is shown."""
    text = body[: 4 * limit].decode("utf-8", "replace")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:limit]


def _detail(body: bytes) -> str | None:
    """Return ``detail.msg``, or what comes nearest to it; None when it is no such JSON."""
    try:
        decoded: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(decoded, dict):
        return None
    detail = decoded.get("detail", decoded.get("error", decoded.get("message")))
    if isinstance(detail, dict):
        detail = detail.get("msg", detail.get("message"))
    return _text(detail.encode(errors="replace")) if isinstance(detail, str) else None
