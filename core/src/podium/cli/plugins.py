"""``podium plugins``."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
from podium_hookspecs import Worker

from podium.cli.lazy import Failed
from podium.cli.new import new
from podium.cli.options import config_option, console
from podium.cli.reload import running_plugins
from podium.config.load import find_config, load_settings
from podium.config.render import PluginSection, render_plugin
from podium.config.settings import Settings
from podium.errors import ConfigInvalid
from podium.pluginhost import NodeFacts, PluginHost, PluginState, PluginStatus, Services
from podium.pluginhost.call import Hooks, PluginFailure, attempt_async
from podium.pluginhost.discover import Discovered, discover
from podium.pluginhost.load import check_sections, config_class, import_plugin

if TYPE_CHECKING:
    from rich.table import Table

START_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 10.0


@click.group()
def plugins() -> None:
    """List, check or describe the installed plugins, or begin a new one."""


plugins.add_command(new)


@plugins.command(name="list")
@config_option
def list_command(config_path: Path | None) -> None:
    """List the installed plugins, and how they are on the node that runs with this file.

    Where none runs, the enabled ones are imported here, and their sections checked.
    """
    settings = _settings(config_path)
    found = discover()
    running = running_plugins(settings.node, settings.path)
    if running is not None:
        _print(_table(_told(one, found) for one in running))
        click.echo("as the running node has them")
        return
    sections = check_sections(settings.plugins, found, base_dir=settings.base_dir)
    statuses = [
        _status(name, settings, found, sections.failures)
        for name in sorted({*found, *settings.plugins})
    ]
    _print(_table(statuses))


@plugins.command()
@config_option
def check(config_path: Path | None) -> None:
    """Load the enabled plugins, start their workers, and say what each one brings.

    That is done here, beside the node that may run with this file; how its plugins are is shown
    too.
    """
    settings = load_settings(find_config(config_path))
    well = asyncio.run(_check(settings))
    for one in running_plugins(settings.node, settings.path) or []:
        if one["state"] != PluginState.NOT_ENABLED.value:
            reason = f": {one['reason']}" if one["reason"] else ""
            click.echo(f"running node: {one['name']} is {one['state']}{reason}")
    if not well:
        raise Failed("not every enabled plugin is well")


@plugins.command()
@click.argument("name")
def docs(name: str) -> None:
    """Print a plugin's options as a commented section, made from its config class.

    The plugin is imported for it, enabled or not.
    """
    found, hooks = discover(), Hooks()
    hooks.register(name, import_plugin(name, found.get(name), sorted(found)))
    cls = config_class(name, hooks)
    if cls is not None and cls.__doc__:
        what = cleandoc(cls.__doc__).partition("``: ")[2] or cleandoc(cls.__doc__)
        click.echo("\n".join(f"# {line}".rstrip() for line in what.splitlines()))
    click.echo(render_plugin(name, PluginSection(True, cls)))


def _told(one: dict[str, Any], found: dict[str, Discovered]) -> PluginStatus:
    """Read what a node says of one plugin."""
    name, state = one["name"], PluginState(one["state"])
    return PluginStatus(name, state, one["reason"], one["required"], found.get(name))


def _settings(config_path: Path | None) -> Settings:
    """Read the configuration; without one nothing is enabled."""
    try:
        path = find_config(config_path)
    except ConfigInvalid:
        return Settings()
    return load_settings(path)


def _status(
    name: str, settings: Settings, found: dict[str, Discovered], failures: dict[str, str]
) -> PluginStatus:
    section = settings.plugins.get(name)
    if section is None or not section.enabled:
        return PluginStatus(name, PluginState.NOT_ENABLED, found=found.get(name))
    reason = failures.get(name, "")
    state = PluginState.FAILED if reason else PluginState.OK
    return PluginStatus(name, state, reason, section.required, found.get(name))


async def _check(settings: Settings) -> bool:
    """Load and start everything in a folder of its own; return whether all is well."""
    from podium.telemetry.logs import make_log
    from podium.telemetry.plugin_metrics import PluginMetrics
    from podium.telemetry.registry import Registry

    log, registry = make_log(level="warning"), Registry()
    services = Services(
        facts=NodeFacts("0", service_uri=settings.node.advertised_uri()),
        log=lambda name: log.bind(plugin=name),
        metrics=lambda name: PluginMetrics(registry, name),
    )
    with tempfile.TemporaryDirectory(prefix="podium-check-") as folder:
        node = attrs.evolve(settings.node, data_dir=Path(folder))
        host = await PluginHost.inspect(attrs.evolve(settings, node=node), services)
        try:
            for worker in host.workers:
                await _start(host, worker)
            statuses = [s for s in host.statuses() if s.state is not PluginState.NOT_ENABLED]
            _print(_table(statuses))
            for line in [*_brought(host), *host.conflicts]:
                click.echo(line)
            return not host.conflicts and all(s.state is PluginState.OK for s in statuses)
        finally:
            await host.close()


async def _start(host: PluginHost, worker: Worker) -> None:
    """Start a worker and stop it again; a failure is its plugin's."""
    plugin, what = host.owner(worker), f"worker {worker.name}"
    try:
        try:
            await attempt_async(plugin, what, worker.start, START_TIMEOUT_S)
        finally:
            await attempt_async(plugin, what, worker.close, CLOSE_TIMEOUT_S)
    except PluginFailure as failure:
        host.degrade(plugin, str(failure))


def _brought(host: PluginHost) -> Iterable[str]:
    for name, pipeline in host.pipelines.items():
        yield f"{host.owner(pipeline)}: pipeline {name}, counts in {pipeline.unit}s"
    for worker in host.workers:
        has = worker.resources
        devices = ", ".join(device.name or device.id for device in has.devices)
        text = f"{host.owner(worker)}: worker {worker.name}, {has.slots} slot(s)"
        yield text + (f" on {devices}" if devices else "")
    for mount in host.mounts:
        yield f"{host.owner(mount)}: route {mount.path} on the {mount.surface} port"


def _table(statuses: Iterable[PluginStatus]) -> Table:
    from rich.table import Table

    table = Table("plugin", "state", "version", "distribution", "hooks", "reason")
    for status in statuses:
        found = status.found
        table.add_row(
            status.name,
            status.state.value,
            found.dist_version if found else "",
            found.dist if found else "",
            found.pin if found else "",
            status.reason,
        )
    return table


def _print(table: Table) -> None:
    if table.row_count:
        console().print(table)
    else:
        click.echo("no plugins are installed")
