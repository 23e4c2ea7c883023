"""What a Gateway holds at each orchestrator for each capability, exact (byoc 2.5).

An orchestrator bills whole seconds at a whole price and reports the balance after it, so what it
billed can be told to the wei, and that it is not more than the time that passed.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

from attrs import define, frozen

from podium.testing.gateway.byoc.errors import BilledWrongly

if TYPE_CHECKING:
    from podium.testing.gateway.byoc.wire import Token

ENOUGH_S = 120
"""A balance for so many seconds is not topped up."""

MAX_TICKETS = 600
ROUNDING_WEI = 2
"""A token's balance is floored, a job's is rounded."""


def tickets_for(token: Token, timeout_s: int, balance: Fraction) -> int:
    """Return how many tickets go with a job: none, or enough for all of its time.

    Source: go-livepeer byoc/payment.go, createPayment.
    """
    if token.terms is None or not token.price or balance >= ENOUGH_S * token.price:
        return 0
    value = token.terms.expected_value
    return min(math.ceil(token.price * timeout_s / value), MAX_TICKETS) if value else 0


@frozen
class Stake:
    """The tickets of one job: what they are worth, and how many there are."""

    value: Fraction = Fraction(0)
    count: int = 0


@define
class Account:
    """What one orchestrator holds of us for one capability; wei.

    Attributes:
        key: The node's name of it.
        opening: What it held before our first job.
        credited: Of tickets in jobs that were answered.
        debited: What it billed.
        tickets: In jobs that were answered.
        unconfirmed: Of tickets in jobs that were refused or broke off.
        unsettled: Jobs of which it is not known what they cost.
        running: Jobs under way.
        shared: Jobs were under way side by side: what each cost is told only by them all.
    """

    key: str
    opening: Fraction = Fraction(0)
    credited: Fraction = Fraction(0)
    debited: Fraction = Fraction(0)
    tickets: int = 0
    unconfirmed: Fraction = Fraction(0)
    unsettled: int = 0
    running: int = 0
    shared: bool = False

    @property
    def balance(self) -> Fraction:
        """What there should be."""
        return self.opening + self.credited - self.debited

    def take_over(self, token: Token) -> None:
        """Believe a token's balance where it is not ours to the wei: others of ours spend it."""
        if not self.running and abs(self.balance - token.balance) >= ROUNDING_WEI:
            self.opening += token.balance - self.balance

    def begin(self, stake: Stake) -> None:
        """Send a job."""
        self.running += 1
        self.shared = self.shared or self.running > 1
        self.unsettled += 1
        self.unconfirmed += stake.value

    def end(self, *, settled: bool) -> None:
        """End a job."""
        self.running -= 1
        self.unsettled -= settled

    def drop(self, stake: Stake) -> None:
        """Know that a job's tickets were not taken."""
        self.unconfirmed -= stake.value

    def confirm(self, stake: Stake) -> None:
        """Know that a job's tickets were taken."""
        self.unconfirmed -= stake.value
        self.credited += stake.value
        self.tickets += stake.count

    def settle(self, price: int, reported: Fraction | int, seconds: float | None = None) -> int:
        """Note what was billed, by the balance after it; return the seconds.

        Args:
            price: Wei a second.
            reported: The balance afterwards.
            seconds: That passed here, more than it can have taken there; None: not known.

        Raises:
            BilledWrongly: it is no whole number of seconds, or more than passed.
        """
        if not price:
            return 0
        exact = (self.balance - reported) / price
        billed = round(exact)
        if abs(exact - billed) * price >= ROUNDING_WEI or billed < 0:
            raise BilledWrongly(f"{float(exact):.6f} seconds were billed: no whole number")
        if seconds is not None and billed > math.ceil(seconds):
            raise BilledWrongly(f"{billed} s were billed for {seconds:.3f} s")
        self.debited += price * billed
        return billed
