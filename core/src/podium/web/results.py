"""Serves finished renditions to gateways (wire-video 13): ``/stream/...``."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from attrs import frozen

from podium.web.asgi import send_text

if TYPE_CHECKING:
    from podium.stores.objects import ObjectStore
    from podium.web.asgi import Receive, Scope, Send

PREFIX = "/stream/"
CONTENT_TYPES = {".ts": "video/mp2t", ".mp4": "video/mp4", ".phash": "application/octet-stream"}
MAX_NAME_CHARS = 128


def content_type(name: str) -> str:
    """Return the MIME type of an object's name."""
    return CONTENT_TYPES.get(name[name.rfind(".") :], "application/octet-stream")


def folder_name(profile_name: str) -> str:
    """Turn a profile's name, which a peer chose, into one safe path component."""
    safe = "".join(c if c.isalnum() or c in "-_.~ " else "_" for c in profile_name)
    return safe.lstrip(".")[:MAX_NAME_CHARS] or "_"


def object_url(service_uri: str, session_id: str, folder: str, name: str) -> str:
    """Return where an object of our own store is fetched from."""
    return f"{service_uri}{PREFIX}{session_id}/{quote(folder)}/{name}"


@frozen
class ResultsFace:
    """GET an object; no authentication, the session's ID is the secret."""

    objects: ObjectStore

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        del receive
        session_id, _, rest = scope["path"].removeprefix(PREFIX).partition("/")
        folder, _, name = rest.rpartition("/")
        found = self.objects.get(session_id, folder, name)
        if scope["method"] not in ("GET", "HEAD"):
            await send_text(send, 405, "Method Not Allowed")
            return
        if found is None:
            await send_text(send, 404, "ErrNotFound")
            return
        headers = [
            (b"access-control-allow-origin", b"*"),
            (b"access-control-expose-headers", b"Content-Length"),
            (b"cache-control", b"max-age=5"),
            (b"content-type", found.content_type.encode()),
            (b"content-length", str(len(found.data)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        body = found.data if scope["method"] == "GET" else b""
        await send({"type": "http.response.body", "body": body})
