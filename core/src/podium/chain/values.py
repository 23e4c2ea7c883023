"""What travels between the chain's modules and those above: heads, logs, transactions, receipts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Sequence


@frozen
class Head:
    """A block that was seen as the newest.

    Attributes:
        number: Block number of the chain that is asked (L2 on Arbitrum).
        hash: 32 bytes.
        parent: 32 bytes, the hash of the block before it.
        timestamp: Unix seconds.
        l1_number: The L1 block that contracts see as ``block.number``: rounds and expiry count
            these. The block's own number where the chain has no L1.
        base_fee: Wei for one unit of gas; None before EIP-1559.
    """

    number: int
    hash: bytes
    parent: bytes
    timestamp: int
    l1_number: int
    base_fee: int | None = None


@frozen
class Log:
    """An event that a contract emitted.

    Attributes:
        address: 20 bytes, the contract.
        topics: 32 bytes each; the first is the event's.
        data: The arguments that are not indexed.
        block_number: Where it happened.
        block_hash: 32 bytes.
        tx_hash: 32 bytes.
        index: Place in its block.
    """

    address: bytes
    topics: Sequence[bytes]
    data: bytes = field(repr=False)
    block_number: int
    block_hash: bytes
    tx_hash: bytes
    index: int = 0


@frozen
class HeadUpdate:
    """What happened since the last update: a new head, and the logs up to it.

    Attributes:
        head: The newest block.
        logs: Those of the watched topics, in order. Each is delivered once, unless a reorg
            brings it again.
        reorg: Blocks that were seen before are gone: whatever was read from the chain has to be
            read again.
    """

    head: Head
    logs: Sequence[Log] = ()
    reorg: bool = False


@frozen
class TxRequest:
    """A transaction to send.

    Attributes:
        to: 20-byte contract or account.
        data: Call data.
        purpose: ``"redeem"``, ``"reward"``, ...: for logs, metrics and the operator.
        key: What makes it unique: while a transaction of this key is under way, a second request
            waits for it instead of sending another, after a restart too.
        value: Wei sent along.
        gas_limit: 0: estimated, with a margin.
    """

    to: bytes
    data: bytes = field(repr=False)
    purpose: str
    key: str
    value: int = 0
    gas_limit: int = 0


@frozen
class Receipt:
    """A transaction that was mined and succeeded.

    Attributes:
        tx_hash: 32 bytes: of the one that was mined, which may be a replacement.
        block_number: Where.
        gas_used: Units of gas.
        gas_price: Wei paid for one unit.
        logs: All logs of the transaction.
    """

    tx_hash: bytes
    block_number: int
    gas_used: int
    gas_price: int
    logs: Sequence[Log] = ()

    @property
    def cost(self) -> int:
        """Wei paid for gas."""
        return self.gas_used * self.gas_price
