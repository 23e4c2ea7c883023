"""What a second of work costs, exact."""

from __future__ import annotations

import re
from fractions import Fraction

from attrs import frozen

from podium_executor.errors import SetupError

_TEXT = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]{1,10})?")
_MAX = 2**63 - 1


@frozen
class Price:
    """``per_unit / scaling`` of a currency for each second, as the network writes it.

    Attributes:
        per_unit: Numerator.
        scaling: Denominator.
        currency: ``wei``, ``eth``, or one that the orchestrator has a price feed for.
    """

    per_unit: int = 0
    scaling: int = 1
    currency: str = "wei"

    def __attrs_post_init__(self) -> None:
        if not (0 <= self.per_unit <= _MAX and 1 <= self.scaling <= _MAX):
            raise SetupError(f"a price of {self.per_unit}/{self.scaling} has no place on the wire")

    @classmethod
    def parse(cls, text: str) -> Price:
        """Read ``"0.00001 eth"``, ``"1000 wei"``, ``"0.002 USD"``, or ``"0"``.

        Raises:
            SetupError: it is no such text.
        """
        match = _TEXT.fullmatch(text.strip())
        if match is None:
            raise SetupError(f'a price is written as "0.00001 eth", not as {text!r}')
        amount = Fraction(match[1])
        return cls(amount.numerator, amount.denominator, (match[2] or "wei").lower())
