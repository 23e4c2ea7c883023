"""What a gateway would be quoted, as JSON on the admin port: for ``podium price explain``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from attrs import frozen
from podium_hookspecs import PriceRequest

from podium.web.asgi import send_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from podium.pricing.explain import Explanation
    from podium.web.asgi import Receive, Scope, Send

PRICE_PATH = "/podium/price"


@frozen
class PriceFace:
    """GET, with ``sender`` (hex), ``capability`` (number), ``model`` and ``unit``.

    Args:
        explain: Says what would be quoted.
        unit_of: Says what the work of a capability is counted in.
    """

    explain: Callable[[PriceRequest], Awaitable[Explanation]]
    unit_of: Callable[[int], str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        del receive
        try:
            request = self._read(scope["query_string"])
        except ValueError as error:
            await send_text(send, 400, str(error))
            return
        body = json.dumps((await self.explain(request)).as_json()).encode()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _read(self, query: bytes) -> PriceRequest:
        given = {key: values[0] for key, values in parse_qs(query.decode("latin-1")).items()}
        sender = bytes.fromhex(given.get("sender", "").removeprefix("0x"))
        if len(sender) != 20:
            raise ValueError("sender must be an address")
        capability = int(given.get("capability", "0"))
        unit = given.get("unit") or self.unit_of(capability)
        return PriceRequest(sender, capability, given.get("model"), unit)
