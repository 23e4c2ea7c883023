"""Blocks and logs, from the JSON of endpoints."""

from __future__ import annotations

from typing import Any

from podium.chain.values import Head, Log
from podium.errors import ChainError


def quantity(value: Any) -> int:
    """Return the number in a hex text.

    Raises:
        ChainError: there is none.
    """
    try:
        return int(value, 16)
    except (TypeError, ValueError) as error:
        msg = f"an endpoint answered {str(value)[:40]!r} instead of a number"
        raise ChainError(msg) from error


def fixed_bytes(value: Any, size: int = 32) -> bytes:
    """Return the bytes of a hex text of a known size.

    Raises:
        ChainError: it has another size, or is none.
    """
    try:
        data = bytes.fromhex(value.removeprefix("0x"))
    except (AttributeError, TypeError, ValueError) as error:
        msg = f"an endpoint answered {str(value)[:80]!r} instead of bytes"
        raise ChainError(msg) from error
    if len(data) != size:
        msg = f"an endpoint answered {len(data)} bytes instead of {size}"
        raise ChainError(msg)
    return data


def head_of_block(block: Any) -> Head:
    """Read a block.

    Raises:
        ChainError: it is not one.
    """
    if not isinstance(block, dict):
        msg = f"an endpoint answered {str(block)[:40]!r} instead of a block"
        raise ChainError(msg)
    number = quantity(block.get("number"))
    l1_number, base_fee = block.get("l1BlockNumber"), block.get("baseFeePerGas")
    return Head(
        number=number,
        hash=fixed_bytes(block.get("hash")),
        parent=fixed_bytes(block.get("parentHash")),
        timestamp=quantity(block.get("timestamp")),
        l1_number=number if l1_number is None else quantity(l1_number),
        base_fee=None if base_fee is None else quantity(base_fee),
    )


def log_of(entry: Any) -> Log:
    """Read a log, of ``eth_getLogs`` or of a receipt.

    Raises:
        ChainError: it is not one.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("topics"), list):
        msg = f"an endpoint answered {str(entry)[:40]!r} instead of a log"
        raise ChainError(msg)
    data = entry.get("data") or "0x"
    try:
        payload = bytes.fromhex(data.removeprefix("0x"))
    except (AttributeError, TypeError, ValueError) as error:
        msg = "an endpoint answered a log without readable data"
        raise ChainError(msg) from error
    return Log(
        address=fixed_bytes(entry.get("address"), 20),
        topics=tuple(fixed_bytes(topic) for topic in entry["topics"]),
        data=payload,
        block_number=quantity(entry.get("blockNumber")),
        block_hash=fixed_bytes(entry.get("blockHash")),
        tx_hash=fixed_bytes(entry.get("transactionHash")),
        index=quantity(entry.get("logIndex")),
    )
