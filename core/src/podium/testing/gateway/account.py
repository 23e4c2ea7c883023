"""The sender's books: one balance per session id, one nonce counter per parameter set.

Source: go-livepeer core/accounting.go (``StageUpdate``, ``completeBalanceUpdate``), pm/sender.go.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

from attrs import define, field, frozen

from podium.testing.gateway.tickets import tickets_needed


@frozen
class Stake:
    """What one segment put at stake: the balance taken aside, and the new tickets."""

    existing: Fraction
    credit: Fraction
    nonces: tuple[int, ...]


@define(eq=False)
class Nonces:
    """The next nonce of each parameter set; the first is 1."""

    _used: Counter[bytes] = field(factory=Counter)

    def take(self, recipient_rand_hash: bytes, count: int) -> tuple[int, ...]:
        """Use up ``count`` nonces."""
        first = self._used[recipient_rand_hash] + 1
        self._used[recipient_rand_hash] += count
        return tuple(range(first, first + count))


@define(eq=False)
class Account:
    """One session id's balance, exact, as the sender sees it.

    Attributes:
        session_id: The key under which the orchestrator keeps its side.
        balance: Wei not yet spent and not at stake.
        credited: Wei of the tickets in payments that were answered with 200.
        debited: Wei billed by the results.
        tickets: Tickets in payments that were answered with 200.
        unconfirmed: Wei of tickets sent without an answer that says what became of them.
        unsettled: Segments that were paid for (status 200) and came without a result: what the
            orchestrator billed for them is not known here.
    """

    session_id: str
    balance: Fraction = Fraction(0)
    credited: Fraction = Fraction(0)
    debited: Fraction = Fraction(0)
    tickets: int = 0
    unconfirmed: Fraction = Fraction(0)
    unsettled: int = 0

    def count(self, fee: Fraction, ticket_value: Fraction) -> int:
        """Return how many tickets the next segment needs."""
        return tickets_needed(fee, ticket_value, self.balance)

    def stage(self, ticket_value: Fraction, nonces: tuple[int, ...]) -> Stake:
        """Take the whole balance aside, with a new ticket for each nonce."""
        stake = Stake(self.balance, ticket_value * len(nonces), nonces)
        self.balance = Fraction(0)
        return stake

    def restore(self, stake: Stake) -> None:
        """Nothing was sent: the old credit is back, the nonces are gone."""
        self.balance += stake.existing

    def lose(self, stake: Stake) -> None:
        """It was sent, and refused or never answered."""
        self.unconfirmed += stake.credit

    def accept(self, stake: Stake) -> None:
        """The orchestrator took the payment (status 200)."""
        self.credited += stake.credit
        self.tickets += len(stake.nonces)
        self.unsettled += 1

    def settle(self, stake: Stake, debit: Fraction) -> None:
        """A result came: what it did not cost is balance again."""
        self.debited += debit
        self.unsettled -= 1
        self.balance += stake.existing + stake.credit - debit
