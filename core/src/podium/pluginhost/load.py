"""Bring one enabled plugin to life: pin, import, hooks, configuration, context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen

from podium.config.load import plugin_config
from podium.config.settings import PluginSettings, Settings
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
    name: str, hooks: Hooks, section: PluginSettings, settings: Settings, environ: Mapping[str, str]
) -> Any:
    """Check a plugin's section with the class it names.

    Raises:
        PluginFailure: the class cannot be had, or is none that can be configured.
        ConfigInvalid: the section has problems.
    """
    classes = hooks.ask(name, "podium_config_class")
    if len(classes) > 1:
        raise PluginFailure(name, "podium_config_class", "there is more than one")
    cls = classes[0] if classes else None
    if cls is not None and not hasattr(cls, "__attrs_attrs__"):
        raise PluginFailure(name, "podium_config_class", f"{cls!r} is no attrs class")
    return plugin_config(cls, name, section, base_dir=settings.base_dir, environ=environ)
