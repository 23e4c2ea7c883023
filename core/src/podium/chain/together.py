"""Asks all endpoints at once: for what one of them alone must not decide."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from attrs import frozen

from podium.errors import ChainError, RpcUnavailable

if TYPE_CHECKING:
    from podium.chain.rpc import RpcPool

logger = logging.getLogger("podium.chain")


@frozen
class Together:
    """A :class:`~podium.chain.ports.Rpc` that believes only what no endpoint denies.

    One that does not answer says nothing; there need not be a second one at all. Only for what
    all answer in the same words, as ``eth_call`` and ``eth_getCode``.

    Attributes:
        pool: The endpoints.
    """

    pool: RpcPool

    async def call(self, method: str, *params: Any, timeout_s: float | None = None) -> Any:
        """Return the result of a method, as all endpoints that answer have it.

        Raises:
            RpcUnavailable: none answers, or they contradict each other.
            ChainError: what one of them alone would raise.
        """
        first = await self.pool.call(method, *params, timeout_s=timeout_s)
        answers = await self.pool.ask_each(method, *params, timeout_s=timeout_s)
        known = {name: each for name, each in answers.items() if not isinstance(each, ChainError)}
        if all(each == first for each in known.values()):
            return first
        told = "; ".join(f"{name}: {str(each)[:80]}" for name, each in known.items())
        msg = f"the RPC endpoints contradict each other about {method} ({told}): one of them lies"
        logger.error(msg)
        raise RpcUnavailable(msg)

    async def broadcast(self, raw: bytes) -> bytes:
        """Send a signed transaction, as the pool does."""
        return await self.pool.broadcast(raw)
