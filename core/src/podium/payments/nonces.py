"""The nonces seen, so that no ticket is credited twice (payments 4.2).

Forgetting nonces once their parameters have expired opens no replay: tickets of expired
parameters are not credited at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_NONCES = 600
"""Distinct nonces taken for one set of parameters."""

MAX_OPEN_PARAMS = 250_000
"""Sets of parameters remembered at a time: some 500 paid segments a second, about 110 MB."""


@define
class NonceTable:
    """Seen nonces per recipient randomness, in memory. Not for use from several threads."""

    max_open_params: int = MAX_OPEN_PARAMS
    _by_expiration: dict[int, dict[int, set[int]]] = field(factory=dict, init=False)
    _open_params: int = field(default=0, init=False)
    _cleaned_at: int = field(default=-1, init=False)

    def __len__(self) -> int:
        return self._open_params

    def seen(self, recipient_rand: int, expiration_block: int, nonce: int) -> bool:
        """Return whether a nonce was taken."""
        return nonce in self._by_expiration.get(expiration_block, {}).get(recipient_rand, ())

    def of(self, recipient_rand: int, expiration_block: int) -> tuple[int, ...]:
        """Return the nonces that were taken."""
        return tuple(self._by_expiration.get(expiration_block, {}).get(recipient_rand, ()))

    def take(self, recipient_rand: int, expiration_block: int, nonce: int) -> bool:
        """Take a nonce that was not seen; False when there is no room for it."""
        bucket = self._by_expiration.setdefault(expiration_block, {})
        nonces = bucket.get(recipient_rand)
        if nonces is None:
            if self._open_params >= self.max_open_params:
                return False
            nonces = bucket[recipient_rand] = set()
            self._open_params += 1
        if len(nonces) >= MAX_NONCES:
            return False
        nonces.add(nonce)
        return True

    def give_back(self, recipient_rand: int, expiration_block: int, taken: Iterable[int]) -> None:
        """Undo taking: the payment they came with was not credited after all."""
        bucket = self._by_expiration.get(expiration_block, {})
        if (nonces := bucket.get(recipient_rand)) is None:
            return
        nonces.difference_update(taken)
        if not nonces:
            del bucket[recipient_rand]
            self._open_params -= 1

    def clean(self, l1_block: int) -> None:
        """Forget what has expired by this L1 block; at once when the block is not new."""
        if l1_block == self._cleaned_at:
            return
        self._cleaned_at = l1_block
        for expiration_block in [block for block in self._by_expiration if block <= l1_block]:
            self._open_params -= len(self._by_expiration.pop(expiration_block))
