"""The admin port: metrics, liveness, readiness, and plugins' admin routes. Keep it private."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from podium.web.routes import MountedApps

if TYPE_CHECKING:
    from podium_hookspecs import AsgiApp, Mount

TEXT = b"text/plain; charset=utf-8"
METRICS_TEXT = b"text/plain; version=0.0.4; charset=utf-8"
ADMIN_PATHS = ("/metrics", "/healthz", "/readyz")

Answer = tuple[int, bytes, bytes]
"""Status, content type, body."""
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def make_admin_app(
    render: Callable[[], bytes] | None,
    ready: Callable[[], tuple[bool, str]],
    mounts: Callable[[], Sequence[Mount]] = tuple,
) -> AsgiApp:
    """Make the ASGI application of the admin port.

    Args:
        render: The metrics page; None: there is none (404).
        ready: Whether the node takes work, and the reason when it does not.
        mounts: Returns further routes, the node's own first; those of the public surface are left
            out.
    """

    def metrics() -> Answer:
        if render is None:
            return 404, TEXT, b"metrics are switched off\n"
        return 200, METRICS_TEXT, render()

    def readiness() -> Answer:
        is_ready, reason = ready()
        return (200 if is_ready else 503), TEXT, (reason or "ready").encode() + b"\n"

    routes: dict[str, Callable[[], Answer]] = {
        "/metrics": metrics,
        "/healthz": lambda: (200, TEXT, b"ok\n"),
        "/readyz": readiness,
    }

    mounted = MountedApps(mounts, "admin", _not_found)

    async def app(
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Send,
    ) -> None:
        if scope["type"] != "http":
            return
        route = routes.get(scope["path"])
        if route is None:
            await mounted(scope, receive, send)
        else:
            await _answer(send, scope["method"], route)

    return app


async def _not_found(scope: MutableMapping[str, Any], _receive: object, send: Send) -> None:
    await _answer(send, scope["method"], None)


async def _answer(send: Send, method: str, route: Callable[[], Answer] | None) -> None:
    if route is None:
        answer: Answer = (404, TEXT, b"not found\n")
    elif method not in {"GET", "HEAD"}:
        answer = (405, TEXT, b"method not allowed\n")
    else:
        answer = route()
    status, content_type, body = answer
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    if status == 405:
        headers.append((b"allow", b"GET, HEAD"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
