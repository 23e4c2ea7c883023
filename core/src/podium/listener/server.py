"""The port's server: bind, serve until told to stop, drain."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from typing import TYPE_CHECKING, Any

import uvicorn

from podium.listener.config import ListenerConfig, ListenerState
from podium.listener.errors import ListenError, PortInUse
from podium.listener.limits import Limits
from podium.listener.protocol import DemuxProtocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from podium.listener.stream import App
    from podium.listener.tls import TlsFiles

_FAREWELL_S = 0.05  # for long replies to end before the server says it goes away
_KEEPALIVE_S = 60


class PodiumServer(uvicorn.Server):
    """One port. Embeddable: it leaves signals and the event loop to its owner.

    Attributes:
        stopping: Set before connections are told to go, so that long replies
            can end by themselves.
        ready: Set once connections are accepted.
        port: The port; the chosen one once bound, if 0 was asked for.
    """

    def __init__(self, config: ListenerConfig) -> None:
        super().__init__(config)
        self.limits = config.limits
        self._config = config
        self.server_state = self._state = ListenerState(config.limits)
        self.port = config.port
        self.stopping = asyncio.Event()
        self.ready = asyncio.Event()
        self.servers: list[asyncio.base_events.Server] = []
        self._sockets: list[socket.socket] = []

    def bind(self) -> None:
        """Take the port, before anything else starts.

        Raises:
            PortInUse: Another program has it.
            ListenError: The address is no good.
        """
        if not self._sockets:
            self._sockets = _bound(self.config.host, self.config.port, self.config.backlog)
        self.port = int(self._sockets[0].getsockname()[1])

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until ``stop`` and drained.

        Args:
            sockets: Bound sockets to use instead of binding host and port.

        Raises:
            ListenError: As from ``bind``.
        """
        if sockets is not None:
            self._sockets = sockets
        self.bind()
        try:
            await super().serve(self._sockets)
        finally:
            self.close()  # nothing is left after a stop, all of it when cancelled

    def stop(self) -> None:
        """Begin to stop gracefully; ``serve`` returns when done."""
        self.should_exit = True

    def stop_now(self) -> None:
        """Stop without waiting for requests."""
        self.should_exit = self.force_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections; uvicorn's own has no limit for the TLS handshake."""
        loop = asyncio.get_running_loop()
        config = self._config

        timeout_s = None if config.ssl is None else self.limits.handshake_timeout_s

        def protocol() -> DemuxProtocol:
            return DemuxProtocol(config, self._state, {}, loop)

        self.servers = []
        for sock in sockets or []:
            server = await loop.create_server(
                protocol,
                sock=sock,
                ssl=config.ssl,
                backlog=config.backlog,
                ssl_handshake_timeout=timeout_s,
            )
            self.servers.append(server)
        self.started = True
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain: long replies end, then connections, then whatever is left is dropped."""
        self.stopping.set()
        if not self.force_exit:
            await asyncio.sleep(_FAREWELL_S)
        await super().shutdown(sockets)
        if self.server_state.tasks or self.server_state.connections:
            for task in list(self.server_state.tasks):
                task.cancel()
            await asyncio.sleep(_FAREWELL_S)  # for streams to tell their clients

    def close(self) -> None:
        """Let go of the port and of every connection; for a server bound and never served."""
        for sock in self._sockets:
            sock.close()
        for server in self.servers:
            server.close()
        for task in list(self.server_state.tasks):
            task.cancel()
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: the app owns the signals."""
        yield


def _bound(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Bind every address of a host; an empty host is all interfaces.

    Raises:
        PortInUse: Another program has the port.
        ListenError: The address is no good.
    """
    bound: list[socket.socket] = []
    try:
        addresses = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, _kind, _protocol, _name, address in dict.fromkeys(addresses):
            # With port 0, the first address picks for all.
            chosen = bound[0].getsockname()[1] if bound else port
            try:
                bound.append(_listening(family, (address[0], chosen, *address[2:]), backlog))
            except OSError as error:
                # All interfaces may include a family that this machine lacks.
                if host or error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise
    except OSError as error:
        for sock in bound:
            sock.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(host, port) from error
        raise ListenError(f"cannot listen on {host or 'all interfaces'}:{port}: {error}") from error
    if not bound:
        raise ListenError(f"no network to listen on port {port}")
    return bound


def _listening(family: int, address: tuple[Any, ...], backlog: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit these: a peer that vanished is noticed.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_S)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def make_server(
    app: App,
    host: str,
    port: int,
    tls: TlsFiles | None = None,
    limits: Limits | None = None,
) -> PodiumServer:
    """A server for an ASGI app on one port.

    Args:
        app: ASGI 3 app; HTTP/2 requests have the ``http.response.trailers`` extension.
        host: Address to bind; empty for all interfaces.
        port: Port to bind; 0 for any.
        tls: Certificate and key; plain text (with h2c) when None.
        limits: Bounds of each connection.

    Raises:
        CertificateError: The certificate cannot be used.
    """
    context = None if tls is None else tls.context(DemuxProtocol.alpn_protocols)
    config = ListenerConfig(app, DemuxProtocol, limits or Limits(), context)
    config.host, config.port = host, port
    return PodiumServer(config)
