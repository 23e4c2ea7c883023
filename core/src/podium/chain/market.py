"""What gas costs now, as the chain tells."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from attrs import frozen

from podium.chain.blocks import head_of_block, quantity
from podium.chain.fees import Fees, choose_fees
from podium.errors import RpcError

if TYPE_CHECKING:
    from podium.chain.ports import Rpc


@frozen
class Market:
    """Gas prices at one block.

    Attributes:
        base_fee: Wei, of the newest block; None before EIP-1559.
        tip: Wei, what the chain suggests to add; the whole price where there is no base fee.
        gas_limit: Of a block: no transaction can have more.
    """

    base_fee: int | None
    tip: int
    gas_limit: int

    @classmethod
    async def read(cls, rpc: Rpc) -> Self:
        """Ask the chain.

        Raises:
            ChainError: it could not be asked.
        """
        block, tip = await asyncio.gather(
            rpc.call("eth_getBlockByNumber", "latest", False), _suggested_tip(rpc)
        )
        base_fee = head_of_block(block).base_fee
        limit = quantity(block.get("gasLimit"))
        if base_fee is None:
            return cls(None, await _gas_price(rpc), limit)
        if tip is None:
            tip = max(await _gas_price(rpc) - base_fee, 0)
        return cls(base_fee, tip, limit)

    def fees(self, max_fee: int) -> Fees:
        """Return a new transaction's fees.

        Raises:
            GasPriceTooHigh: gas cannot be had below the maximum.
        """
        return choose_fees(self.base_fee, self.tip, max_fee)


async def _suggested_tip(rpc: Rpc) -> int | None:
    """Return the tip that the chain suggests, None if it does not know the question."""
    try:
        return quantity(await rpc.call("eth_maxPriorityFeePerGas"))
    except RpcError:
        return None


async def _gas_price(rpc: Rpc) -> int:
    return quantity(await rpc.call("eth_gasPrice"))
