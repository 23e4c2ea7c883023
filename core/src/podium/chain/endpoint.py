"""One JSON-RPC endpoint over HTTP: a request, an answer, and what is wrong with it."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp

from podium.chain.answers import EndpointFault, Refusal
from podium.errors import ChainError, RpcError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ANSWER_BYTES = 32 * 1024 * 1024
_CONNECTIONS = 64
_CHUNK_BYTES = 256 * 1024
_SECRET_CHARACTERS = 8
_TOO_MANY_REQUESTS = 429
_OK = 200


class Endpoint:
    """Posts requests to one URL and keeps its connections.

    A URL often holds a key in its path, so it appears nowhere: ``name`` is its host, and what
    the other side says is cleaned of it.

    Attributes:
        name: Host and port.
    """

    def __init__(self, url: str, *, max_answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            msg = "an endpoint needs an http:// or https:// URL"
            raise ChainError(msg)
        self.name = parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"
        self._url = url
        self._secrets = [s for s in _secrets(url) if len(s) >= _SECRET_CHARACTERS]
        self._max_answer_bytes = max_answer_bytes
        self._session: aiohttp.ClientSession | None = None
        self._ids: Iterator[int] = count(1)

    def __repr__(self) -> str:
        return f"Endpoint({self.name})"

    async def post(self, method: str, params: tuple[Any, ...], timeout_s: float) -> Any:
        """Return the result of a method.

        Raises:
            EndpointFault: there was no answer that can be used.
            RpcError: the answer is an error.
            Reverted: the answer is a contract's revert.
        """
        number = next(self._ids)
        body = json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        try:
            async with asyncio.timeout(timeout_s):
                status, retry_after_s, data = await self._exchange(body.encode())
        except TimeoutError:
            msg = f"no answer within {timeout_s:.3g} s"
            raise EndpointFault(msg, unclear=True) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            unclear = not isinstance(error, aiohttp.ClientConnectorError)
            raise EndpointFault(_complaint(error), unclear=unclear) from None
        if status == _TOO_MANY_REQUESTS:
            msg = "limits our requests (HTTP 429)"
            raise EndpointFault(msg, retry_after_s)
        return self._result(status, data, number, retry_after_s)

    async def close(self) -> None:
        """Close the connections. Asking again opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _exchange(self, body: bytes) -> tuple[int, float, bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                headers={"content-type": "application/json"},
            )
        # A redirect would send the request, perhaps a transaction, to whoever it names.
        async with self._session.post(self._url, data=body, allow_redirects=False) as response:
            data = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                data += chunk
                if len(data) > self._max_answer_bytes:
                    msg = f"response size exceeds {self._max_answer_bytes} bytes"
                    raise RpcError(msg, kind="range")
            wait_s = _retry_after_s(response.headers.get("Retry-After", ""))
            return response.status, wait_s, bytes(data)

    def _result(self, status: int, data: bytes, number: int, retry_after_s: float) -> Any:
        try:
            answer = json.loads(data)
        except (ValueError, RecursionError):
            answer = None
        if isinstance(answer, dict) and answer.get("error") is not None:
            refusal = Refusal.parse(answer["error"])
            raise Refusal(refusal.number, self._clean(refusal.message), refusal.data).to_error()
        if status != _OK:
            msg = f"HTTP {status}"
            raise EndpointFault(msg, retry_after_s, unclear=True)
        if not isinstance(answer, dict) or "result" not in answer or answer.get("id") != number:
            msg = "the answer is not JSON-RPC"
            raise EndpointFault(msg, unclear=True)
        return answer["result"]

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "...")
        return text


def _secrets(url: str) -> Iterator[str]:
    """Yield the parts of a URL that may be keys, the longest first."""
    parts = urlsplit(url)
    yield from (parts.path.strip("/"), parts.query)
    yield from parts.path.split("/")
    yield from (pair.partition("=")[2] for pair in parts.query.split("&"))
    yield from (parts.username or "", parts.password or "")


def _complaint(error: Exception) -> str:
    """Say what went wrong, without the URL that some errors print."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not valid"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect: {error.os_error.strerror or 'unreachable'}"
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError):
        return "the connection was lost"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer was cut off"
    return f"the answer is not HTTP ({type(error).__name__})"


def _retry_after_s(text: str) -> float:
    """Read a Retry-After header: seconds, or a date; 0 where it says nothing."""
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.fromtimestamp(time.time(), UTC)).total_seconds())
