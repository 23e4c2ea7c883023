"""How the node stands, as JSON on the admin port: for ``podium status``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from podium.web.asgi import Receive, Scope, Send

STANDING_PATH = "/podium/status"


@frozen
class StandingFace:
    """GET: version, service URI, readiness, sessions and whose they are."""

    tell: Callable[[], Mapping[str, Any]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        del scope, receive
        body = json.dumps(self.tell()).encode()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
