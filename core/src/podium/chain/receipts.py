"""What became of a transaction, read from JSON-RPC."""

from __future__ import annotations

from typing import Any, Self

from attrs import frozen

from podium.chain.blocks import fixed_bytes, log_of, quantity
from podium.chain.values import Receipt
from podium.errors import ChainError


@frozen
class Mined:
    """A transaction in a block.

    Attributes:
        receipt: As it goes to whoever sent it.
        block_hash: 32 bytes.
        succeeded: Whether it did anything but pay for gas.
    """

    receipt: Receipt
    block_hash: bytes
    succeeded: bool

    @classmethod
    def parse(cls, answer: Any) -> Self:
        """Read what ``eth_getTransactionReceipt`` answers.

        Raises:
            ChainError: it is no receipt.
        """
        if not isinstance(answer, dict) or not isinstance(answer.get("logs"), list):
            msg = f"an endpoint answered {str(answer)[:40]!r} instead of a receipt"
            raise ChainError(msg)
        receipt = Receipt(
            tx_hash=fixed_bytes(answer.get("transactionHash")),
            block_number=quantity(answer.get("blockNumber")),
            gas_used=quantity(answer.get("gasUsed")),
            gas_price=quantity(answer.get("effectiveGasPrice", "0x0")),
            logs=tuple(map(log_of, answer["logs"])),
        )
        succeeded = quantity(answer.get("status")) == 1
        return cls(receipt, fixed_bytes(answer.get("blockHash")), succeeded)
