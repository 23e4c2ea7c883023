"""Logs of a span of blocks, in pieces that endpoints accept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import Factory, define, field

from podium.chain.answers import RANGE
from podium.chain.blocks import log_of
from podium.crypto import checksum_address
from podium.errors import ChainError, RpcError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podium.chain.ports import Rpc
    from podium.chain.values import Log

MAX_BLOCKS = 1000
_GROW_AFTER = 32


@define
class LogFilter:
    """Asks for logs.

    Attributes:
        rpc: Where.
        addresses: 20 bytes each: the contracts.
        topics: 32 bytes each: the events.
        max_blocks: Of one request. Fewer once an endpoint has said that it is too many, and
            more again when that went well for a while: some limit blocks, some results.
    """

    rpc: Rpc
    addresses: Sequence[bytes]
    topics: Sequence[bytes]
    max_blocks: int = MAX_BLOCKS
    _size: int = field(init=False, default=Factory(lambda self: self.max_blocks, takes_self=True))
    _went_well: int = field(init=False, default=0)

    async def between(self, first: int, last: int) -> list[Log]:
        """Return the logs of some blocks, both ends included, in the chain's order.

        Raises:
            ChainError: those of some block could not be had: there is no answer with a gap.
        """
        logs: list[Log] = []
        while first <= last:
            end = min(last, first + self._size - 1)
            try:
                logs += await self._ask(first, end)
            except RpcError as error:
                if error.kind != RANGE or end == first:
                    raise
                self._size, self._went_well = (end - first + 1) // 2, 0
            else:
                first = end + 1
                self._grow()
        return sorted(logs, key=lambda log: (log.block_number, log.index))

    def _grow(self) -> None:
        self._went_well += 1
        if self._went_well >= _GROW_AFTER:
            self._size, self._went_well = min(self.max_blocks, self._size * 2), 0

    async def _ask(self, first: int, last: int) -> list[Log]:
        query: dict[str, Any] = {
            "fromBlock": hex(first),
            "toBlock": hex(last),
            "address": [checksum_address(address) for address in self.addresses],
            "topics": [["0x" + topic.hex() for topic in self.topics]],
        }
        answer = await self.rpc.call("eth_getLogs", query)
        if not isinstance(answer, list):
            msg = f"an endpoint answered {str(answer)[:40]!r} instead of logs"
            raise ChainError(msg)
        logs = [log_of(entry) for entry in answer if not _removed(entry)]
        if any(not first <= log.block_number <= last for log in logs):
            msg = f"an endpoint answered logs of other blocks than {first} to {last}"
            raise ChainError(msg)
        return logs


def _removed(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("removed") is True
