"""Jobs over HTTP/2 or 1.1, and downloads: what a Gateway's HTTP client does (ai.md 0, 1.4)."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
from attrs import define, field

from podium.model import MAX_BODY_BYTES
from podium.testing.gateway.errors import OrchestratorFailed
from podium.testing.gateway.transport import AnswerLost, Http, NotSent, http_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from podium.testing.gateway.requests import SegmentRequest

REFUSAL_BYTES = 64 * 1024


@define(eq=False)
class Incoming:
    """An answer whose head is here.

    Attributes:
        status: HTTP status.
        content_type: Without parameters.
        head_s: Seconds from the request's start to the head.
    """

    status: int
    content_type: str
    head_s: float
    _reply: httpx.Response = field(repr=False)

    @property
    def headers(self) -> httpx.Headers:
        """The answer's headers."""
        return self._reply.headers

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes.

        Raises:
            AnswerLost: it broke off, or is too large.
        """
        size = 0
        try:
            async for piece in self._reply.aiter_bytes():
                size += len(piece)
                if size > MAX_BODY_BYTES:
                    raise AnswerLost("the answer is larger than one may be")
                yield piece
        except httpx.HTTPError as error:
            raise AnswerLost(f"the answer broke off: {_why(error)}") from error

    async def read(self) -> bytes:
        """Return the whole body."""
        return b"".join([piece async for piece in self.pieces()])

    async def refusal(self) -> str:
        """Return an error's text; of a long one the beginning."""
        text = bytearray()
        async for piece in self.pieces():
            text += piece
            if len(text) > REFUSAL_BYTES:
                break
        return bytes(text[:REFUSAL_BYTES]).decode("utf-8", "replace").strip()


@define(eq=False)
class AiHttp:
    """Sends jobs. Each in flight has its connection to itself; one that is given up is closed.

    Attributes:
        http2: Whether it offers HTTP/2.
    """

    http2: bool = True
    _idle: list[httpx.AsyncClient] = field(factory=list)
    _downloads: Http = field(factory=Http)

    @asynccontextmanager
    async def post(
        self, url: str, request: SegmentRequest, timeout_s: float
    ) -> AsyncIterator[Incoming]:
        """Send a job; the body of the context reads the answer.

        Args:
            url: Where to.
            request: What.
            timeout_s: For all of it, the answer's end included.

        Raises:
            NotSent: no connection.
            OrchestratorFailed: no head came.
            AnswerLost: raised in the context, by reading.
        """
        client = self._idle.pop() if self._idle else http_client(http2=self.http2)
        try:
            async with asyncio.timeout(timeout_s):
                start = time.monotonic()
                reply = await _send(client, url, request)
                try:
                    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
                    yield Incoming(reply.status_code, kind, time.monotonic() - start, reply)
                finally:
                    await reply.aclose()
        except TimeoutError as error:
            await client.aclose()
            raise OrchestratorFailed(f"{url} gave no answer within {timeout_s:g} s") from error
        except BaseException:
            await client.aclose()
            raise
        self._idle.append(client)

    async def download(self, url: str) -> bytes:
        """Fetch a file of an answer: 4 s, status 200, at most 300 000 000 bytes."""
        return await self._downloads.download(url)

    async def close(self) -> None:
        """Close every connection."""
        for client in self._idle:
            await client.aclose()
        self._idle.clear()
        await self._downloads.close()


async def _send(client: httpx.AsyncClient, url: str, request: SegmentRequest) -> httpx.Response:
    outgoing = client.build_request("POST", url, headers=request.headers, content=request.body)
    try:
        return await client.send(outgoing, stream=True)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise NotSent(f"{url} cannot be reached: {_why(error)}") from error
    except httpx.HTTPError as error:
        raise OrchestratorFailed(f"{url} broke the connection: {_why(error)}") from error


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
