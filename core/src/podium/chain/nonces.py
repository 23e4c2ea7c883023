"""Which nonce an account's next transaction gets."""

from __future__ import annotations

from attrs import define, field

MAX_GAP = 32
"""A wider one is no gap, but an endpoint that told a wrong count: filling it would never end."""


@define
class Nonces:
    """Nonces that our own transactions hold.

    The chain's count of an account's transactions tells what others have used, those that wait
    to be mined included; it may lag behind what we have sent. A nonce that was given back, and
    one that another program's dropped transaction left behind, is used before higher ones:
    nothing behind a gap is ever mined.
    """

    _held: set[int] = field(factory=set)
    _used: int = 0

    def take(self, pending: int) -> int:
        """Hold the next free nonce.

        Args:
            pending: The account's number of transactions, those that wait included.
        """
        nonce = max(pending, self._used)
        while nonce in self._held:
            nonce += 1
        self._held.add(nonce)
        return nonce

    def hold(self, nonce: int) -> None:
        """Hold the nonce of a transaction from before a restart."""
        self._held.add(nonce)

    def give_back(self, nonce: int) -> None:
        """Free a nonce that no transaction was sent with."""
        self._held.discard(nonce)

    def spend(self, nonce: int) -> None:
        """Note that the chain has used a nonce up, and with it all lower ones."""
        self._held.discard(nonce)
        self._used = max(self._used, nonce + 1)

    def gap(self, count: int) -> int | None:
        """Return the nonce that the chain waits for, if we hold higher ones only.

        Args:
            count: The account's number of mined transactions.
        """
        if self._held and count < min(self._held) <= count + MAX_GAP:
            return count
        return None
