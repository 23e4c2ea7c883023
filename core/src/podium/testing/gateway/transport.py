"""How a Gateway talks: gRPC over grpcio, ``/segment`` over HTTP/2 or 1.1, downloads over 1.1.

Nobody in this network verifies certificates (wire-video 2.2); authenticity comes from signatures.
grpcio cannot leave verification out, so the certificate that the server shows is fetched first
and trusted as it is.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc
import httpx
from attrs import define, field, frozen
from cryptography import x509

from podium.model import MAX_BODY_BYTES
from podium.testing.gateway.errors import CallRefused, OrchestratorFailed
from podium.wire.pb import lp_rpc_pb2 as net

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.message import Message

    from podium.testing.gateway.requests import SegmentRequest

CONNECT_S = 3.0
HTTP_CONNECT_S = 2.0
HTTP_TIMEOUT_S = 8.0
UPLOAD_TIMEOUT_S = 2.0
DOWNLOAD_TIMEOUT_S = HTTP_TIMEOUT_S / 2
_SERVICE = "/net.Orchestrator/"
_GONE = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
)
"""Status codes that gRPC itself gives: no orchestrator need have said anything."""


class NotSent(OrchestratorFailed):
    """No connection was made, so nothing was sent and nothing is spent."""

    code = "not_sent"


class AnswerLost(OrchestratorFailed):
    """The payment was taken (status 200), but the result never came."""

    code = "answer_lost"


@frozen
class Reply:
    """The answer to ``POST /segment``; times are seconds from the request's start."""

    status: int
    http: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    headers_s: float
    total_s: float


def _trust(host: str, port: int) -> tuple[bytes, str]:
    """Return the server's certificate as PEM, and a name it is good for."""
    pem = ssl.get_server_certificate((host, port), timeout=CONNECT_S)
    certificate = x509.load_pem_x509_certificate(pem.encode())
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return pem.encode(), host
    known: list[str] = [*names.get_values_for_type(x509.DNSName)]
    known += [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return pem.encode(), host if host in known or not known else known[0]


def _reach(scheme: str, host: str, port: int) -> tuple[bytes, str]:
    """Connect, so that a person hears why it cannot be done; with TLS, see ``_trust``."""
    if scheme == "http":
        socket.create_connection((host, port), CONNECT_S).close()
        return b"", host
    return _trust(host, port)


def _why(error: Exception, host: str, port: int) -> str:
    """Say what is wrong with an address, and what to do about it."""
    if isinstance(error, socket.gaierror):
        return f"the name {host} is not known"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens on {host}:{port}; is the node running?"
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return f"it speaks plain HTTP there; try http://{host}:{port}"
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_S:.0f} s"
    return str(error) or type(error).__name__


def is_stray() -> bool:
    """Whether a ``CancelledError`` is a library's own: nobody asked the running task to stop."""
    task = asyncio.current_task()
    return task is not None and not task.cancelling()


