"""What each session paid and was billed, as JSON on the admin port."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from podium.telemetry.statement import Statement
    from podium.web.asgi import Receive, Scope, Send

LEDGER_PATH = "/podium/ledger"


@frozen
class LedgerFace:
    """GET: ``{"entries": [...]}``, amounts in wei as exact fractions."""

    statement: Statement

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        del scope, receive
        body = json.dumps({"entries": self.statement.lines()}).encode()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
