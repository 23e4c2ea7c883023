"""Asks executors: what goes to them, and what comes back (byoc 2.3, 2.4)."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiohttp
from attrs import define, field, frozen
from podium_hookspecs import Chunk, JobFailed, Result
from yarl import URL

from podium_byoc.private import PublicResolver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from podium_hookspecs import Body, Job, Output

    from podium_byoc.config import ByocConfig
    from podium_byoc.executor import Executor
    from podium_byoc.pipeline import Call

CONNECT_TIMEOUT_S = 5.0
PROBE_TIMEOUT_S = 5.0
KEEP_ALIVE_S = 2.0
"""Shorter than what servers keep a silent connection for, as a rule 5 s."""
MAX_REDIRECTS = 5
MAX_LINE_BYTES = 2**20
MAX_ERROR_BYTES = 2**20
SMALL_BYTES = 2**20
EVENTS = "text/event-stream"
DONE = b"[DONE]"
METADATA = "x-metadata"
REDIRECTS = frozenset({301, 302, 303, 307, 308})
POST_AGAIN = frozenset({307, 308})
OWN_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class Unreachable(Exception):
    """An executor could not be asked, or broke off.

    Args:
        reason: For logs and for the peer: it names no address.
        began: It may have begun to work.
    """

    def __init__(self, reason: str, *, began: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.began = began


class TokenRefused(Exception):
    """An executor does not know our token (401): it did nothing."""


@define(eq=False)
class Reins:
    """Stops a job at whatever it waits for."""

    _pulled: bool = False
    _waiting: asyncio.Timeout | None = None

    @asynccontextmanager
    async def within(self, seconds: float | None) -> AsyncIterator[None]:
        """Bound a wait.

        Raises:
            TimeoutError: it took longer.
            JobFailed: the job was cancelled.
        """
        if self._pulled:
            raise JobFailed("cancelled")
        try:
            async with asyncio.timeout(seconds) as self._waiting:
                yield
        except TimeoutError:
            if self._pulled:
                raise JobFailed("cancelled") from None
            raise
        finally:
            self._waiting = None

    def pull(self) -> None:
        """Stop."""
        self._pulled = True
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())


@frozen
class _Sending:
    """One request on its way: method and address change when it is redirected."""

    method: str
    url: URL
    headers: dict[str, str]
    body: Body | None


@define(eq=False)
class Proxy:
    """Connections to all executors.

    Args:
        config: Limits.
    """

    _config: ByocConfig
    _open: aiohttp.ClientSession | None = field(default=None, init=False)
    _guarded: aiohttp.ClientSession | None = field(default=None, init=False)

    def start(self) -> None:
        """Open it; on the event loop."""
        self._open = self._session(None)
        guarded = not self._config.allow_private
        self._guarded = self._session(PublicResolver()) if guarded else self._open

    def _session(self, resolver: PublicResolver | None) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_reuse)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                ssl=self._config.verify_tls,
                resolver=resolver,
                keepalive_timeout=KEEP_ALIVE_S,
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=OWN_HEADERS,
            trace_configs=[trace],
            read_bufsize=2**16,
        )

    async def close(self) -> None:
        """Close all connections; safe to call twice."""
        for session in (self._open, self._guarded):
            if session is not None:
                await session.close()

    def _for(self, executor: Executor) -> aiohttp.ClientSession:
        session = self._open if executor.declared else self._guarded
        assert session is not None, "started first"
        return session

    async def probe(self, executor: Executor) -> str:
        """Ask an executor how it is; return what is wrong, or nothing."""
        url = URL(executor.url + executor.health_path, encoded=True)
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                reply = await self._for(executor).get(url, allow_redirects=False)
                reply.close()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return f"health: {_reason(error)}"
        if executor.health_path and reply.status != 200:
            return f"health: {executor.health_path} answers {reply.status}"
        return ""

    async def run(self, executor: Executor, job: Job, reins: Reins) -> AsyncIterator[Output]:
        """Do a job on an executor.

        Raises:
            Unreachable: see there.
            TokenRefused: see there.
            JobFailed: cancelled, or the reply is larger or slower than the limits allow.
        """
        reply = await self._ask(executor, job, reins)
        try:
            async for chunk in self._reply(reply, reins):
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError):
                seconds = self._config.idle_timeout_s
                raise JobFailed(f"the executor was silent for {seconds:g} s") from error
            raise Unreachable(_reason(error), began=True) from error
        finally:
            reply.close() if not reply.content.at_eof() else reply.release()
        yield Result(0)

    async def _ask(self, executor: Executor, job: Job, reins: Reins) -> aiohttp.ClientResponse:
        """Send the request and return the reply's head, redirects followed."""
        call: Call = job.request
        headers = {"User-Agent": "podium"}
        if call.content_type:
            headers["Content-Type"] = call.content_type
        if executor.token is not None:
            headers["Authorization"] = f"Bearer {executor.token.reveal}"
        url = URL(executor.url + (f"/{quote(call.path)}" if call.path else "/"), encoded=True)
        sending = _Sending("POST", url, headers, job.body)
        for _ in range(MAX_REDIRECTS + 1):
            async with reins.within(None):  # the job's own limit is its host's business
                reply = await self._send(executor, sending)
            if reply.status == 401:
                reply.close()
                raise TokenRefused
            if reply.status not in REDIRECTS or "Location" not in reply.headers:
                return reply
            reply.close()
            sending = _redirected(sending, reply)
        raise JobFailed(f"the executor redirects more than {MAX_REDIRECTS} times")

    async def _send(self, executor: Executor, sending: _Sending) -> aiohttp.ClientResponse:
        """Send a request; again on a new connection where a kept one was closed just then."""
        while True:
            noted = SimpleNamespace(reused=False)
            headers = dict(sending.headers)
            body: Any = await _body(sending.body, headers)
            try:
                return await self._for(executor).request(
                    sending.method,
                    sending.url,
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    trace_request_ctx=noted,
                )
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                raise Unreachable(_reason(error), began=False) from error
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                if not noted.reused:
                    raise Unreachable(_reason(error), began=True) from error
            except (aiohttp.ClientError, OSError) as error:
                raise Unreachable(_reason(error), began=True) from error

    async def _reply(self, reply: aiohttp.ClientResponse, reins: Reins) -> AsyncIterator[Chunk]:
        attributes = {"status": str(reply.status), METADATA: reply.headers.get(METADATA, "")}
        content_type = reply.headers.get("Content-Type", "")
        bad = reply.status >= 400
        if not bad and EVENTS in content_type.lower():
            yield Chunk(b"", kind="event", content_type=content_type, attributes=attributes)
            async for lines in self._lines(reply, reins):
                yield Chunk(lines, kind="event", content_type=content_type)
            return
        limit = MAX_ERROR_BYTES if bad else self._config.max_reply_mb * 2**20
        data = bytearray()
        while piece := await self._piece(reply, reins):
            data += piece
            if len(data) > limit:
                raise JobFailed(f"the executor's reply has more than {limit} bytes")
        yield Chunk(bytes(data), content_type=content_type, attributes=attributes)

    async def _piece(self, reply: aiohttp.ClientResponse, reins: Reins) -> bytes:
        async with reins.within(self._config.idle_timeout_s):
            return await reply.content.readany()

    async def _lines(self, reply: aiohttp.ClientResponse, reins: Reins) -> AsyncIterator[bytes]:
        """Yield whole lines as they come, up to the one that says it is the last."""
        rest = b""
        while piece := await self._piece(reply, reins):
            rest += piece
            end = rest.rfind(b"\n") + 1
            whole, rest = rest[:end], rest[end:]
            if whole:
                yield whole
            if DONE in whole:
                return
            if len(rest) > MAX_LINE_BYTES:
                raise JobFailed(f"the executor's line has more than {MAX_LINE_BYTES} bytes")
        if rest:
            yield rest + b"\n"


