"""Keccak, Ethereum signatures and addresses: pure functions over bytes.

Signing in this protocol has two layers, and both occur (wire-video 3.1, 6.3;
payments 1): ``sign_digest`` signs 32 bytes as an EIP-191 personal message;
``sign_message`` first hashes a message of any length with Keccak-256.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

from coincurve import PrivateKey, PublicKey
from sha3 import keccak_256

ZERO_ADDRESS = bytes(20)
SIGNATURE_BYTES = 65
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_PERSONAL_32 = b"\x19Ethereum Signed Message:\n32"


def keccak256(data: bytes | bytearray | memoryview) -> bytes:
    """Return the 32-byte Keccak-256 hash (not SHA3-256)."""
    digest: bytes = keccak_256(data).digest()
    return digest


def personal_digest(payload: bytes) -> bytes:
    """Return the EIP-191 digest of a 32-byte payload."""
    return keccak256(_PERSONAL_32 + payload)


def recover(payload: bytes, signature: bytes) -> bytes | None:
    """Return the 20-byte address that signed a 32-byte payload as a personal message.

    None for every signature that is not good: not 65 bytes, ``s`` above half the order,
    ``v`` other than 27 or 28, or no such point (go-livepeer crypto/verify.go).
    """
    key = recover_key(payload, signature)
    return None if key is None else keccak256(key)[12:]


def recover_key(payload: bytes, signature: bytes) -> bytes | None:
    """Return the 64-byte public key behind a good signature, else None; see :func:`recover`.

    Whoever checks many signatures of one address compares keys, and saves the address's hash.
    """
    if len(signature) != SIGNATURE_BYTES or signature[64] not in (27, 28):
        return None
    if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        return None
    compact = signature[:64] + bytes((signature[64] - 27,))
    try:
        key = PublicKey.from_signature_and_message(compact, personal_digest(payload), hasher=None)
    except ValueError:
        return None
    uncompressed: bytes = key.format(compressed=False)
    return uncompressed[1:]


@lru_cache(maxsize=1024)
def checksum_address(address: bytes) -> str:
    """Return the EIP-55 text of an address; cropped or left-padded to 20 bytes first."""
    text = address[-20:].rjust(20, b"\0").hex()
    digest = keccak256(text.encode()).hex()
    return "0x" + "".join(c.upper() if d >= "8" else c for c, d in zip(text, digest, strict=False))


class Signer(Protocol):
    """Holds the node's key. Off chain there is none, and signatures are empty."""

    @property
    def address(self) -> bytes:
        """20-byte address; zeros off chain."""

    def sign_digest(self, payload: bytes) -> bytes:
        """Sign 32 bytes as a personal message: 65 bytes, v in {27, 28}; empty off chain."""


class KeySigner:
    """A signer with its private key in memory."""

    def __init__(self, private_key: bytes) -> None:
        self._key = PrivateKey(private_key)
        self.address = keccak256(self._key.public_key.format(compressed=False)[1:])[12:]

    def sign_digest(self, payload: bytes) -> bytes:
        """Sign 32 bytes as a personal message (deterministic, low s)."""
        signature = self._key.sign_recoverable(personal_digest(payload), hasher=None)
        return signature[:64] + bytes((signature[64] + 27,))

    def __repr__(self) -> str:
        return f"KeySigner({checksum_address(self.address)})"


class NoSigner:
    """The off-chain signer: the zero address and empty signatures."""

    address = ZERO_ADDRESS

    def sign_digest(self, payload: bytes) -> bytes:
        """Return the empty signature that off-chain peers expect."""
        del payload
        return b""


def sign_message(signer: Signer, message: bytes) -> bytes:
    """Sign a message of any length: Keccak-256, then as a personal message."""
    return signer.sign_digest(keccak256(message))
