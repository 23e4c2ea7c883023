"""One port for HTTP/1.1 and HTTP/2: who speaks what."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from podium.listener.h1 import H1Protocol
from podium.listener.h2 import H2Protocol

if TYPE_CHECKING:
    from podium.listener.config import ListenerConfig, ListenerState

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class DemuxProtocol(asyncio.Protocol):
    """The first moments of a connection.

    Under TLS the client's ALPN offer has decided: ``h2`` whenever offered,
    else HTTP/1.1, also without ALPN. In plain text the first bytes decide:
    HTTP/2's preface (prior knowledge) or HTTP/1.1.
    """

    alpn_protocols: tuple[str, ...] = ("h2", "http/1.1")

    def __init__(
        self,
        config: ListenerConfig,
        server_state: ListenerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._start = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Decide at once under TLS; else wait for bytes."""
        self.transport = cast("asyncio.Transport", transport)
        if not self._server_state.gate.admit(self.transport):
            self.transport.abort()
            return
        self._server_state.connections.add(self)  # type: ignore[arg-type]
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self._hand_over(H2Protocol if tls.selected_alpn_protocol() == "h2" else H1Protocol)

    def data_received(self, data: bytes) -> None:
        """Compare with the preface."""
        self._start += data
        if len(self._start) < len(_PREFACE) and _PREFACE.startswith(self._start):
            if self._timer is None:
                timeout_s = self._config.limits.head_timeout_s
                self._timer = self._loop.call_later(timeout_s, self.transport.abort)
            return
        self._hand_over(H2Protocol if self._start.startswith(_PREFACE) else H1Protocol)

    def _hand_over(self, protocol_class: type[H1Protocol | H2Protocol]) -> None:
        self._forget()
        protocol = protocol_class(self._config, self._server_state, self._app_state, self._loop)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if self._start:
            protocol.data_received(self._start)

    def _forget(self) -> None:
        self._server_state.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client left without a word."""
        self._forget()
        self._server_state.gate.ended(self.transport)

    def shutdown(self) -> None:
        """Nothing was asked, so nothing is owed."""
        self.transport.close()

    def abort(self) -> None:
        """Drop the connection now."""
        self.transport.abort()
