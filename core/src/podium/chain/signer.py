"""Who signs transactions: a key in memory, or another program that holds it."""

from __future__ import annotations

from typing import Protocol

from attrs import field, frozen

from podium.chain import rlp
from podium.chain.fees import Fees
from podium.crypto import KeySigner, Signer, checksum_address, keccak256

_TYPE_2 = b"\x02"
_LEGACY_V = 35  # EIP-155


@frozen
class TxFields:
    """What a transaction says, unsigned.

    Attributes:
        chain_id: So that it is good on one chain only.
        nonce: The account's.
        to: 20 bytes.
        data: Call data.
        value: Wei sent along.
        gas_limit: Units of gas that it may use.
        fees: With a tip it becomes of type 2 (EIP-1559), else a legacy one (EIP-155).
    """

    chain_id: int
    nonce: int
    to: bytes
    data: bytes = field(repr=False)
    value: int
    gas_limit: int
    fees: Fees


class TxSigner(Signer, Protocol):
    """Signs for one account.

    The address is known from the start. A signer that asks another program (a hardware wallet, a
    signing service) must answer within the caller's time limit or be cancelled; it is asked once
    for each transaction and once for each replacement, and never for the same nonce with another
    destination. What it refuses, it raises as ``AccountError``.
    """

    async def sign_transaction(self, fields: TxFields) -> bytes:
        """Return the signed transaction, ready to be broadcast.

        Raises:
            AccountError: it is refused, or the key cannot be reached.
        """


class LocalSigner(KeySigner):
    """A key in memory."""

    async def sign_transaction(self, fields: TxFields) -> bytes:
        """Return the signed transaction, ready to be broadcast."""
        return self.sign_fields(fields)

    def sign_fields(self, fields: TxFields) -> bytes:
        """Sign without waiting for anything: 0.1 ms."""
        fees = fields.fees
        target: list[rlp.Item] = [fields.gas_limit, fields.to, fields.value, fields.data]
        if fees.tip is None:
            items: list[rlp.Item] = [fields.nonce, fees.cap, *target]
            parity, r, s = self._sign(rlp.encode([*items, fields.chain_id, 0, 0]))
            return rlp.encode([*items, fields.chain_id * 2 + _LEGACY_V + parity, r, s])
        access_list: list[rlp.Item] = []
        items = [fields.chain_id, fields.nonce, fees.tip, fees.cap, *target, access_list]
        signature = self._sign(_TYPE_2 + rlp.encode(items))
        return _TYPE_2 + rlp.encode([*items, *signature])

    def _sign(self, payload: bytes) -> tuple[int, int, int]:
        """Sign a payload's hash: parity, r and s."""
        signature = self._key.sign_recoverable(keccak256(payload), hasher=None)
        r, s = signature[:32], signature[32:64]
        return signature[64], int.from_bytes(r, "big"), int.from_bytes(s, "big")

    def __repr__(self) -> str:
        return f"LocalSigner({checksum_address(self.address)})"
