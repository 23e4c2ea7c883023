"""Server-sent events: one line of JSON each, never longer than gateways read."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING

from starlette.responses import StreamingResponse

if TYPE_CHECKING:
    from starlette.types import Send

DONE = "data: [DONE]\n\n"


def event(value: object) -> str:
    """Return one event."""
    return f"data: {json.dumps(value, separators=(',', ':'))}\n\n"


class EventStream(StreamingResponse):
    """Events until they end or the client goes; then what they held is free at once."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[str], held: AsyncExitStack) -> None:
        self._events = _holding(events, held)
        super().__init__(self._events, headers={"cache-control": "no-cache"})

    async def stream_response(self, send: Send) -> None:
        """Send the events."""
        async with aclosing(self._events):
            await super().stream_response(send)


async def _holding(events: AsyncIterator[str], held: AsyncExitStack) -> AsyncGenerator[str, None]:
    async with held:
        async for one in events:
            yield one
