"""``podium init`` and ``podium config``."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import click

from podium.cli.lazy import Failed
from podium.cli.options import config_option
from podium.config.load import (
    find_config,
    load_settings,
    parse_settings,
    read_document,
    salvage_plugins,
)
from podium.config.render import PluginSection, render_default, show, toml
from podium.config.settings import Settings
from podium.errors import ConfigInvalid
from podium.pluginhost.call import Hooks, PluginFailure
from podium.pluginhost.discover import discover
from podium.pluginhost.load import check_sections, config_class, import_plugin

KEY_FILE = "account.key"
DEFAULT_PLUGINS = ("transcode",)


@click.group()
def config() -> None:
    """Check or show the configuration."""


@config.command()
@config_option
def check(config_path: Path | None) -> None:
    """Check the file, its certificate and all enabled plugins' sections; show every problem."""
    path = find_config(config_path)
    document = read_document(path)
    problems: list[str] = []
    try:
        problems += _tls_problems(parse_settings(document, path=path))
    except ConfigInvalid as invalid:
        problems += invalid.problems
    plugins = salvage_plugins(document, path)
    sections = check_sections(plugins, discover(), base_dir=path.parent)
    problems += sections.problems
    told = {line.split(".")[1] for line in sections.problems}
    problems += [
        f"plugins.{name}: {reason}"
        for name, reason in sections.failures.items()
        if name not in told and plugins[name].required
    ]
    if problems:
        raise ConfigInvalid(problems)
    enabled = [name for name, section in plugins.items() if section.enabled]
    click.echo(f"{path}: ok; plugins: {', '.join(enabled) or 'none'}")


def _tls_problems(settings: Settings) -> list[str]:
    """Try the operator's own certificate and key, as the node will."""
    node = settings.node
    if node.tls_cert is None or node.tls_key is None:
        return []

    from podium.listener import CertificateError, TlsFiles

    try:
        TlsFiles(node.tls_cert, node.tls_key).context(())
    except CertificateError as error:
        return [f"node.tls_cert, node.tls_key: {error}"]
    return []


@config.command(name="show")
@config_option
def show_command(config_path: Path | None) -> None:
    """Show the settings in force and where each comes from; secrets are masked."""
    path = find_config(config_path)
    settings = load_settings(path)
    sections = check_sections(settings.plugins, discover(), base_dir=settings.base_dir)
    click.echo(show(settings, sections.configs))


@click.command()
@click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("podium.toml"),
    show_default=True,
    help="The file to write.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the node keeps its state [default: ~/.podium].",
)
@click.option("--with-key", is_flag=True, help="Make an account, to sign results and be paid.")
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
def init(config_path: Path, data_dir: Path | None, with_key: bool, force: bool) -> None:
    """Write a configuration file with every setting, its help and its default."""
    if config_path.exists() and not force:
        raise Failed(f"{config_path} exists; replace it with --force")
    folder = Path("~/.podium").expanduser() if data_dir is None else data_dir.absolute()
    given = {} if data_dir is None else {"node.data_dir": toml(folder)}
    if with_key:
        key_path = folder / KEY_FILE
        click.echo(f"account {_make_key(key_path)} (key in {key_path})")
        given["account.private_key"] = f"{{file = {toml(key_path)}}}"
    text = render_default(_plugin_sections(), given)
    try:
        config_path.parent.mkdir(parents=True, exist_ok=True)
        config_path.write_text(text, "utf-8")
    except OSError as error:
        raise Failed(f"cannot write {config_path}: {error.strerror}") from error
    click.echo(f"wrote {config_path}; start the node with: podium serve -c {config_path}")


def _plugin_sections() -> dict[str, PluginSection]:
    """Enable the default plugins that are installed; the others are listed, switched off."""
    found = discover()
    sections = {}
    for name in sorted(found, key=lambda name: (name not in DEFAULT_PLUGINS, name)):
        enabled = name in DEFAULT_PLUGINS
        options = None
        if enabled:  # only such a plugin is imported
            hooks = Hooks()
            try:
                hooks.register(name, import_plugin(name, found[name], sorted(found)))
                options = config_class(name, hooks)
            except PluginFailure as failure:
                click.echo(f"plugin {name} cannot be used yet: {failure}", err=True)
        sections[name] = PluginSection(enabled, options)
    return sections


def _make_key(path: Path) -> str:
    """Return the address of the key in a file; a key that is there is kept, never replaced."""
    from podium.crypto import KeySigner, checksum_address

    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        text = path.read_text("ascii").strip()
    except OSError as error:
        raise Failed(f"cannot write {path}: {error.strerror}") from error
    else:
        text = secrets.token_hex(32)
        with os.fdopen(fd, "w") as file:
            file.write(text + "\n")
    try:
        return checksum_address(KeySigner(bytes.fromhex(text)).address)
    except ValueError as error:
        raise Failed(f"{path} does not hold a private key") from error
