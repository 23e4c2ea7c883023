"""Server-sent events of a runner, bounded: what is after ``data:``, event by event."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MAX_LINE_BYTES = 256 * 2**10
DATA = b"data:"
DONE = b"[DONE]"


class TooLong(ValueError):
    """A line is longer than any event may be."""


async def events(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the data of each event; ends after ``[DONE]`` or with the stream.

    An event ends with an empty line; several data lines are joined. What comes before the stream
    breaks off without an empty line counts as an event too: runners forget it.

    Raises:
        TooLong: a line, or the lines of an event together, are longer than ``MAX_LINE_BYTES``.
    """
    data: list[bytes] = []
    async for line in _lines(pieces):
        if line.startswith(DATA):
            data.append(line[len(DATA) :].removeprefix(b" "))
            if sum(map(len, data)) > MAX_LINE_BYTES:
                raise TooLong
        elif not line and data:
            event, data = b"\n".join(data), []
            if event.strip() == DONE:
                return
            yield event
    event = b"\n".join(data)
    if event and event.strip() != DONE:
        yield event


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if len(line) > MAX_LINE_BYTES:
                raise TooLong
            yield line.removesuffix(b"\r")
        if len(rest) > MAX_LINE_BYTES:
            raise TooLong
    if rest:
        yield rest.removesuffix(b"\r")
