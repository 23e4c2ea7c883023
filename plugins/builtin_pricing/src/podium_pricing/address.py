"""Ethereum addresses as operators write them."""

from __future__ import annotations

import re

from Crypto.Hash import keccak

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


def parse_address(text: str) -> bytes:
    """Return the 20 bytes of an address.

    Raises:
        ValueError: it is none, or its mixed case is not the checksum (a typing error).
    """
    if not _ADDRESS.fullmatch(text):
        raise ValueError(f'"{text}" must be an address: 0x and 40 hex digits')
    digits = text[2:]
    mixed = digits != digits.lower() and digits != digits.upper()
    if mixed and digits != _checksummed(digits.lower()):
        raise ValueError(f'"{text}" has a wrong checksum; is there a typing error in it?')
    return bytes.fromhex(digits)


def _checksummed(digits: str) -> str:
    """Return hex digits in the case that EIP-55 gives them."""
    digest = keccak.new(digest_bits=256, data=digits.encode()).hexdigest()
    return "".join(c.upper() if d >= "8" else c for c, d in zip(digits, digest, strict=False))
