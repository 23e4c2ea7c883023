"""Exact money: prices and amounts of work. No float ever holds wei."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from attrs import field, frozen, validators

if TYPE_CHECKING:
    from collections.abc import Mapping

    from attrs import Attribute


def _not_negative(instance: object, attribute: Attribute[Any], value: Fraction | int) -> None:
    if value.numerator < 0:  # quicker than comparing fractions
        msg = f"{attribute.name} must be >= 0, not {value}"
        raise ValueError(msg)


def _whole(instance: object, attribute: Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{attribute.name} must be an int, not {type(value).__name__}"
        raise TypeError(msg)


def _exact(value: Fraction | int) -> Fraction:
    """Widen an int; refuse everything that is not exact."""
    if type(value) is Fraction:
        return value
    if isinstance(value, bool) or not isinstance(value, int | Fraction):
        msg = f"wei_per_unit must be an int or a Fraction, not {type(value).__name__}"
        raise TypeError(msg)
    return Fraction(value)


@frozen
class Units:
    """An amount of work.

    Attributes:
        amount: How much, at least 0.
        unit: What is counted: ``"pixel"``, ``"second"``, ``"token"``, ``"character"``, ...
    """

    amount: int = field(validator=[_whole, _not_negative])
    unit: str = field(validator=validators.min_len(1))

    def __add__(self, other: Units) -> Units:
        """Add two amounts of the same unit; another unit raises ``ValueError``."""
        if other.unit != self.unit:
            msg = f"cannot add {other.unit} to {self.unit}"
            raise ValueError(msg)
        return Units(self.amount + other.amount, self.unit)


@frozen
class Price:
    """What one unit of work costs.

    Attributes:
        wei_per_unit: Exact wei for one unit, at least 0.
        unit: The unit that is priced, as in :class:`Units`.
    """

    wei_per_unit: Fraction = field(converter=_exact, validator=_not_negative)
    unit: str = field(validator=validators.min_len(1))

    def cost(self, units: Units) -> Fraction:
        """Return the exact wei that ``units`` cost; another unit raises ``ValueError``."""
        if units.unit != self.unit:
            msg = f"price is per {self.unit}, not per {units.unit}"
            raise ValueError(msg)
        return self.wei_per_unit * units.amount


@frozen
class PriceRequest:
    """Who asks for the price of what.

    Attributes:
        sender: The gateway's 20-byte address (zeros off chain).
        capability: The capability's network number (wire-video 8.1; 0 is H.264).
        model: The model identifier, None where the capability has none.
        unit: The unit that the pipeline counts in.
        constraints: Further labels of the job, such as a BYOC capability's name.
    """

    sender: bytes
    capability: int
    model: str | None = None
    unit: str = "pixel"
    constraints: Mapping[str, str] = field(factory=dict)
