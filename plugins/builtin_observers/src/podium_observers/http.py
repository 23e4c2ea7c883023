"""A client for one endpoint that the operator named.

It may be anywhere, this machine included. What it answers is bounded, redirects are not followed,
and certificates are checked. Its URL may hold a key, so it appears nowhere: errors name the host.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from attrs import Attribute, define, field, frozen
from podium_hookspecs import Secret

MAX_ANSWER_BYTES = 64 * 1024
CONNECTIONS = 16


class EndpointError(Exception):
    """The endpoint could not be asked; the text names no more than its host."""


@frozen
class Answer:
    """What came back, cut at 64 KiB."""

    status: int
    body: bytes = field(repr=False)


def check_url(instance: object, attribute: Attribute[Any], value: Secret) -> None:
    """Refuse what is no HTTP URL, without showing it."""
    try:
        parts = urlsplit(value.reveal)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        raise ValueError("must be a URL, as in https://example.com/hook") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("must be a URL, as in https://example.com/hook")
    if parts.username or parts.password or parts.fragment:
        raise ValueError("must not hold a user, a password or a fragment")


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return what servers are checked by: the system's certificates, and the given ones.

    Raises:
        OSError: the file cannot be read; also where it holds no certificates.
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


@define(eq=False)
class Endpoint:
    """One URL, asked with POST; it connects with the first request."""

    url: Secret
    timeout_s: float
    tls: ssl.SSLContext
    _client: aiohttp.ClientSession | None = field(default=None, init=False)

    @property
    def host(self) -> str:
        """Where it is, for logs."""
        return urlsplit(self.url.reveal).hostname or ""

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Ask.

        Raises:
            EndpointError: there was no answer, or not within the time.
        """
        try:
            async with self._open().post(
                self.url.reveal, data=body, headers=headers, allow_redirects=False
            ) as reply:
                return Answer(reply.status, await _read(reply.content))
        except TimeoutError:
            raise EndpointError(f"{self.host}: no answer within {self.timeout_s:g} s") from None
        except aiohttp.ClientError as error:
            raise EndpointError(f"{self.host}: {_reason(error)}") from None

    def _open(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self.timeout_s),
                connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=self.tls),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._client

    async def close_at_end(self) -> None:
        """Wait, as a background task, and close the connections when it is cancelled."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the connections; safe to call twice."""
        if self._client is not None:
            await self._client.close()
            self._client = None


async def _read(content: aiohttp.StreamReader) -> bytes:
    """Read to the end, or to the bound."""
    read = bytearray()
    while len(read) < MAX_ANSWER_BYTES:
        piece = await content.read(MAX_ANSWER_BYTES - len(read))
        if not piece:
            break
        read += piece
    return bytes(read)


def _reason(error: aiohttp.ClientError) -> str:
    """Say what went wrong; the library's own text may hold the URL."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not trusted"
    if isinstance(error, aiohttp.ClientOSError) and error.strerror:
        return error.strerror
    return type(error).__name__
