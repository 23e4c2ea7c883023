"""The engine's HTTP API (Docker's, and Podman's copy of it), as far as runners need it.

Straight over aiohttp instead of by Docker's own Python package: that one blocks a thread for each
call, has no limit on a whole call, and cannot be cancelled; a pull takes many minutes.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import aiohttp
from attrs import define, field
from podium_hookspecs import ConfigError

from podium_ai_runner.executors.launcher import ExecutorDown, StartFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

DEFAULT_HOST = "unix:///var/run/docker.sock"
NEWEST_API = (1, 51)
"""What we ask for where the engine has it; an older engine is asked in its own version."""
MAX_REPLY_BYTES = 16 * 2**20
CALL_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 5.0
QUICK_TIMEOUT_S = 5.0
MAX_LINE_BYTES = 1 << 20


class EngineRefused(StartFailed):
    """The engine answered that it will not.

    Args:
        status: HTTP status of its answer.
        message: What it said.
    """

    code: ClassVar[str] = "engine_refused"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"the container engine says {status}: {message}")
        self.status = status


@define(eq=False)
class Engine:
    """A connection to an engine; connections are made for each call, so that it may restart.

    Args:
        base: Base URL.
        socket: Path of its socket; empty for TCP.
        tls: For TCP with certificates.
    """

    base: str
    socket: str = ""
    tls: ssl.SSLContext | None = None
    _session: aiohttp.ClientSession | None = field(default=None, init=False)
    _version: str = field(default="", init=False)
    _closed: bool = field(default=False, init=False)

    @classmethod
    def at(cls, host: str) -> Engine:
        """Find the engine at an address; empty: ``DOCKER_HOST``, or its usual socket.

        Raises:
            ConfigError: that is no address of an engine.
        """
        host = host or os.environ.get("DOCKER_HOST", "") or DEFAULT_HOST
        scheme, _, rest = host.partition("://")
        if scheme == "unix" and rest:
            return cls("http://engine", socket=rest)
        if scheme in ("tcp", "http", "https") and rest:
            folder = os.environ.get("DOCKER_CERT_PATH", "")
            secure = scheme == "https" or bool(os.environ.get("DOCKER_TLS_VERIFY"))
            tls = _tls(folder) if secure else None
            return cls(f"http{'s' * secure}://{rest.rstrip('/')}", tls=tls)
        msg = f"plugins.ai: {host} is no address of a container engine: unix://PATH or tcp://HOST:PORT"
        raise ConfigError(msg)

    @property
    def address(self) -> str:
        """For people."""
        return f"unix://{self.socket}" if self.socket else self.base

    async def ping(self) -> None:
        """See that it answers.

        Raises:
            ExecutorDown: it does not.
        """
        async with self._call("GET", "/_ping", timeout_s=QUICK_TIMEOUT_S) as response:
            version = response.headers.get("Api-Version", "")
            self._version = f"/v{_lower(version)}" if version else ""

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> Any:
        """Make one call; return its JSON, or None where it has none.

        Raises:
            ExecutorDown: no answer, or none in time.
            EngineRefused: it says no.
        """
        async with self._versioned(method, path, query, body, timeout_s) as response:
            data = await _read(response)
            if response.content_type != "application/json" or not data:
                return None
            return self._parsed(data)

    async def read(self, path: str, *, query: Mapping[str, str], timeout_s: float) -> bytes:
        """Fetch bytes; the engine is trusted to bound them by the query, up to 16 MiB.

        Raises:
            ExecutorDown, EngineRefused: as for ``ask``.
        """
        async with self._versioned("GET", path, query, None, timeout_s) as response:
            return await _read(response)

    async def follow(
        self, method: str, path: str, *, query: Mapping[str, str], silence_s: float
    ) -> AsyncGenerator[Any, None]:
        """Make a call that reports as it goes, one JSON value a line.

        Args:
            method: Of the call.
            path: The same.
            query: The same.
            silence_s: Longest time between two reports.

        Raises:
            ExecutorDown, EngineRefused: as for ``ask``.
        """
        async with self._versioned(method, path, query, None, None) as response:
            while True:
                try:
                    async with asyncio.timeout(silence_s):
                        line = await response.content.readline()
                except TimeoutError:
                    raise self._down(f"has not said anything for {silence_s:.0f} s") from None
                except ValueError as error:  # a line without an end
                    raise self._down("answers nonsense") from error
                if not line:
                    return
                if line.strip():
                    yield self._parsed(line)

    async def close(self) -> None:
        """Let go of its connections; every later call fails. Safe to call twice."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def _versioned(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Any,
        timeout_s: float | None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if not self._version:
            await self.ping()
        where = self._version + path
        async with self._call(method, where, query, body, timeout_s) as response:
            if response.status >= 400:
                raise EngineRefused(response.status, _said(await _read(response)))
            yield response

    @asynccontextmanager
    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._closed:
            raise self._down("is not asked any more")
        try:
            async with self._open().request(
                method,
                self.base + path,
                params=query,
                json=body,
                timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S),
            ) as response:
                yield response
        except TimeoutError as error:
            raise self._down(
                f"does not answer within {timeout_s or CONNECT_TIMEOUT_S:.0f} s"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            self._version = ""  # another one may answer next time
            raise self._down(f"does not answer: {error}") from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector: aiohttp.BaseConnector
            if self.socket:
                connector = aiohttp.UnixConnector(self.socket, limit=0, force_close=True)
            else:
                connector = aiohttp.TCPConnector(limit=0, force_close=True, ssl=self.tls or True)
            self._session = aiohttp.ClientSession(connector=connector, read_bufsize=MAX_LINE_BYTES)
        return self._session

    def _parsed(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self._down("answers nonsense") from error

    def _down(self, what: str) -> ExecutorDown:
        return ExecutorDown(f"the container engine at {self.address} {what}")


async def _read(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    left = MAX_REPLY_BYTES
    async for part in response.content.iter_any():
        parts.append(part[:left])
        left -= len(part)
        if left <= 0:
            break
    return b"".join(parts)


def _said(data: bytes) -> str:
    try:
        message = json.loads(data)["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        message = data.decode(errors="replace")
    return str(message).strip()[:1000]


def _lower(version: str) -> str:
    """Return the older of the engine's newest version and ours."""
    major, _, minor = version.partition(".")
    theirs = (int(major), int(minor)) if major.isdigit() and minor.isdigit() else NEWEST_API
    return ".".join(map(str, min(theirs, NEWEST_API)))


def _tls(folder: str) -> ssl.SSLContext:
    """Trust and show the certificates of a folder, as Docker's own client does."""
    path = Path(folder).expanduser() if folder else Path.home() / ".docker"
    try:
        context = ssl.create_default_context(cafile=str(path / "ca.pem"))
        context.load_cert_chain(path / "cert.pem", path / "key.pem")
    except OSError as error:
        msg = f"plugins.ai: no certificates for the container engine in {path}: {error}"
        raise ConfigError(msg) from error
    return context
