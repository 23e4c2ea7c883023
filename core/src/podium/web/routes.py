"""Which path goes to which face, on the public port."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from podium.web.asgi import send_text
from podium.web.byoc import PREFIX as BYOC_PREFIX
from podium.web.results import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from podium_hookspecs import AsgiApp, Mount

    from podium.web.ai import AiFace
    from podium.web.asgi import Receive, Scope, Send
    from podium.web.byoc import ByocFace

GRPC = b"application/grpc"
CORE_PATHS = frozenset({"/segment", "/payment", "/stream", "/process", "/healthz"})
"""Paths that no plugin may take."""


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
class MountedApps:
    """Takes requests to plugins' routes, which come and go while the node runs.

    Args:
        mounts: Returns the routes there are now.
        surface: Those of which port.
        otherwise: Takes the requests that belong to none.
    """

    mounts: Callable[[], Sequence[Mount]]
    surface: str
    otherwise: AsgiApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope.get("path", "")
        for mount in self.mounts():
            inside = path == mount.path or path.startswith(mount.path + "/")
            if inside and mount.surface == self.surface:
                root = scope.get("root_path", "") + mount.path
                await mount.app({**scope, "root_path": root}, receive, send)
                return
        await self.otherwise(scope, receive, send)


@frozen
class PublicApp:
    """The public port's application: gRPC by content type, all else by path.

    Attributes:
        grpc: Takes every gRPC call.
        core: The core's own paths.
        results: Takes what is below ``/stream/``.
        ai: Takes the paths of HTTP pipelines.
        byoc: Takes what is below ``/process/``.
        router: Takes the rest: plugins' mounts.
    """

    grpc: AsgiApp
    core: Mapping[str, AsgiApp]
    results: AsgiApp
    ai: AiFace
    byoc: ByocFace
    router: AsgiApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["http_version"] == "2" and _is_grpc(scope):
            app = self.grpc
        elif (found := self.core.get(scope["path"])) is not None:
            app = found
        elif self.ai.find(scope["path"]) is not None:
            app = self.ai
        elif scope["path"].startswith(BYOC_PREFIX):
            app = self.byoc
        else:
            app = self.results if scope["path"].startswith(PREFIX) else self.router
        await app(scope, receive, send)


def _is_grpc(scope: Scope) -> bool:
    return any(k == b"content-type" and v.startswith(GRPC) for k, v in scope["headers"])


def public_app(
    *,
    grpc: AsgiApp,
    segment: AsgiApp,
    payment: AsgiApp,
    results: AsgiApp,
    ai: AiFace,
    byoc: ByocFace,
    mounts: Callable[[], Sequence[Mount]] = tuple,
) -> PublicApp:
    """Put the public faces together; plugins' mounts come after the core's own paths."""
    return PublicApp(
        grpc=grpc,
        core={"/segment": segment, "/payment": payment, "/healthz": healthz},
        results=results,
        ai=ai,
        byoc=byoc,
        router=MountedApps(mounts, "public", not_found),
    )
