"""What the server gives each connection: uvicorn's own objects, and our limits."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.server import ServerState

from podium.listener.gate import ConnectionGate

if TYPE_CHECKING:
    import asyncio

    from podium.listener.limits import Limits


class ListenerConfig(uvicorn.Config):
    """uvicorn's configuration for one port, as the facts of the wire ask for it.

    Attributes:
        limits: Bounds of each connection.
    """

    def __init__(
        self,
        app: Any,
        http: type[asyncio.Protocol],
        limits: Limits,
        context: ssl.SSLContext | None,
    ) -> None:
        self.limits = limits
        super().__init__(
            app,
            http=http,
            ws="none",
            interface="asgi3",
            lifespan="off",  # the composition root owns start and stop
            loop="uvloop",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=int(limits.idle_timeout_s),
            timeout_graceful_shutdown=max(1, round(limits.graceful_timeout_s)),
            ssl_context_factory=None if context is None else lambda _config, _default: context,
        )


class ListenerState(ServerState):
    """uvicorn's shared state, with the gate that all connections pass."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.gate = ConnectionGate(limits.max_connections, limits.silent_per_address)
