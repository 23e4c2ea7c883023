"""Bring one enabled plugin to life: pin, import, hooks, configuration, context."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, fields, frozen

from podium.config.load import plugin_config
from podium.config.settings import HOST_KEYS, PluginSettings, Settings
from podium.errors import ConfigInvalid
from podium.pluginhost.call import Hooks, PluginFailure, attempt

if TYPE_CHECKING:
    from podium.pluginhost.context import HostContext
    from podium.pluginhost.discover import Discovered


@frozen
class Loaded:
    """A plugin in use."""

    name: str
    plugin: object
    config: Any
    context: HostContext


def wanted(settings: Settings, extra: Mapping[str, object]) -> dict[str, PluginSettings]:
    """Return the enabled plugins in the file's order; then those given in code."""
    enabled = {name: section for name, section in settings.plugins.items() if section.enabled}
    for name in extra:
        if name not in settings.plugins:
            enabled[name] = PluginSettings(enabled=True)
    return enabled


def import_plugin(name: str, found: Discovered | None, installed: list[str]) -> object:
    """Import an enabled plugin, unless its metadata says that it cannot work here.

    Raises:
        PluginFailure: it is not installed, does not fit, or raised.
    """
    if found is None:
        names = ", ".join(installed) or "none"
        raise PluginFailure(
            name, "install", f"no installed distribution offers it (found: {names})"
        )
    if found.problem or found.entry_point is None:
        raise PluginFailure(name, "version", found.problem)
    return attempt(name, "import", found.entry_point.load)


def check_config(
    name: str, hooks: Hooks, section: PluginSettings, base_dir: Path, environ: Mapping[str, str]
) -> Any:
    """Check a plugin's section with the class it names.

    Raises:
        PluginFailure: the class cannot be had, or is none that can be configured.
        ConfigInvalid: the section has problems.
    """
    return plugin_config(
        config_class(name, hooks), name, section, base_dir=base_dir, environ=environ
    )


def config_class(name: str, hooks: Hooks) -> type[Any] | None:
    """Return the class of a plugin's section, None when it has no options.

    Raises:
        PluginFailure: the class cannot be had, or is none that can be configured.
    """
    classes = hooks.ask(name, "podium_config_class")
    if len(classes) > 1:
        raise PluginFailure(name, "podium_config_class", "there is more than one")
    cls: type[Any] | None = classes[0] if classes else None
    if cls is not None and not hasattr(cls, "__attrs_attrs__"):
        raise PluginFailure(name, "podium_config_class", f"{cls!r} is no attrs class")
    taken = [] if cls is None else [key.name for key in fields(cls) if key.name in HOST_KEYS]
    if taken:
        # The node takes these keys for itself: the plugin would never see what the operator set.
        reason = f"{', '.join(taken)}: the node has these keys for itself, in every section"
        raise PluginFailure(name, "podium_config_class", reason)
    return cls


@frozen
class Sections:
    """What a look at the enabled plugins' sections found, without starting anything.

    Attributes:
        configs: Checked sections, of plugins that have options.
        failures: Why a plugin cannot be used, by its name.
        problems: Problems of sections: ``plugins.NAME.key: text``.
    """

    configs: dict[str, Any] = field(factory=dict)
    failures: dict[str, str] = field(factory=dict)
    problems: list[str] = field(factory=list)


def check_sections(
    plugins: Mapping[str, PluginSettings],
    found: Mapping[str, Discovered],
    *,
    base_dir: Path,
    environ: Mapping[str, str] = os.environ,
) -> Sections:
    """Import the enabled plugins and check their sections."""
    sections, hooks = Sections(), Hooks()
    for name, section in plugins.items():
        if not section.enabled:
            continue
        try:
            hooks.register(name, import_plugin(name, found.get(name), sorted(found)))
            sections.configs[name] = check_config(name, hooks, section, base_dir, environ)
        except PluginFailure as failure:
            sections.failures[name] = str(failure)
        except ConfigInvalid as invalid:
            sections.problems.extend(invalid.problems)
            sections.failures[name] = "; ".join(invalid.problems)
    return sections
