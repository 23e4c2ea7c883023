"""``admit-lists``: who may come in, and who may not, by address."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

from attrs import Attribute, field, frozen
from podium_hookspecs import Admission, AdmitRequest, Pipeline, hookimpl

from podium_pricing.address import parse_address
from podium_pricing.config import HELP_CAPABILITY, capability, doc

if TYPE_CHECKING:
    from podium_hookspecs import PluginContext

HELP_ALLOW = "Only these gateways may come in. Empty: all but those of deny."
HELP_DENY = "These gateways may not come in."


def _addresses(instance: object, attribute: Attribute[Any], value: Iterable[str]) -> None:
    for text in value:
        parse_address(text)


def _not_both(instance: Any, attribute: Attribute[Any], value: Iterable[str]) -> None:
    _addresses(instance, attribute, value)
    allowed = {text.lower() for text in instance.allow}
    for text in value:
        if text.lower() in allowed:
            raise ValueError(f"{text} is in allow too")


def _somebody(instance: Any, attribute: Attribute[Any], value: object) -> None:
    if not (value or instance.allow or instance.deny):
        raise ValueError("allow, deny or one of these must name a gateway")


@frozen(kw_only=True)
class CapabilityList:
    """``[[plugins.admit-lists.capabilities]]``: who may have one kind of work."""

    capability: str | int = field(converter=capability, metadata=doc(HELP_CAPABILITY))
    allow: tuple[str, ...] = field(
        default=(), validator=_addresses, metadata=doc("Only these gateways may have it.")
    )
    deny: tuple[str, ...] = field(
        default=(), validator=_not_both, metadata=doc("These gateways may not have it.")
    )


@frozen(kw_only=True)
class ListsConfig:
    """``[plugins.admit-lists]``: whom the node works for; who is not refused is passed on."""

    allow: tuple[str, ...] = field(default=(), validator=_addresses, metadata=doc(HELP_ALLOW))
    deny: tuple[str, ...] = field(default=(), validator=_not_both, metadata=doc(HELP_DENY))
    reason: str = field(
        default="not admitted", metadata=doc("What those who are refused are told.")
    )
    capabilities: tuple[CapabilityList, ...] = field(
        default=(),
        validator=_somebody,
        metadata=doc("Further lists that hold for one kind of work, one table each."),
    )


@frozen
class Lists:
    """Two lists, as sets of 20 bytes."""

    allow: frozenset[bytes]
    deny: frozenset[bytes]

    @classmethod
    def of(cls, allow: Iterable[str], deny: Iterable[str]) -> Self:
        """Read addresses."""
        return cls(frozenset(map(parse_address, allow)), frozenset(map(parse_address, deny)))

    def refuse(self, sender: bytes) -> bool:
        """Whether a sender may not come in."""
        return sender in self.deny or bool(self.allow and sender not in self.allow)


@frozen
class Guard:
    """All lists of the plugin: those for everything, and by capability."""

    general: Lists
    by_capability: tuple[tuple[int, Lists], ...]

    def refuse(self, request: AdmitRequest) -> bool:
        """Whether any list refuses; those of a capability hold where it is asked for."""
        if self.general.refuse(request.sender):
            return True
        asked = request.capabilities or frozenset()
        return any(
            number in asked and lists.refuse(request.sender) for number, lists in self.by_capability
        )


@hookimpl
def podium_config_class() -> type:
    """Name the class of the section."""
    return ListsConfig


@hookimpl
def podium_pipelines(config: ListsConfig, context: PluginContext) -> list[Pipeline]:
    """Read the lists."""
    context.state = Guard(
        Lists.of(config.allow, config.deny),
        tuple(
            (int(entry.capability), Lists.of(entry.allow, entry.deny))
            for entry in config.capabilities
        ),
    )
    return []


@hookimpl
def podium_admit(
    request: AdmitRequest, config: ListsConfig, context: PluginContext
) -> Admission | None:
    """Refuse, or let the next plugin answer."""
    guard: Guard = context.state
    return Admission(False, config.reason) if guard.refuse(request) else None
