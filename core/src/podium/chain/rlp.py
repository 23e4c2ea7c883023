"""Recursive length prefix: how Ethereum packs transactions."""

from __future__ import annotations

from collections.abc import Sequence

Item = bytes | int | Sequence["Item"]

_STRING = 0x80
_LIST = 0xC0
_SHORT = 56


def encode(item: Item) -> bytes:
    """Return bytes, a whole number or a list of these, packed."""
    if isinstance(item, int):
        item = item.to_bytes((item.bit_length() + 7) // 8, "big")
    if isinstance(item, bytes):
        if len(item) == 1 and item[0] < _STRING:
            return item
        return _head(len(item), _STRING) + item
    body = b"".join(map(encode, item))
    return _head(len(body), _LIST) + body


def _head(length: int, offset: int) -> bytes:
    if length < _SHORT:
        return bytes((offset + length,))
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((offset + _SHORT - 1 + len(size),)) + size
