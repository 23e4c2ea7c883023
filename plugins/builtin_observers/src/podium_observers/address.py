"""Addresses as the network writes them."""

from __future__ import annotations

from functools import lru_cache

from Crypto.Hash import keccak


@lru_cache(maxsize=1024)
def checksum_address(address: bytes) -> str:
    """Return the EIP-55 text of 20 bytes."""
    text = address.hex()
    digest = keccak.new(digest_bits=256, data=text.encode()).hexdigest()
    return "0x" + "".join(c.upper() if d >= "8" else c for c, d in zip(text, digest, strict=False))
