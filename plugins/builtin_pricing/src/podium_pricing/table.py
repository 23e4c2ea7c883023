"""Prices by who asks for what: the first rule that fits is the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from attrs import frozen
from podium_hookspecs import Price, hookimpl

from podium_pricing.address import parse_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from fractions import Fraction

    from podium_hookspecs import Pipeline, PluginContext, PriceRequest

    from podium_pricing.config import Line

    Converter = Callable[[Fraction], Fraction]


@frozen
class Rule:
    """One price, and what it is for; None and empty texts fit everything.

    Attributes:
        amount: For one unit, exact, in a currency.
        wei: Converts it.
        unit: What is counted.
        sender: 20 bytes.
        capability: Network number.
        model: The model, or a BYOC capability's name.
    """

    amount: Fraction
    wei: Converter
    unit: str = ""
    sender: bytes | None = None
    capability: int | None = None
    model: str = ""

    @classmethod
    def of(cls, line: Line, wei: Converter) -> Self:
        """Read a line of a configuration; keys that it has not fit everything."""
        gateway = getattr(line, "gateway", "")
        return cls(
            line.amount,
            wei,
            line.unit,
            parse_address(gateway) if gateway else None,
            getattr(line, "capability", None),
            getattr(line, "model", ""),
        )

    def fits(self, request: PriceRequest) -> bool:
        """Whether it is for this request."""
        return (
            self.unit in ("", request.unit)
            and self.sender in (None, request.sender)
            and self.capability in (None, request.capability)
            and self.model in ("", request.model)
        )


@frozen
class Table:
    """Rules in their order, found by sender: there may be thousands of gateways."""

    _general: Sequence[Rule]
    _by_sender: Mapping[bytes, Sequence[Rule]]

    @classmethod
    def of(cls, rules: Iterable[Rule]) -> Self:
        """Sort rules by whom they are for."""
        general: list[Rule] = []
        by_sender: dict[bytes, list[Rule]] = {}
        for rule in rules:
            if rule.sender is None:
                general.append(rule)
                for own in by_sender.values():
                    own.append(rule)
            else:
                by_sender.setdefault(rule.sender, list(general)).append(rule)
        return cls(general, by_sender)

    def answer(self, request: PriceRequest) -> Price | None:
        """Return the first price that fits; None: none does.

        Raises:
            PluginError: its currency has no price now.
        """
        for rule in self._by_sender.get(request.sender, self._general):
            if rule.fits(request):
                return Price(rule.wei(rule.amount), request.unit)
        return None


@frozen
class TablePlugin:
    """A plugin whose section is a table of prices.

    Attributes:
        config_class: Its section: ``prices``, and perhaps one ``currency`` for all of them.
    """

    config_class: type

    @hookimpl
    def podium_config_class(self) -> type:
        """Name the class of the section."""
        return self.config_class

    @hookimpl
    def podium_pipelines(self, config: Any, context: PluginContext) -> list[Pipeline]:
        """Make the table, and say which currencies it needs."""
        context.state = table_of(config, context)
        return []

    @hookimpl
    def podium_price(self, request: PriceRequest, context: PluginContext) -> Price | None:
        """Answer from the table, at the currencies' prices of now."""
        table: Table = context.state
        return table.answer(request)


def table_of(config: Any, context: PluginContext) -> Table:
    """Make the table of a section; a line's own currency goes before the section's."""
    general = getattr(config, "currency", "wei")
    return Table.of(
        Rule.of(line, context.currency(getattr(line, "currency", general)))
        for line in config.prices
    )
