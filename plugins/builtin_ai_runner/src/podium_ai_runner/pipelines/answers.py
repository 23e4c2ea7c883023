"""What runners answer, checked before it is paid for and passed on (ai 1.3, 1.4, 1.6).

An answer up to 1 MiB is checked as a whole. Of a larger one (images are tens of megabytes) the
beginning and the end are checked, and it is passed on piece by piece, one behind: when the last
piece is there it is paid for, then sent.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any

from podium_hookspecs import BadInput, Chunk

from podium_ai_runner.pipelines.describe import Answer, Description
from podium_ai_runner.pipelines.gojson import BadJson, decode
from podium_ai_runner.pipelines.pictures import size_of
from podium_ai_runner.refusals import RunnerRefused, unusable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

WHOLE_BYTES = 2**20
IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/jpg", "image/gif"})
NO_DATA_PREFIX = "missing data prefix"

_SPACE = rb"[ \t\r\n]*"
_TEXTS = rb'"(?:[^"\\]|\\.){0,200}"'
_MEMBER = rb'"(?:seed|nsfw)"' + _SPACE + rb":" + _SPACE + rb"[\w.+-]+" + _SPACE + rb","
_URL = rb'"url"' + _SPACE + rb":" + _SPACE + rb'"data:'
_BEGINNINGS = {
    Answer.IMAGES: re.compile(
        _SPACE.join((rb'\s*\{"images"', rb":", rb"\[", rb"\{", rb"(?:" + _MEMBER + _SPACE + rb")*"))
        + _SPACE
        + _URL
        + rb"image/(?:png|jpe?g|gif);base64,"
    ),
    Answer.AUDIO: re.compile(
        _SPACE.join((rb'\s*\{"audio"', rb":", rb"\{", _URL)) + rb"[\w/.+-]+;base64,"
    ),
    Answer.MASKS: re.compile(_SPACE.join((rb'\s*\{"(?:masks|scores|logits)"', rb":", rb'"'))),
    Answer.TRANSCRIPT: re.compile(_SPACE.join((rb'\s*\{"(?:text|chunks)"', rb":", rb'["\[]'))),
    Answer.TEXT: re.compile(_SPACE.join((rb'\s*\{"text"', rb":", rb'"'))),
}


class _Wrong(ValueError):
    """What is wrong with an answer."""


async def checked(
    chunks: AsyncIterator[Chunk], description: Description
) -> AsyncGenerator[tuple[Chunk, bool], None]:
    """Yield an answer's chunks, each with whether it is the last one.

    Raises:
        RunnerRefused: it is no answer of this pipeline.
    """
    pieces: list[bytes] = []
    size_bytes = 0
    async for chunk in chunks:
        pieces.append(chunk.data)
        size_bytes += len(chunk.data)
        if size_bytes > WHOLE_BYTES:
            break
    held = b"".join(pieces)
    if size_bytes <= WHOLE_BYTES:
        check_whole(held, description)
        yield _chunk(held), True
        return
    check_beginning(held, description)
    async for chunk in chunks:
        if chunk.data:
            yield _chunk(held), False
            held = chunk.data
    if not held.rstrip().endswith(b"}"):
        raise unusable(description, 200, "the answer is cut off")
    yield _chunk(held), True


def _chunk(data: bytes) -> Chunk:
    return Chunk(data, content_type="application/json")


def check_beginning(start: bytes, description: Description) -> None:
    """Check how a large answer begins.

    Raises:
        RunnerRefused: as no answer of this pipeline does.
    """
    pattern = _BEGINNINGS.get(description.answer)
    if pattern is None:
        raise unusable(description, 200, f"over {WHOLE_BYTES} bytes")
    if not pattern.match(start):
        raise unusable(description, 200, "no answer of this pipeline")


def check_whole(raw: bytes, description: Description) -> None:
    """Check an answer.

    Raises:
        RunnerRefused: with the reason.
    """
    try:
        answer = decode(raw)
    except BadJson as error:
        raise RunnerRefused(str(error)) from None
    if not isinstance(answer, dict):
        raise unusable(description, 200, "no JSON object")
    try:
        _CHECKS[description.answer](answer)
    except _Wrong as error:
        raise unusable(description, 200, str(error)) from None


def _images(answer: dict[str, Any]) -> None:
    images = answer.get("images")
    if not isinstance(images, list) or not images:
        raise _Wrong("no images")
    for image in images:
        url = image.get("url") if isinstance(image, dict) else None
        kind, data = _data_url(url)
        if kind not in IMAGE_TYPES or not _is_image(data):
            raise _Wrong("an image that is none")


def _audio(answer: dict[str, Any]) -> None:
    audio = answer.get("audio")
    url = audio.get("url") if isinstance(audio, dict) else None
    if not isinstance(url, str) or not url.startswith("data:"):
        raise RunnerRefused(NO_DATA_PREFIX)
    if not _data_url(url)[1]:
        raise _Wrong("no audio")


def _data_url(url: object) -> tuple[str, bytes]:
    """Return the type and the bytes of a base64 data URL."""
    head, comma, data = (url if isinstance(url, str) else "").partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise _Wrong("a url that is no data URL")
    try:
        return head[5:-7].lower(), base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise _Wrong("a url that is no base64") from None


def _is_image(data: bytes) -> bool:
    try:
        return size_of(data, 0, len(data)) > (0, 0)
    except BadInput:
        return False


def _text(answer: dict[str, Any]) -> None:
    if not isinstance(answer.get("text"), str):
        raise _Wrong("no text")


def _transcript(answer: dict[str, Any]) -> None:
    _text(answer)
    if not isinstance(answer.get("chunks"), list | None):
        raise _Wrong("chunks that are no list")


def _masks(answer: dict[str, Any]) -> None:
    if not all(isinstance(answer.get(name), str) for name in ("masks", "scores", "logits")):
        raise _Wrong("no masks, scores and logits")


def _chat(answer: dict[str, Any]) -> None:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise _Wrong("no choices")
    if not all(isinstance(one, dict) and isinstance(one.get("message"), dict) for one in choices):
        raise _Wrong("a choice without a message")


_CHECKS: dict[Answer, Callable[[dict[str, Any]], None]] = {
    Answer.IMAGES: _images,
    Answer.AUDIO: _audio,
    Answer.TEXT: _text,
    Answer.TRANSCRIPT: _transcript,
    Answer.MASKS: _masks,
    Answer.CHAT: _chat,
}
