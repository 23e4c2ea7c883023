"""How much gas a batch of redemptions is allowed: what the last ones took, with a margin.

A block has room for a transaction's limit, not for what it will use, and the account has to have
the money for all of it. A limit far above the use keeps both idle.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podium.payments.redeem.ports import Redemption

BASE_GAS = 100_000
"""What a transaction needs besides its tickets."""

MARGIN_PERCENT = 150
REMEMBERED = 16


@define
class Appetite:
    """The gas of batches.

    Attributes:
        most: Units that a redemption takes at most. The first of a batch, which reads what the
            others find read, is always allowed this much.
    """

    most: int
    _taken: deque[int] = field(factory=lambda: deque(maxlen=REMEMBERED), init=False)

    def limit(self, tickets: int) -> int:
        """Return the limit of a batch of so many tickets."""
        usual = max(self._taken) * MARGIN_PERCENT // 100 if self._taken else self.most
        return BASE_GAS + self.most + (tickets - 1) * min(self.most, usual)

    def learn(self, gas_used: int, found: Sequence[Redemption | None]) -> None:
        """Take in what a batch used.

        If a ticket was left out, the gas may not have sufficed: then nothing is known any more.

        Args:
            gas_used: By the transaction.
            found: Its tickets' redemptions; a single one's says nothing about batches.
        """
        if None in found:
            self.forget()
        elif len(found) > 1:
            self._taken.append(-(-gas_used // len(found)))

    def forget(self) -> None:
        """Allow the most again: a transaction failed, and the gas may not have sufficed."""
        self._taken.clear()
