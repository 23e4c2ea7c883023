"""What a new configuration asks for, found out without touching what runs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from podium.bounded import Escaped, Overdue, in_thread
from podium.config.diff import (
    PluginChange,
    changed_limits,
    changed_options,
    needs_restart,
)
from podium.config.settings import PluginSettings
from podium.errors import ConfigInvalid
from podium.pluginhost.call import Hooks, PluginFailure
from podium.pluginhost.discover import discover
from podium.pluginhost.load import check_config, import_plugin, wanted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from podium.config.settings import Settings
    from podium.pluginhost import PluginHost
    from podium.pluginhost.discover import Discovered

IMPORT_TIMEOUT_S = 60.0


@define
class Plan:
    """The way from one configuration to another.

    Attributes:
        settings: The new ones.
        changes: What differs, plugin by plugin.
        restart: Settings that cannot change while the node runs.
        problems: Why it cannot be.
        fresh: Plugins to be loaded, ready to be asked for what they bring; by name.
        leaving: Names of plugins that go, or are loaded anew.
        again: Names of plugins that failed before: that they fail again stops nothing.
        order: All enabled plugins, in the order in which they are asked.
    """

    settings: Settings
    changes: list[PluginChange] = field(factory=list)
    restart: list[str] = field(factory=list)
    problems: list[str] = field(factory=list)
    fresh: dict[str, object] = field(factory=dict)
    leaving: list[str] = field(factory=list)
    again: set[str] = field(factory=set)
    order: list[str] = field(factory=list)

    def note(self, plugin: str, reason: str) -> None:
        """Note why a plugin cannot be used."""
        if plugin not in self.again:
            self.problems.append(f"plugin {plugin}: {reason}")


async def make_plan(
    old: Settings, new: Settings, host: PluginHost, extra: Mapping[str, object]
) -> Plan:
    """Compare, import what is not imported yet, and check every section.

    Args:
        old: What holds.
        new: What shall hold.
        host: The plugins that run.
        extra: Plugins given as objects, by name.
    """
    plan = Plan(new, restart=needs_restart(old, new))
    importlib.invalidate_caches()  # something may have been installed since
    sections, found = wanted(new, extra), discover()
    plan.order = list(sections)
    for name in host.loaded:
        if name not in sections:
            plan.leaving.append(name)
            plan.changes.append(PluginChange(name, "removed"))
    for name, section in sections.items():
        before = old.plugins.get(name, PluginSettings(enabled=True) if name in extra else None)
        known = before if before is not None and before.enabled else None
        await _look_at(plan, name, section, _Old(host, known), extra, found)
    stay = [name for name in host.loaded if name in sections]
    if stay != [name for name in plan.order if name in stay]:
        said = {change.plugin for change in plan.changes}
        moved = [name for name in stay if stay.index(name) != _place(plan.order, stay, name)]
        plan.changes += [PluginChange(name, "moved") for name in moved if name not in said]
    return plan


def _place(order: list[str], stay: list[str], name: str) -> int:
    return [one for one in order if one in stay].index(name)


@frozen
class _Old:
    """What runs now, and the section with which one plugin was enabled, if it was."""

    host: PluginHost
    section: PluginSettings | None


async def _look_at(
    plan: Plan,
    name: str,
    section: PluginSettings,
    old: _Old,
    extra: Mapping[str, object],
    found: Mapping[str, Discovered],
) -> None:
    """Find out what becomes of one plugin."""
    running, before = old.host.loaded.get(name), old.section
    if running is None and before is not None and before == section:
        plan.again.add(name)
    try:
        plugin = running.plugin if running is not None else extra.get(name)
        if plugin is None:
            plugin = await _imported(name, found)
        config = _config(plan, name, section, plugin, old.host)
    except PluginFailure as failure:
        plan.note(name, str(failure))
        return
    except ConfigInvalid as invalid:
        if name not in plan.again:
            plan.problems += invalid.problems
        return
    if running is None:
        plan.changes.append(PluginChange(name, "tried again" if name in plan.again else "added"))
        plan.fresh[name] = plugin
        return
    limits = () if before is None else changed_limits(before, section)
    if keys := changed_options(running.config, config):
        plan.changes.append(PluginChange(name, "changed", (*keys, *limits)))
        plan.fresh[name] = plugin
        plan.leaving.append(name)
    elif limits:
        plan.changes.append(PluginChange(name, "limits", limits))


async def _imported(name: str, found: Mapping[str, Discovered]) -> object:
    """Import a plugin in a thread: what it does meanwhile holds up no job."""
    try:
        return await in_thread(
            lambda: import_plugin(name, found.get(name), sorted(found)), IMPORT_TIMEOUT_S
        )
    except (Overdue, Escaped) as error:
        raise PluginFailure(name, "import", str(error), error) from error


def _config(
    plan: Plan, name: str, section: PluginSettings, plugin: object, host: PluginHost
) -> Any:
    hooks = Hooks()
    hooks.register(name, plugin)
    return check_config(name, hooks, section, plan.settings.base_dir, host.services.environ)
