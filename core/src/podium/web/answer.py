"""A pipeline's outputs as an HTTP answer (see ``podium_hookspecs.HttpPipeline``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define
from podium_hookspecs import BadInput, Busy, Chunk

from podium.errors import PodiumError
from podium.web.asgi import send_text
from podium.web.errors import answer_to

if TYPE_CHECKING:
    from podium_hookspecs import Output, PluginError

    from podium.web.asgi import Send

EVENT = "event"
METADATA = "x-metadata"
BODY_STATUS = {"body_too_large": 413, "body_incomplete": 408}
"""Statuses that AI and BYOC requests get and segments do not, by code."""


@define(eq=False)
class Answer:
    """The answer to one request, from its first chunk or error on.

    Args:
        send: From ASGI.
        headers: Headers of every answer that begins well, such as a balance.
    """

    send: Send
    headers: tuple[tuple[bytes, bytes], ...] = ()
    started: bool = False
    _events: bool = False
    _held: Chunk | None = None

    async def deliver(self, output: Output) -> None:
        """Pass one output on; a first chunk of a body waits to learn whether it is the only one."""
        if not isinstance(output, Chunk):
            await self._end()
        elif self.started:
            await self._body(output.data)
        elif output.kind == EVENT:
            self._events = True
            await self._start(output)
            await self._body(output.data)
        elif self._held is None:
            self._held = output
        else:
            held, self._held = self._held, None
            await self._start(held)
            await self._body(held.data)
            await self._body(output.data)

    async def refuse(self, error: PluginError | PodiumError) -> None:
        """Answer with an error; once the answer has begun, end it, or cut it off."""
        if not self.started:
            await send_text(self.send, *status_of(error))
        elif self._events:
            await self._body(b"", more=False)
        # A body that began is left unfinished: the server cuts the connection or resets the
        # stream, so nobody takes half an answer for a whole one.

    async def _start(self, first: Chunk, size_bytes: int | None = None) -> None:
        self.started = True
        headers = [(b"content-type", first.content_type.encode("latin-1", "replace"))]
        if self._events:
            headers += [(b"cache-control", b"no-cache")]
        if size_bytes is not None:
            headers.append((b"content-length", str(size_bytes).encode()))
        if METADATA in first.attributes:
            headers.append((METADATA.encode(), header_value(first.attributes[METADATA])))
        headers += self.headers
        status = int(first.attributes.get("status", "200"))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def _body(self, data: bytes, *, more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def _end(self) -> None:
        if self.started:
            await self._body(b"", more=False)
            return
        only = self._held or Chunk(b"")
        self._held = None
        await self._start(only, len(only.data))
        await self._body(only.data, more=False)


def status_of(error: PluginError | PodiumError) -> tuple[int, str]:
    """Return status and text of the plain-text answer to an error."""
    if isinstance(error, PodiumError):
        status = BODY_STATUS.get(error.code)
        return answer_to(error) if status is None else (status, str(error))
    if isinstance(error, BadInput):
        return 400, error.public
    return (503 if isinstance(error, Busy) else 500), error.public


def header_value(text: str) -> bytes:
    """Return a text as one header field, whatever a service put into it."""
    return "".join(c for c in text if c.isprintable()).encode("latin-1", "replace")
