"""Which path goes to which face, on the public port."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen
from starlette.routing import Mount as StarletteMount
from starlette.routing import Route, Router

from podium.web.asgi import send_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podium_hookspecs import AsgiApp, Mount

    from podium.web.asgi import Receive, Scope, Send

GRPC = b"application/grpc"
CORE_PATHS = frozenset({"/segment", "/payment", "/stream", "/healthz"})
"""Paths that no plugin may take."""


@frozen
class Endpoint:
    """Keeps Starlette from taking an ASGI function for a request handler."""

    app: AsgiApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call it."""
        await self.app(scope, receive, send)


async def healthz(scope: Scope, receive: Receive, send: Send) -> None:
    """Prove that the process lives: 200 and nothing else."""
    del scope, receive
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as Go's mux does."""
    if scope["type"] == "http":
        await send_text(send, 404, "404 page not found")


@frozen
class PublicApp:
    """The public port's application: gRPC by content type, all else by path."""

    grpc: AsgiApp
    router: AsgiApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["http_version"] == "2" and _is_grpc(scope):
            await self.grpc(scope, receive, send)
        else:
            await self.router(scope, receive, send)


def _is_grpc(scope: Scope) -> bool:
    return any(k == b"content-type" and v.startswith(GRPC) for k, v in scope["headers"])


def public_app(
    *,
    grpc: AsgiApp,
    segment: AsgiApp,
    payment: AsgiApp,
    results: AsgiApp,
    mounts: Sequence[Mount] = (),
) -> PublicApp:
    """Put the public faces together; plugins' mounts come after the core's own paths."""
    router = Router(
        routes=[
            Route("/segment", Endpoint(segment)),
            Route("/payment", Endpoint(payment)),
            Route("/healthz", Endpoint(healthz)),
            Route("/stream/{rest:path}", Endpoint(results)),
            *(StarletteMount(m.path, m.app) for m in mounts if m.surface == "public"),
        ],
        default=not_found,
        redirect_slashes=False,
    )
    return PublicApp(grpc, router)
