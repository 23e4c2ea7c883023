"""Requests to a runner: JSON, or a form whose file is read where it lies (ai 1.2)."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from typing import TYPE_CHECKING

from attrs import frozen

from podium_ai_runner.pipelines.values import to_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from podium_hookspecs import Body

    from podium_ai_runner.pipelines.request import AiRequest, FilePart

PIECE_BYTES = 2**20


@frozen
class Upload:
    """The body of a call.

    Attributes:
        content_type: Of the body.
        size_bytes: Its length.
        head: All but the file.
        body: Holds the file, for a form.
        part: Where.
        tail: What comes behind the file.
    """

    content_type: str
    size_bytes: int
    head: bytes
    body: Body | None = None
    part: FilePart | None = None
    tail: bytes = b""

    def data(self) -> bytes | AsyncIterator[bytes]:
        """Return the body: at once where it is small, else in pieces."""
        return self.head if self.part is None else self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        yield self.head
        if self.body is not None and self.part is not None:
            async for piece in section(self.body, self.part.offset, self.part.size_bytes):
                yield piece
            yield self.tail


def as_json(values: object) -> Upload:
    """Return a JSON body, as short as it can be."""
    raw = json.dumps(values, separators=(",", ":"), allow_nan=False).encode()
    return Upload("application/json", len(raw), raw)


def as_form(request: AiRequest, body: Body) -> Upload:
    """Return a form: the file first, then the fields that were given."""
    part = request.file
    assert part is not None
    boundary = secrets.token_hex(16)
    filename = part.filename or part.name
    head = (
        f"--{boundary}\r\nContent-Disposition: form-data; "
        f'name="{part.name}"; filename="{_quoted(filename)}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    lines = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{to_text(value)}\r\n'
        for name, value in request.values.items()
    ]
    tail = ("\r\n" + "".join(lines) + f"--{boundary}--\r\n").encode()
    size_bytes = len(head) + part.size_bytes + len(tail)
    content_type = f"multipart/form-data; boundary={boundary}"
    return Upload(content_type, size_bytes, head, body, part, tail)


def _quoted(filename: str) -> str:
    """Write a client's file name so that it stays one name in one header."""
    kept = "".join(c if c.isprintable() else "_" for c in filename)
    return kept.replace("\\", "\\\\").replace('"', '\\"')


async def section(body: Body, offset: int, size_bytes: int) -> AsyncIterator[bytes]:
    """Yield a part of a body, in pieces of at most 1 MiB; a file is read beside the event loop."""
    try:
        descriptor = body.fileno()
    except OSError:
        async for piece in _of_pieces(body, offset, offset + size_bytes):
            yield piece
        return
    end = offset + size_bytes
    while offset < end:
        wanted = min(PIECE_BYTES, end - offset)
        piece = await asyncio.to_thread(os.pread, descriptor, wanted, offset)
        if not piece:
            return
        offset += len(piece)
        yield piece


async def _of_pieces(body: Body, start: int, end: int) -> AsyncIterator[bytes]:
    at = 0
    async for piece in body:
        kept = piece[max(0, start - at) : max(0, end - at)]
        at += len(piece)
        if kept:
            yield kept
        if at >= end:
            return
