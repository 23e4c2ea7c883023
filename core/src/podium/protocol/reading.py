"""Reads many values of contracts at one block, a few at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from podium.chain.reader import read
from podium.crypto import checksum_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from podium.chain.ports import Rpc

PARALLEL = 8
"""Requests at a time: public endpoints answer bursts with 429."""


class BlockReader:
    """Reads contracts at one block, so that the values belong together."""

    def __init__(self, rpc: Rpc, block: int) -> None:
        self.block = block
        self._rpc = rpc
        self._slots = asyncio.Semaphore(PARALLEL)

    @classmethod
    async def newest(cls, rpc: Rpc) -> Self:
        """Return a reader of the newest block.

        Raises:
            ChainError: it could not be asked.
        """
        return cls(rpc, int(await rpc.call("eth_blockNumber"), 16))

    async def __call__(self, contract: bytes, *call: Any) -> Any:
        """Call a function of :mod:`podium.chain.contracts` with its arguments.

        Raises:
            Reverted: the contract refuses.
            ChainError: it could not be asked, or answered something else.
        """
        async with self._slots:
            return await read(self._rpc, contract, *call, block=self.block)

    async def each(self, calls: Iterable[tuple[Any, ...]]) -> list[Any]:
        """Make several calls, contract first, and return their answers in order."""
        return list(await asyncio.gather(*(self(*call) for call in calls)))

    async def balance(self, account: bytes) -> int:
        """Return an account's wei."""
        async with self._slots:
            text = await self._rpc.call(
                "eth_getBalance", checksum_address(account), hex(self.block)
            )
            return int(text, 16)