@define(eq=False)
class Rpc:
    """The unary calls of the Orchestrator service, with one channel per address."""

    _channels: dict[str, grpc.aio.Channel] = field(factory=dict)
    _closed: bool = False

    async def get_orchestrator(
        self, uri: str, request: net.OrchestratorRequest, timeout_s: float
    ) -> net.OrchestratorInfo:
        """Ask an orchestrator for its terms."""
        reply: net.OrchestratorInfo = await self._call(
            uri, "GetOrchestrator", request, net.OrchestratorInfo, timeout_s
        )
        return reply

    async def ping(self, uri: str, value: bytes, timeout_s: float = HTTP_TIMEOUT_S) -> bytes:
        """Send a ping; the reply is the node's signature over the value."""
        request = net.PingPong(value=value)
        reply: net.PingPong = await self._call(uri, "Ping", request, net.PingPong, timeout_s)
        return reply.value

    async def end_session(
        self, uri: str, token: net.AuthToken, timeout_s: float = CONNECT_S
    ) -> None:
        """Say that a session is over."""
        request = net.EndTranscodingSessionRequest(auth_token=token)
        await self._call(
            uri, "EndTranscodingSession", request, net.EndTranscodingSessionResponse, timeout_s
        )

    async def close(self) -> None:
        """Close every channel."""
        self._closed = True
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            await channel.close(grace=None)

    async def _call(
        self, uri: str, method: str, request: Message, reply: type[Message], timeout_s: float
    ) -> Any:
        known = self._channels.get(uri)
        channel = await self._channel(uri)
        try:
            return await self._call_once(channel, method, request, reply, timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                await self._forget(uri, channel)
                if channel is known:  # a restarted node may show another certificate
                    return await self._call(uri, method, request, reply, timeout_s)
            failed = OrchestratorFailed if error.code() in _GONE else CallRefused
            raise failed(error.details() or error.code().name) from error
        except asyncio.CancelledError as error:
            # Closing a channel cancels its calls: another call found it broken (see _forget).
            if not is_stray():
                raise
            if self._channels.get(uri) is not channel and not self._closed:
                return await self._call(uri, method, request, reply, timeout_s)
            raise OrchestratorFailed(f"the connection to {uri} was closed") from error

    async def _call_once(
        self,
        channel: grpc.aio.Channel,
        method: str,
        request: Message,
        reply: type[Message],
        timeout_s: float,
    ) -> Any:
        call = channel.unary_unary(
            _SERVICE + method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=reply.FromString,
        )
        return await call(request, timeout=timeout_s)

    async def _channel(self, uri: str) -> grpc.aio.Channel:
        if uri in self._channels:
            return self._channels[uri]
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port or 443
        try:
            async with asyncio.timeout(CONNECT_S):
                pem, name = await asyncio.to_thread(_reach, parts.scheme, host, port)
        except (OSError, ValueError) as error:
            reason = _why(error, host, port)
            raise NotSent(f"{host}:{port} cannot be reached: {reason}") from error
        if parts.scheme == "http":
            channel = grpc.aio.insecure_channel(f"{host}:{port}")
        else:
            channel = grpc.aio.secure_channel(
                f"{host}:{port}",
                grpc.ssl_channel_credentials(root_certificates=pem),
                options=(("grpc.ssl_target_name_override", name),),
            )
        return self._channels.setdefault(uri, channel)

    async def _forget(self, uri: str, channel: grpc.aio.Channel) -> None:
        """Close a broken channel, unless another call did, and perhaps opened a new one."""
        if uri in self._channels and self._channels[uri] is channel:
            del self._channels[uri]
            await channel.close(grace=None)


def http_client(*, http2: bool) -> httpx.AsyncClient:
    """Return a client that verifies no certificate, and follows redirects where Gateways do."""
    return httpx.AsyncClient(
        http2=http2,
        verify=False,
        trust_env=False,
        follow_redirects=not http2,
        timeout=httpx.Timeout(None, connect=HTTP_CONNECT_S),
    )


@define(eq=False)
class Http:
    """``/segment`` and downloads.

    A segment in flight has its connection to itself: one that is given up is closed, so that the
    orchestrator notices, and no segment waits behind another.
    """

    _idle: list[httpx.AsyncClient] = field(factory=list)
    _downloads: httpx.AsyncClient = field(factory=lambda: http_client(http2=False))

    async def segment(
        self, uri: str, request: SegmentRequest, duration_s: float, *, path: str = "/segment"
    ) -> Reply:
        """Send a segment within the Gateway's limits (wire-video 2.4).

        The response's headers must be here after max(2 s, half the duration), all of it after
        max(8 s, four times the duration).

        Raises:
            NotSent: no connection.
            AnswerLost: too slow, or the connection broke, after the status 200.
            OrchestratorFailed: the same before it.
        """
        client = self._idle.pop() if self._idle else http_client(http2=True)
        try:
            reply = await _exchange(client, uri + path, request, duration_s)
        except BaseException:
            await client.aclose()
            raise
        self._idle.append(client)
        return reply

    async def download(self, url: str) -> bytes:
        """Fetch a rendition: 4 s, status 200, at most 300 000 000 bytes (wire-video 6.6)."""
        try:
            async with (
                asyncio.timeout(DOWNLOAD_TIMEOUT_S),
                self._downloads.stream("GET", url) as reply,
            ):
                if reply.status_code != 200:
                    raise OrchestratorFailed(f"{url} answered {reply.status_code}")
                data = bytearray()
                async for chunk in reply.aiter_bytes():
                    data += chunk
                    if len(data) > MAX_BODY_BYTES:
                        raise OrchestratorFailed(f"{url} is larger than a rendition may be")
        except TimeoutError as error:
            raise OrchestratorFailed(f"{url} was not here after {DOWNLOAD_TIMEOUT_S} s") from error
        except httpx.HTTPError as error:
            raise OrchestratorFailed(f"{url} could not be fetched: {error}") from error
        return bytes(data)

    async def close(self) -> None:
        """Close every connection."""
        for client in self._idle:
            await client.aclose()
        await self._downloads.aclose()


async def _exchange(
    client: httpx.AsyncClient, url: str, request: SegmentRequest, duration_s: float
) -> Reply:
    start = time.monotonic()
    headers_s = 0.0
    failed: type[OrchestratorFailed] = OrchestratorFailed
    try:
        async with asyncio.timeout(max(HTTP_TIMEOUT_S, 4 * duration_s)):
            outgoing = client.build_request(
                "POST", url, headers=request.headers, content=request.body
            )
            async with asyncio.timeout(max(UPLOAD_TIMEOUT_S, duration_s / 2)):
                reply = await client.send(outgoing, stream=True)
            headers_s = time.monotonic() - start
            if reply.status_code == 200:
                failed = AnswerLost
            try:
                body = await reply.aread()
            finally:
                await reply.aclose()
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise NotSent(f"{url} cannot be reached: {error}") from error
    except TimeoutError as error:
        raise failed(f"{url} took too long: {time.monotonic() - start:.1f} s") from error
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise failed(f"{url} broke the connection: {reason}") from error
    total_s = time.monotonic() - start
    return Reply(reply.status_code, reply.http_version, reply.headers, body, headers_s, total_s)
