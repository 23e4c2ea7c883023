"""What differs between two configurations; secrets are compared, and never shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs
from attrs import frozen
from podium_hookspecs import Secret

from podium.config.load import SECTIONS
from podium.config.render import toml
from podium.config.settings import HOST_KEYS, PluginSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from podium.config.settings import Settings

Kind = Literal["added", "removed", "changed", "limits", "moved", "tried again"]
HIDDEN = "***"


@frozen
class KeyChange:
    """One key of a plugin's section.

    Attributes:
        key: Its name.
        before: As TOML, secrets hidden; empty where there was none.
        after: The same.
    """

    key: str
    before: str
    after: str

    def __str__(self) -> str:
        if self.before == self.after:
            return f"{self.key} changed"
        return f"{self.key}: {self.before or 'not set'} -> {self.after or 'not set'}"


@frozen
class PluginChange:
    """What happens to one plugin.

    Attributes:
        plugin: Its name.
        kind: ``"changed"`` plugins are loaded anew; ``"limits"`` hold at once, and ``"moved"`` ones
            are asked in another order; ``"tried again"``: it failed before.
        keys: What of its section differs.
    """

    plugin: str
    kind: Kind
    keys: tuple[KeyChange, ...] = ()

    def __str__(self) -> str:
        keys = "; ".join(str(key) for key in self.keys)
        return f"{self.plugin} {self.kind}" + (f" ({keys})" if keys else "")

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return attrs.asdict(self)


def needs_restart(old: Settings, new: Settings) -> list[str]:
    """Return the dotted names of settings that differ and hold from start to end."""
    found: list[str] = []
    for name in SECTIONS:
        found += _differing(name, getattr(old, name), getattr(new, name))
    return found


def _differing(path: str, old: Any, new: Any) -> Iterator[str]:
    if plain(old) == plain(new):
        return
    if type(old) is not type(new) or not attrs.has(type(old)) or isinstance(old, Secret):
        yield path
        return
    for field in attrs.fields(type(old)):
        name = f"{path}.{field.name}"
        yield from _differing(name, getattr(old, field.name), getattr(new, field.name))


def changed_options(old: Any, new: Any) -> tuple[KeyChange, ...]:
    """Compare a plugin's checked sections; None is one without options."""
    before, after = _table(old), _table(new)
    return tuple(
        KeyChange(key, _shown(before, key), _shown(after, key))
        for key in dict.fromkeys([*before, *after])
        if key not in before or key not in after or plain(before[key]) != plain(after[key])
    )


def changed_limits(old: PluginSettings, new: PluginSettings) -> tuple[KeyChange, ...]:
    """Compare the node's own keys of a plugin's section, but whether it is enabled."""
    keys = [key for key in HOST_KEYS if key != "enabled"]
    before = {key: getattr(old, key) for key in keys}
    after = {key: getattr(new, key) for key in keys}
    return tuple(
        KeyChange(key, _shown(before, key), _shown(after, key))
        for key in keys
        if before[key] != after[key]
    )


def plain(value: Any) -> Any:
    """Return what compares as a configuration's reader would: secrets by what they hold."""
    if isinstance(value, Secret):
        return (HIDDEN, value.reveal)
    if attrs.has(type(value)):
        fields = attrs.fields(type(value))
        return (type(value), *(plain(getattr(value, field.name)) for field in fields))
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _table(config: Any) -> dict[str, Any]:
    return attrs.asdict(config, recurse=False) if attrs.has(type(config)) else {}


def _shown(table: Mapping[str, Any], key: str) -> str:
    value = table.get(key)
    return "" if value is None else toml(value)
