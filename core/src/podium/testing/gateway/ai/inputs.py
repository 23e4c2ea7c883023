"""A job's fields and file, from the options of a command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from podium.testing.gateway.ai.pipelines import Upload
from podium.testing.gateway.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from podium.testing.gateway.ai.pipelines import BatchPipeline

MESSAGES = "messages"


def fields_of(pipeline: BatchPipeline, text: str | None, settings: Sequence[str]) -> dict[str, Any]:
    """Return a request's fields from its text and from ``KEY=VALUE`` settings.

    A value that is a JSON number, true or false is taken as such; all else is text, except for
    the messages of a chat, which are JSON.

    Raises:
        InputError: the pipeline takes no text, or a setting is none.
    """
    fields: dict[str, Any] = {}
    if text is not None:
        if not pipeline.text_field:
            raise InputError(f"{pipeline.name} takes no text")
        chat = pipeline.text_field == MESSAGES
        fields[pipeline.text_field] = [{"role": "user", "content": text}] if chat else text
    for setting in settings:
        key, found, value = setting.partition("=")
        if not found or not key:
            raise InputError(f"{setting!r} must be KEY=VALUE, such as seed=7")
        fields[key] = _value(key, value)
    return fields


def _value(key: str, text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if key == MESSAGES or isinstance(value, bool | int | float):
        return value
    return text


def upload_of(pipeline: BatchPipeline, path: Path | None) -> Upload | None:
    """Return a request's file.

    Raises:
        InputError: the pipeline needs one or takes none, or it cannot be read.
    """
    if path is None:
        if pipeline.file_field:
            raise InputError(f"{pipeline.name} needs a file: give --input")
        return None
    if not pipeline.file_field:
        raise InputError(f"{pipeline.name} takes no file: leave --input out")
    try:
        return Upload(path.name, path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
