"""``price-load``: the price rises with what the node has to do."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from attrs import Attribute, define, field, frozen, validators
from podium_hookspecs import (
    NodeStarted,
    Pipeline,
    Price,
    PriceRequest,
    SessionClosed,
    SessionOpened,
    hookimpl,
)

from podium_pricing.config import CurrencyLine, doc, reachable
from podium_pricing.table import Table, table_of

if TYPE_CHECKING:
    from podium_hookspecs import Event, PluginContext


def _above(name: str) -> Callable[[Any, Attribute[Any], Fraction], None]:
    def check(instance: Any, attribute: Attribute[Any], value: Fraction) -> None:
        if value <= getattr(instance, name):
            raise ValueError(f"must be more than {name}")

    return check


@frozen
class LoadConfig:
    """``[plugins.price-load]``: raises the price that the next plugin gives, or one of its own."""

    measure: Literal["sessions", "slots"] = field(
        default="sessions",
        metadata=doc("sessions: the open ones, of node.max_sessions. slots: those in use, of all."),
    )
    rises_from: Fraction = field(
        default=Fraction(1, 2),
        validator=validators.ge(Fraction(0)),
        metadata=doc("Load from which the price rises: 0 is idle, 1 is full."),
    )
    rises_to: Fraction = field(
        default=Fraction(1),
        validator=_above("rises_from"),
        metadata=doc("Load at which it is highest."),
    )
    min_factor: Fraction = field(
        default=Fraction(1),
        validator=validators.gt(Fraction(0)),
        metadata=doc("The price is multiplied by this up to rises_from."),
    )
    max_factor: Fraction = field(
        default=Fraction(2),
        validator=_above("min_factor"),
        metadata=doc("The price is multiplied by this from rises_to on."),
    )
    prices: tuple[CurrencyLine, ...] = field(
        default=(),
        validator=reachable,
        metadata=doc("Prices of its own to raise. Where none fits, the next plugin's is raised."),
    )

    def factor(self, load: Fraction) -> Fraction:
        """Return what the price is multiplied by: exact, and within the bounds."""
        share = (load - self.rises_from) / (self.rises_to - self.rises_from)
        share = max(Fraction(0), min(Fraction(1), share))
        return self.min_factor + (self.max_factor - self.min_factor) * share


@define
class Sessions:
    """The open sessions, as events tell."""

    open: int = 0
    most: int = 0

    def hear(self, event: Event) -> None:
        """Take an event into account."""
        match event:
            case NodeStarted():
                self.most = event.max_sessions
            case SessionOpened() | SessionClosed():
                self.open = event.open_sessions


@frozen
class State:
    """What the plugin keeps between its hooks."""

    sessions: Sessions
    table: Table
    show_factor: Callable[..., None]


@hookimpl
def podium_config_class() -> type:
    """Name the class of the section."""
    return LoadConfig


@hookimpl
def podium_pipelines(config: LoadConfig, context: PluginContext) -> list[Pipeline]:
    """Make the table, and begin to listen."""
    gauge = context.metrics.gauge("factor", "What the price was multiplied by last.")
    context.state = State(Sessions(), table_of(config, context), gauge)
    return []


@hookimpl
def podium_on_event(event: Event, context: PluginContext) -> None:
    """Follow the sessions."""
    context.state.sessions.hear(event)


@hookimpl
def podium_price(request: PriceRequest, config: LoadConfig, context: PluginContext) -> Price | None:
    """Raise the plugin's own price, or what would be charged without it."""
    state: State = context.state
    base = state.table.answer(request) or context.next_price(request)
    used, most = context.slots()
    if config.measure == "sessions":
        used, most = state.sessions.open, state.sessions.most
    factor = config.factor(Fraction(used, most or 1))
    state.show_factor(float(factor))
    return Price(base.wei_per_unit * factor, request.unit)
