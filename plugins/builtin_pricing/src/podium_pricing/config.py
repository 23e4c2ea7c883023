"""What the sections of all pricing plugins are made of."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

from attrs import Attribute, field, frozen, validators
from podium_hookspecs import CAPABILITY_NUMBERS

from podium_pricing.address import parse_address

HELP_GATEWAY = "The gateway's address."
HELP_CAPABILITY = 'The kind of work: its pipeline\'s name, as "text-to-image", or its number.'
HELP_MODEL = "The model, or a BYOC capability's name. Empty: any."
HELP_PRICES = "The prices; the first that fits is the answer. One table each."


def doc(text: str) -> dict[str, str]:
    """Return the metadata that carries a key's help."""
    return {"help": text}


def _price(instance: Any, attribute: Attribute[Any], value: Fraction | None) -> None:
    """Nothing is given away by accident: free work has to be asked for."""
    if value is not None and value < 0:
        raise ValueError("must be > 0")
    if instance.free and value is not None:
        raise ValueError("goes without a price: free = true charges nothing")
    if not instance.free and not value:
        what = "is missing" if value is None else "must be > 0"
        raise ValueError(f"{what}; to charge nothing, write free = true")


def currency(instance: object, attribute: Attribute[Any], value: str) -> None:
    """Check that a text may be a currency; whether it has a price is known at the start."""
    if not (value.isascii() and value.isalpha() and len(value) <= 10):
        raise ValueError("must be letters, as in wei, eth or USD")


def address(instance: object, attribute: Attribute[Any], value: str) -> None:
    """Check an address."""
    parse_address(value)


def any_address(instance: object, attribute: Attribute[Any], value: str) -> None:
    """Check an address; an empty one stands for any."""
    if value:
        parse_address(value)


def capability(value: str | int | None) -> int | None:
    """Return a capability's number.

    Raises:
        ValueError: no pipeline of the network has that name, or there is no such number.
    """
    if isinstance(value, str):
        if value not in CAPABILITY_NUMBERS:
            close = difflib.get_close_matches(value, CAPABILITY_NUMBERS, n=1)
            hint = f"; did you mean {close[0]}?" if close else f": {', '.join(CAPABILITY_NUMBERS)}"
            raise ValueError(f'"{value}" is no pipeline of the network{hint}')
        return CAPABILITY_NUMBERS[value]
    if value is not None and value < 0:
        raise ValueError("must be >= 0")
    return value


@frozen(kw_only=True)
class Line:
    """One price, and what it is for; what is not said fits everything."""

    price: Fraction | None = field(
        default=None,
        validator=_price,
        metadata=doc('For per units, exact: a whole number, or a text as "0.005" or "1/3".'),
    )
    free: bool = field(default=False, metadata=doc("Charge nothing."))
    per: int = field(
        default=1, validator=validators.ge(1), metadata=doc("Units that the price buys.")
    )
    unit: str = field(
        default="",
        metadata=doc('What is counted: "pixel", "second", "token", ... Empty: anything.'),
    )

    @property
    def amount(self) -> Fraction:
        """For one unit, exact, in the currency."""
        return (self.price or Fraction(0)) / self.per

    @property
    def selector(self) -> tuple[object, ...]:
        """What it is for; None or an empty text fits everything."""
        return (self.unit,)


@frozen(kw_only=True)
class CurrencyLine(Line):
    """A table of ``prices``: a price in a currency of its own."""

    currency: str = field(
        default="wei",
        validator=currency,
        metadata=doc('Of the price: "wei", "eth", or one that the price feed knows, as "USD".'),
    )


def reachable(instance: object, attribute: Attribute[Any], lines: Sequence[Line]) -> None:
    """Refuse a price that another one before it always hides: one of the two is a mistake."""
    seen: dict[tuple[object, ...], int] = {}
    for index, line in enumerate(lines):
        for wider in _wider(line.selector):
            if wider in seen:
                name = attribute.name
                raise ValueError(
                    f"{name}[{index}] is never the answer: {name}[{seen[wider]}] fits first"
                )
        seen[_plain(line.selector)] = index


def _plain(selector: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(None if one == "" else one for one in selector)


def _wider(selector: tuple[object, ...]) -> Iterator[tuple[object, ...]]:
    """Yield every selector that fits all that this one fits, itself included."""
    return product(*({one, None} for one in _plain(selector)))
