"""Which path goes to which face, on the public port."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from podium.web.asgi import send_text
from podium.web.byoc import PREFIX as BYOC_PREFIX
from podium.web.results import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
class Mounts:
    """Plugins' applications, each at its path and below; ``root_path`` tells them which it is."""

    mounts: tuple[Mount, ...]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope["path"]
        for mount in self.mounts:
            if path == mount.path or path.startswith(f"{mount.path}/"):
                root = scope.get("root_path", "") + mount.path
                await mount.app({**scope, "root_path": root}, receive, send)
                return
        await not_found(scope, receive, send)


@frozen
class PublicApp:
    """The public port's application: gRPC by content type, all else by path.

    Attributes:
        grpc: Takes every gRPC call.
        core: The core's own paths.
        results: Takes what is below ``/stream/``.
        ai: Takes the paths of HTTP pipelines.
        byoc: Takes what is below ``/process/``.
        mounted: Takes the rest.
    """

    grpc: AsgiApp
    core: Mapping[str, AsgiApp]
    results: AsgiApp
    ai: AiFace
    byoc: ByocFace
    mounted: Mounts

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
            app = self.results if scope["path"].startswith(PREFIX) else self.mounted
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
    mounts: Sequence[Mount] = (),
) -> PublicApp:
    """Put the public faces together; plugins' mounts come after the core's own paths."""
    public = tuple(mount for mount in mounts if mount.surface == "public")
    return PublicApp(
        grpc=grpc,
        core={"/segment": segment, "/payment": payment, "/healthz": healthz},
        results=results,
        ai=ai,
        byoc=byoc,
        mounted=Mounts(public),
    )
