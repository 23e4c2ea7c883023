"""The plugins of the running node, and how they are changed, on the admin port.

Reading is open to whoever reaches the port. A change is taken from this machine only, and from no
browser: its page could be anybody's, under any name that leads here.
"""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from attrs import frozen

from podium.web.asgi import header, send_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from podium.web.asgi import Receive, Scope, Send

RELOAD_PATH = "/podium/reload"
PLUGINS_PATH = "/podium/plugins"
MAX_BODY_BYTES = 4096
JSON = "application/json"


@frozen
class PluginsFace:
    """GET: how each plugin is, and why."""

    tell: Callable[[], Mapping[str, Any]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        del scope, receive
        await _send(send, 200, self.tell())


@frozen
class ReloadFace:
    """POST: read the configuration again; ``{"dry_run": true}`` only looks.

    Answers 200 with what was done, 409 with why nothing was.

    Args:
        reload: Does it; told whether only to look.
    """

    reload: Callable[[bool], Awaitable[Mapping[str, Any]]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] != "POST":
            await send_text(send, 405, "POST it")
        elif reason := refusal(scope):
            await send_text(send, 403, reason)
        elif (asked := await _read(receive)) is None:
            await send_text(send, 400, 'send a JSON object: {"dry_run": false}')
        else:
            outcome = await self.reload(asked.get("dry_run") is True)
            refused = outcome["problems"] or outcome["restart"]
            await _send(send, 409 if refused else 200, outcome)


def refusal(scope: Scope) -> str:
    """Return why a request may change nothing; empty when it may.

    A page in a browser cannot send JSON elsewhere without asking first, says where it comes from,
    and names the host by the name that it looked up.
    """
    client = scope.get("client")
    if client is None or not _is_loopback(client[0]):
        return "from this machine only"
    if header(scope, b"content-type").partition(";")[0].strip() != JSON:
        return f"only as {JSON}"
    if header(scope, b"origin") or header(scope, b"sec-fetch-site"):
        return "not from a browser"
    if not _is_address(header(scope, b"host")):
        return "by address only, not by name"
    return ""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _is_address(host: str) -> bool:
    """Whether a Host header names an address, or this machine."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return name == "localhost"
    return True


async def _read(receive: Receive) -> dict[str, Any] | None:
    """Read a small JSON object."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES or message["type"] != "http.request":
            return None
    try:
        asked = json.loads(body or b"{}")
    except ValueError:
        return None
    return asked if isinstance(asked, dict) else None


async def _send(send: Send, status: int, facts: Mapping[str, Any]) -> None:
    body = json.dumps(facts).encode()
    headers = [
        (b"content-type", JSON.encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
