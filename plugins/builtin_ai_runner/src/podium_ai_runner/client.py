"""Calls to runners: one job, one POST, its answer in pieces (ai 1.6, 5.3).

``RunnerClient.call`` is what a worker's ``run`` does once it has an endpoint. It yields the
answer as it comes: a JSON body in pieces of about 1 MiB, or one event chunk for each server-sent
event, holding what is after ``data:``. What the answer must look like is the pipeline's business,
so that answers of remote workers are checked in the same place.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from attrs import define, field, frozen
from podium_hookspecs import BadInput, Chunk, JobFailed, JobTimeout, Result, WorkerLost

from podium_ai_runner import openai, sse
from podium_ai_runner.pipelines.describe import BY_NAME, Answer, Description
from podium_ai_runner.refusals import JSON, media_type, refused, unusable
from podium_ai_runner.upload import as_form, as_json

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from podium_hookspecs import Job, Output

    from podium_ai_runner.endpoint import Api, Endpoint
    from podium_ai_runner.pipelines.request import AiRequest
    from podium_ai_runner.upload import Upload

PIECE_BYTES = 2**20
MAX_ERROR_BYTES = 64 * 2**10
MAX_TEXT_REPLY_BYTES = 32 * 2**20
MAX_STREAM_BYTES = 64 * 2**20
END_TIMEOUT_S = 0.2
KEEPALIVE_S = 4.0
"""Less than the 5 s after which uvicorn, and so most runners, close an idle connection."""

EVENTS = "text/event-stream"
LARGE = (Answer.IMAGES, Answer.VIDEO, Answer.AUDIO, Answer.MASKS)


@frozen
class Limits:
    """Bounds of a call.

    Attributes:
        reply_bytes: Largest answer that holds media; texts have a bound of their own.
        idle_timeout_s: Longest silence inside an answer.
        connect_timeout_s: Longest wait for a connection.
    """

    reply_bytes: int = 256 * 2**20
    idle_timeout_s: float = 60.0
    connect_timeout_s: float = 5.0


@frozen
class Engine:
    """How a model is spoken to where that is not as usual.

    Attributes:
        api: What its endpoint speaks.
        model: Its name there; empty: as on the network.
    """

    api: Api = "runner"
    model: str = ""


class RunnerLost(WorkerLost):
    """A runner cannot be reached, or went away before it answered."""

    code = "runner_lost"


@define(eq=False)
class RunnerClient:
    """Calls runners; connections are pooled for each endpoint and kept between jobs.

    Args:
        limits: Bounds of each call.
        engines: By capability and model, those that need other words.
    """

    limits: Limits = field(factory=Limits)
    engines: Mapping[tuple[int, str], Engine] = field(factory=dict)
    _session: aiohttp.ClientSession | None = field(default=None, init=False)
    _closed: bool = field(default=False, init=False)

    async def call(self, endpoint: Endpoint, job: Job) -> AsyncGenerator[Output, None]:
        """Do a job on a runner.

        Args:
            endpoint: Where it listens.
            job: Its request is an ``AiRequest``; its body holds the request's file.

        Raises:
            JobFailed: the runner refused, with the text that peers know.
            WorkerLost: it was gone before it answered.
            JobTimeout: it took longer than the job may, or was silent for too long.
        """
        request: AiRequest = job.request
        description = BY_NAME[request.pipeline]
        engine = self.engines.get((description.capability, request.model), Engine())
        url = _url(endpoint, engine, description)
        try:
            async with asyncio.timeout(job.timeout_s) as deadline:
                response = await self._post(endpoint, url, _upload(request, job, engine))
            with contextlib.closing(response):
                outputs = self._outputs(response, description, request, engine)
                async with contextlib.aclosing(outputs):
                    async for chunk in _by(deadline.when(), outputs):
                        yield chunk
                await _to_end(response)
        except TimeoutError as error:
            text = f'Post "{_shown(url)}": context deadline exceeded'
            raise JobTimeout(
                f"{description.name}: the runner took too long", public=text
            ) from error
        yield Result(0)

    async def close(self) -> None:
        """Close all connections; safe to call twice. Later calls fail."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _post(self, endpoint: Endpoint, url: str, upload: Upload) -> aiohttp.ClientResponse:
        headers = {
            "Content-Type": upload.content_type,
            "Content-Length": str(upload.size_bytes),
            "Accept-Encoding": "identity",
        }
        if endpoint.token is not None:
            headers["Authorization"] = f"Bearer {endpoint.token.reveal}"
        try:
            return await self._opened(url).post(
                url, data=upload.data(), headers=headers, allow_redirects=False
            )
        except aiohttp.ClientConnectorError as error:
            host = f"{error.host}:{error.port}"
            reason = "connection refused" if error.errno == 111 else (error.strerror or "failed")
            text = f"dial tcp {host}: connect: {reason.lower()}"
            raise _lost(url, text) from error
        except aiohttp.ServerTimeoutError as error:
            raise _lost(url, f"dial tcp {urlsplit(_shown(url)).netloc}: i/o timeout") from error
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            raise _lost(url, "EOF") from error
        except aiohttp.ClientError as error:
            raise _lost(url, f"malformed HTTP response: {type(error).__name__}") from error

    def _opened(self, url: str) -> aiohttp.ClientSession:
        if self._closed:
            raise _lost(url, "the node stops")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
                timeout=aiohttp.ClientTimeout(total=None, connect=self.limits.connect_timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session

    async def _outputs(
        self,
        response: aiohttp.ClientResponse,
        description: Description,
        request: AiRequest,
        engine: Engine,
    ) -> AsyncGenerator[Chunk, None]:
        kind = response.headers.get("Content-Type", "")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise unusable(description, response.status, "a compressed answer")
        wanted = EVENTS if request.streams else JSON
        if response.status != 200 or media_type(kind) != wanted:
            start = await _start(self._pieces(response, description, PIECE_BYTES))
            raise refused(description, response.status, kind, start)
        if request.streams:
            pieces = self._pieces(response, description, MAX_STREAM_BYTES)
            translate = openai.events if engine.api == "openai" else None
            async for chunk in _events(pieces, description, translate):
                yield chunk
            return
        limit = self.limits.reply_bytes if description.answer in LARGE else MAX_TEXT_REPLY_BYTES
        gathered = _gathered(self._pieces(response, description, limit))
        if engine.api == "openai":
            whole = b"".join([piece async for piece in gathered])
            yield Chunk(openai.reply(whole, request.model, description), content_type=JSON)
            return
        async for piece in gathered:
            yield Chunk(piece, content_type=JSON)

    async def _pieces(
        self, response: aiohttp.ClientResponse, description: Description, limit_bytes: int
    ) -> AsyncGenerator[bytes, None]:
        """Yield an answer's bytes as they come, bounded in number and in silence."""
        size_bytes = 0
        try:
            while True:
                async with asyncio.timeout(self.limits.idle_timeout_s):
                    piece = await response.content.readany()
                if not piece:
                    return
                size_bytes += len(piece)
                if size_bytes > limit_bytes:
                    raise unusable(description, response.status, f"over {limit_bytes} bytes")
                yield piece
        except aiohttp.ClientError as error:
            msg = f"the answer broke off after {size_bytes} bytes"
            raise unusable(description, response.status, msg) from error


def _upload(request: AiRequest, job: Job, engine: Engine) -> Upload:
    if engine.api == "openai":
        return as_json(openai.request(request.values, engine.model or request.model))
    if request.file is None:
        return as_json(dict(request.values))
    if job.body is None:
        raise BadInput(f"a job of {request.pipeline} without its file")
    return as_form(request, job.body)


def _url(endpoint: Endpoint, engine: Engine, description: Description) -> str:
    base = endpoint.url.rstrip("/")
    return openai.url(base) if engine.api == "openai" else f"{base}/{description.name}"


def _shown(url: str) -> str:
    """Return a URL without what may be secret in it."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _lost(url: str, text: str) -> RunnerLost:
    return RunnerLost(f'Post "{_shown(url)}": {text}')


async def _by(deadline: float | None, chunks: AsyncIterator[Chunk]) -> AsyncIterator[Chunk]:
    """Yield what comes before a deadline; only waiting for the next chunk counts.

    Raises:
        TimeoutError: then.
    """
    iterator = aiter(chunks)
    while True:
        async with asyncio.timeout_at(deadline):
            try:
                chunk = await anext(iterator)
            except StopAsyncIteration:
                return
        yield chunk


async def _to_end(response: aiohttp.ClientResponse) -> None:
    """Read what may follow the last event, so that the connection can be used again."""
    with contextlib.suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(END_TIMEOUT_S):
            await response.content.read(MAX_ERROR_BYTES)


async def _start(pieces: AsyncGenerator[bytes, None]) -> bytes:
    """Return the beginning of an error's body; one that breaks off is as good as it goes."""
    found = b""
    async with contextlib.aclosing(pieces):
        with contextlib.suppress(JobFailed):
            async for piece in pieces:
                found += piece
                if len(found) >= MAX_ERROR_BYTES:
                    break
    return found[:MAX_ERROR_BYTES]


async def _gathered(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield pieces of 1 MiB and a last one, from pieces as small as the network makes them."""
    buffer = bytearray()
    async for piece in pieces:
        buffer += piece
        while len(buffer) > PIECE_BYTES:
            yield bytes(buffer[:PIECE_BYTES])
            del buffer[:PIECE_BYTES]
    yield bytes(buffer)


async def _events(
    pieces: AsyncIterator[bytes], description: Description, translate: Any
) -> AsyncIterator[Chunk]:
    found = sse.events(pieces)
    try:
        async for event in translate(found) if translate else found:
            yield Chunk(event, kind="event", content_type=EVENTS)
    except sse.TooLong:
        raise unusable(description, 200, "an event that is too long") from None
