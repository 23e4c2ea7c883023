"""JSON-RPC to the local node through web3.py, one request at a time."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from podium.devnet.errors import DevnetError, RpcError

if TYPE_CHECKING:
    from types import ModuleType

TIMEOUT_S = 30.0
HEADERS = {"Content-Type": "application/json", "Connection": "close"}
"""A connection for each call: web3.py keeps those it has for each thread, and closes none."""


def load_web3() -> ModuleType:
    """Import web3.py, which takes a second, and leave the interpreter as it was.

    A library it imports raises Python's recursion limit so far that nested JSON from a peer could
    overflow the C stack of a node in the same process.
    """
    limit = sys.getrecursionlimit()
    import web3

    sys.setrecursionlimit(limit)
    return web3


class Rpc:
    """A node's endpoint. Safe to use from several threads."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url
        direct = {"timeout": timeout_s, "proxies": {"http": ""}, "headers": HEADERS}
        self._provider = load_web3().HTTPProvider(
            url, request_kwargs=direct, exception_retry_configuration=None
        )

    def call(self, method: str, *params: Any) -> Any:
        """Return a method's result.

        Raises:
            RpcError: the node answered with an error.
            DevnetError: there was no answer.
        """
        try:
            reply = self._provider.make_request(method, params)
        except (OSError, ValueError) as error:
            msg = f"no answer from the devnet at {self.url}: {error or type(error).__name__}"
            raise DevnetError(msg) from error
        if "error" in reply:
            refusal = reply["error"]
            raise RpcError(method, str(refusal.get("message")), refusal.get("data"))
        return reply["result"]

    def number(self, method: str, *params: Any) -> int:
        """Return a result that is a number."""
        return int(self.call(method, *params), 16)
