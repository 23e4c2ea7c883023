"""Files of an answer: inside it as data URLs, or fetched (ai.md 1.4).

Source: go-livepeer ai/worker/b64.go, server/ai_process.go.
"""

from __future__ import annotations

import asyncio
import binascii
import re
from base64 import b64decode
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from attrs import field, frozen

from podium.testing.gateway.ai.measure import is_image
from podium.testing.gateway.errors import OrchestratorFailed

if TYPE_CHECKING:
    from podium.testing.gateway.ai.pipelines import BatchPipeline
    from podium.testing.gateway.ai.wire import AiHttp

IMAGE_TYPES = frozenset(("image/png", "image/jpg", "image/jpeg", "image/gif"))
MAX_MEDIA = 64
"""Files of one answer; nobody asks for as many."""

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}$")
_SUFFIXES = {
    "image/png": ".png",
    "image/jpg": ".jpg",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "audio/wav": ".wav",
    "video/mp4": ".mp4",
}


@frozen
class Media:
    """One file of an answer; ``suffix`` with its dot, empty when nobody said what it is."""

    suffix: str
    data: bytes = field(repr=lambda data: f"<{len(data)} bytes>")


def media_urls(pipeline: BatchPipeline, answer: Any) -> list[str]:
    """Return the URLs in an answer.

    Raises:
        OrchestratorFailed: the answer has not the shape that its pipeline's answers have.
    """
    try:
        if pipeline.media == "images":
            urls = [image["url"] for image in answer["images"]]
        elif pipeline.media == "audio":
            urls = [answer["audio"]["url"]]
        else:
            return []
    except (KeyError, TypeError, IndexError) as error:
        raise OrchestratorFailed(f"an answer of {pipeline.name} without its media") from error
    if not urls or len(urls) > MAX_MEDIA or not all(isinstance(url, str) for url in urls):
        raise OrchestratorFailed(f"an answer of {pipeline.name} without its media")
    return urls


async def fetch(pipeline: BatchPipeline, url: str, http: AiHttp) -> Media:
    """Return one file, as a Gateway would.

    Raises:
        OrchestratorFailed: it cannot be had.
    """
    if not pipeline.downloads_only and url.startswith("data:"):
        found = parse_data_url(url)
        if pipeline.media != "images":
            return found
        if found.suffix in _IMAGE_SUFFIXES and await asyncio.to_thread(is_image, found.data):
            return found
    parts = urlsplit(url[:2048])
    if parts.scheme not in ("http", "https"):
        raise OrchestratorFailed(f"an answer of {pipeline.name} with a URL that no Gateway takes")
    suffix = _SUFFIX.search(parts.path)
    return Media(suffix[0] if suffix else "", await http.download(url))


_IMAGE_SUFFIXES = frozenset(_SUFFIXES[kind] for kind in IMAGE_TYPES)


def parse_data_url(url: str) -> Media:
    """Read a base64 data URL.

    Raises:
        OrchestratorFailed: it is none.
    """
    head, comma, body = url.partition(",")
    kind, _, encoding = head.removeprefix("data:").partition(";")
    if not comma or encoding != "base64":
        raise OrchestratorFailed("a data URL that is not base64")
    try:
        data = b64decode(body, validate=True)
    except binascii.Error as error:
        raise OrchestratorFailed("a data URL whose base64 is broken") from error
    return Media(_SUFFIXES.get(kind.lower(), ""), data)
