"""Balances that outlive a restart: what was prepaid for a name or a model, not for a session.

A session's token is good for one life of the node, so its balance is too. What a sender has for a
ware is its for ten minutes, whatever happens to us. What has moved is written down every two
seconds and at the end. A balance and the nonces of the tickets that made it go into one
transaction: after a crash the sender may have lost its last tickets' credit, and may send them
again, but no ticket is credited twice.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from attrs import define, field

from podium.errors import StoreError
from podium.model import KeptAccount, KeptNonces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from podium.payments.ledger import Ledger
    from podium.payments.nonces import NonceTable
    from podium.payments.ports import BalanceStore, Clock

INTERVAL_S = 2.0


@define(eq=False)
class Keeper:
    """Writes down what has moved, and puts it back at start.

    Args:
        ledger: The balances.
        nonces: The tickets seen.
        clock: Tells which tickets have expired.
        store: Where it is kept.
        lasts: Whether a key's balance outlives a restart.
        on_error: Told why nothing could be written.
        now: Returns Unix seconds.
    """

    ledger: Ledger
    nonces: NonceTable
    clock: Clock
    store: BalanceStore
    lasts: Callable[[str], bool]
    on_error: Callable[[str], None] = lambda _: None
    now: Callable[[], float] = time.time
    _moved: set[tuple[bytes, str]] = field(factory=set, init=False)
    _taken: set[tuple[int, int]] = field(factory=set, init=False)

    async def restore(self) -> None:
        """Put back what was kept, and hear of what moves from now on.

        Raises:
            StoreError: it cannot be read.
        """
        oldest = self.now() - self.ledger.idle_s
        accounts, nonces = await self.store.load_balances(oldest)
        for account in accounts:
            age_s = max(self.now() - account.updated_at, 0.0)
            self.ledger.put_back(
                account.sender, account.key, account.balance, account.fixed_price, age_s
            )
        for entry in nonces:
            for nonce in entry.nonces:
                self.nonces.take(entry.recipient_rand, entry.expiration_block, nonce)
        self.ledger.moved = self.moved

    def moved(self, sender: bytes, key: str) -> None:
        """Hear that a balance moves."""
        if self.lasts(key):
            self._moved.add((sender, key))

    def taken(self, key: str, recipient_rand: int, expiration_block: int) -> None:
        """Hear that tickets were taken for a key; called with their credit, nothing between."""
        if self.lasts(key):
            self._taken.add((expiration_block, recipient_rand))

    async def save(self) -> None:
        """Write down what has moved since the last time.

        Raises:
            StoreError: nothing was written; it is tried again with the next.
        """
        moved, taken = self._moved, self._taken
        if not moved and not taken:
            return
        self._moved, self._taken = set(), set()
        accounts, nonces = list(self._accounts(moved)), list(self._nonces(taken))
        oldest = self.now() - self.ledger.idle_s
        try:
            await self.store.save_balances(accounts, nonces, oldest, self.clock.l1_block)
        except StoreError:
            self._moved |= moved
            self._taken |= taken
            raise

    def _accounts(self, moved: Iterable[tuple[bytes, str]]) -> Iterable[KeptAccount]:
        for sender, key in moved:
            account = self.ledger.account(sender, key)
            if account is not None:
                updated_at = self.now() - (self.ledger.now() - account.updated_s)
                yield KeptAccount(sender, key, account.balance, account.fixed_price, updated_at)

    def _nonces(self, taken: Iterable[tuple[int, int]]) -> Iterable[KeptNonces]:
        for expiration_block, recipient_rand in taken:
            nonces = self.nonces.of(recipient_rand, expiration_block)
            yield KeptNonces(recipient_rand, expiration_block, nonces)

    async def run(self) -> None:
        """Write every two seconds, for ever."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self.close()

    async def close(self) -> None:
        """Write what is left; a failure is told, not raised."""
        try:
            await self.save()
        except StoreError as error:
            self.on_error(str(error))
