"""A price feed with Chainlink's interface, whose price a test sets.

There is no compiler here: the few instructions are written out. Storage slot 0 holds the price,
slot 1 the time of its update (0: always now).
"""

from __future__ import annotations

from podium.crypto import keccak256

FEED_DECIMALS = 8
FEED_DESCRIPTION = b"ETH / USD"
PRICE_SLOT = 0
UPDATED_SLOT = 1

_SELECTOR = bytes.fromhex("5f3560e01c")  # PUSH0 CALLDATALOAD PUSH1 224 SHR
_REVERT = bytes.fromhex("5f5ffd")
_LABEL = b"\x5b\x50"  # JUMPDEST POP


def _push(value: int | bytes) -> bytes:
    raw = value if isinstance(value, bytes) else value.to_bytes(max(1, -(-value.bit_length() // 8)))
    return bytes((0x5F + len(raw),)) + raw


def _store(offset: int, value: bytes) -> bytes:
    """MSTORE what the given code leaves on the stack."""
    return value + _push(offset) + b"\x52"


def _return(size: int) -> bytes:
    return _push(size) + b"\x5f\xf3"


def _latest() -> bytes:
    """Return (1, price, updated, updated, 1)."""
    slot = _push(UPDATED_SLOT) + b"\x54"
    # updated + timestamp * (updated == 0)
    updated = slot + slot + b"\x15\x42\x02\x01"
    price = _push(PRICE_SLOT) + b"\x54"
    return b"".join(
        (
            _store(0, _push(1)),
            _store(32, price),
            _store(64, updated),
            _store(96, updated),
            _store(128, _push(1)),
            _return(160),
        )
    )


def _description() -> bytes:
    text = FEED_DESCRIPTION.ljust(32, b"\0")
    length = _push(len(FEED_DESCRIPTION))
    return _store(0, _push(32)) + _store(32, length) + _store(64, _push(text)) + _return(96)


def _assemble(functions: dict[str, bytes]) -> bytes:
    """Lay out a jump table, then the functions."""
    entry = 1 + 5 + 1 + 3 + 1  # DUP1 PUSH4 EQ PUSH2 JUMPI
    position = len(_SELECTOR) + entry * len(functions) + len(_REVERT)
    table, bodies = b"", b""
    for signature, body in functions.items():
        selector = keccak256(signature.encode())[:4]
        place = (position + len(bodies)).to_bytes(2, "big")
        table += b"\x80" + _push(selector) + b"\x14" + _push(place) + b"\x57"
        bodies += _LABEL + body
    return _SELECTOR + table + _REVERT + bodies


FEED_RUNTIME = _assemble(
    {
        "latestRoundData()": _latest(),
        "decimals()": _store(0, _push(FEED_DECIMALS)) + _return(32),
        "description()": _description(),
    }
)
