"""Balances and fixed prices, per sender and key, exact (payments 5.1, 5.2, 5.4).

The key is what a payment is for: a session, a manifest, a capability and model. All is in
memory; ``keeping`` writes down what is to outlive a restart.

Amounts stay exact without growing: each is a sum of ticket values (denominators divide
2^256 - 1) and of fees (denominators are those of prices we quoted ourselves), so a balance's
denominator divides their least common multiple however many payments there are.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from fractions import Fraction
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Callable

IDLE_S = 600.0
"""An account that has not moved for this long is forgotten."""

MAX_ACCOUNTS = 100_000
"""Beyond this many, the account that moved least recently is forgotten."""


@define
class Account:
    """One sender's standing for one key; wei."""

    balance: Fraction = Fraction(0)
    fixed_price: Fraction | None = None
    updated_s: float = 0.0


def _nobody(sender: bytes, key: str) -> None:
    """Hear nothing."""


@define
class Ledger:
    """All accounts. Not for use from several threads.

    Attributes:
        moved: Told whose account moves.
    """

    now: Callable[[], float] = time.monotonic
    idle_s: float = IDLE_S
    max_accounts: int = MAX_ACCOUNTS
    moved: Callable[[bytes, str], None] = _nobody
    _accounts: OrderedDict[tuple[bytes, str], Account] = field(factory=OrderedDict, init=False)

    def __len__(self) -> int:
        return len(self._accounts)

    def credit(
        self, sender: bytes, key: str, amount: Fraction, price: Fraction | None = None
    ) -> None:
        """Add to a balance; fix ``price`` for the key unless one is fixed already."""
        account = self._touched(sender, key)
        account.balance += amount
        if account.fixed_price is None:
            account.fixed_price = price

    def debit(self, sender: bytes, key: str, amount: Fraction) -> None:
        """Take from a balance, which may become negative."""
        self._touched(sender, key).balance -= amount

    def balance(self, sender: bytes, key: str) -> Fraction | None:
        """Return a balance; None where there is no account."""
        account = self._live(sender, key)
        return None if account is None else account.balance

    def fixed_price(self, sender: bytes, key: str) -> Fraction | None:
        """Return the price fixed for a key, if any."""
        account = self._live(sender, key)
        return None if account is None else account.fixed_price

    def account(self, sender: bytes, key: str) -> Account | None:
        """Return an account as it is; None where there is none."""
        return self._live(sender, key)

    def put_back(
        self, sender: bytes, key: str, balance: Fraction, price: Fraction | None, age_s: float
    ) -> None:
        """Set up an account of an earlier life, before any other moves; the oldest first."""
        self._accounts[sender, key] = Account(balance, price, self.now() - age_s)

    def _live(self, sender: bytes, key: str) -> Account | None:
        account = self._accounts.get((sender, key))
        if account is None or self.now() - account.updated_s > self.idle_s:
            return None
        return account

    def _touched(self, sender: bytes, key: str) -> Account:
        """Return the account, newly made if need be, as the most recently moved one."""
        now, name = self.now(), (sender, key)
        self._sweep(now)
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = Account()
        account.updated_s = now
        self.moved(sender, key)
        self._accounts.move_to_end(name)
        while len(self._accounts) > self.max_accounts:
            self._accounts.popitem(last=False)
        return account

    def _sweep(self, now: float) -> None:
        """Forget idle accounts; they are in order of their last move, so this costs nothing."""
        while self._accounts:
            oldest, account = next(iter(self._accounts.items()))
            if now - account.updated_s <= self.idle_s:
                return
            del self._accounts[oldest]