async def _body(body: Body | None, headers: dict[str, str]) -> Any:
    """Return what is sent: small bodies at once, large ones piece by piece."""
    if body is None:
        return None
    size_bytes = body.size_bytes or 0
    if size_bytes <= SMALL_BYTES:
        return b"".join([piece async for piece in body])
    headers["Content-Length"] = str(size_bytes)
    return body.__aiter__()


def _redirected(sending: _Sending, reply: aiohttp.ClientResponse) -> _Sending:
    """Return what to send next; nothing leaves for another place than the executor.

    Raises:
        JobFailed: it is sent elsewhere.
    """
    try:
        url = sending.url.join(URL(reply.headers["Location"]))
        same = url.origin() == sending.url.origin()
    except ValueError:
        same = False
    if not same:
        raise JobFailed("the executor redirects to another place")
    if reply.status in POST_AGAIN:
        return _Sending(sending.method, url, sending.headers, sending.body)
    headers = {name: value for name, value in sending.headers.items() if name != "Content-Type"}
    return _Sending("GET", url, headers, None)


async def _note_reuse(_session: object, context: SimpleNamespace, _params: object) -> None:
    if (noted := context.trace_request_ctx) is not None:
        noted.reused = True


def _reason(error: BaseException) -> str:
    """Say what went wrong with a connection, without its address."""
    if isinstance(error, TimeoutError):
        return "executor timed out"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno  # its own text may name the address
        return f"executor unreachable: {os.strerror(number) if number else 'no connection'}"
    return f"executor broke off: {type(error).__name__}"
