"""Find, read and check the configuration file."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from podium.config.settings import (
    CONFIG_VERSION,
    HOST_KEYS,
    NodeSettings,
    PluginSettings,
    Settings,
)
from podium.config.structure import Invalid, Problem, Source, structure, unknown_key
from podium.errors import ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")
ENV_CONFIG = "PODIUM_CONFIG"
_PLUGIN_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_POSITION = re.compile(r"(?P<text>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end.*)\)")
_OWN_KEYS = frozenset({"version", "plugins"})
SECTIONS = tuple(
    field.name for field in attrs.fields(Settings) if field.name not in {"plugins", "path", "given"}
)


def find_config(explicit: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the file to read: given, from ``PODIUM_CONFIG``, here, or in ``~/.podium``.

    Raises:
        ConfigInvalid: there is none.
    """
    named = explicit or (Path(environ[ENV_CONFIG]) if environ.get(ENV_CONFIG) else None)
    if named is not None:
        return named.expanduser()
    for path in (Path("podium.toml"), Path("~/.podium/podium.toml").expanduser()):
        if path.is_file():
            return path
    raise ConfigInvalid(
        ["no configuration: ./podium.toml and ~/.podium/podium.toml do not exist; run podium init"]
    )


def load_settings(path: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read and check a file.

    Raises:
        ConfigInvalid: it cannot be read, is not TOML, or has problems: all of them.
    """
    return parse_settings(read_document(path), path=path, environ=environ)


def read_document(path: Path) -> dict[str, Any]:
    """Read TOML; a syntax error names file, line and column.

    Raises:
        ConfigInvalid: it cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigInvalid([f"{path}: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigInvalid([f"{path}: not UTF-8 text (byte {error.start})"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigInvalid([_syntax_error(path, str(error))]) from error


def _syntax_error(path: Path, message: str) -> str:
    match = _POSITION.fullmatch(message)
    if match is None:
        return f"{path}: {message}"
    where = "end of file"
    if match["line"]:
        where = f"line {match['line']}, column {match['column']}"
    return f"{path}, {where}: {match['text']}"


def parse_settings(
    document: Mapping[str, Any],
    *,
    path: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Check a document that was read from ``path``.

    A file without ``version`` is a version 1 file.

    Raises:
        ConfigInvalid: with every problem, as ``section.key: text``.
    """
    source = Source(Path() if path is None else path.parent.absolute(), environ)
    problems = _check_top(document)
    values: dict[str, Any] = {}
    for name in SECTIONS:
        kind: Any = attrs.fields_dict(attrs.resolve_types(Settings))[name].type
        try:
            values[name] = structure(kind, document.get(name, {}), source)
        except Invalid as error:
            problems += error.under(name)
    plugins = _parse_plugins(document.get("plugins", {}), source, problems)
    if problems:
        raise ConfigInvalid([f"{where}: {text}" for where, text in problems])
    given = frozenset(_leaves(document, ""))
    settings = Settings(**values, plugins=plugins, path=path, given=given)
    if unpaid := _prices_without_account(settings):
        raise ConfigInvalid(unpaid)
    return settings


def node_section(path: Path, environ: Mapping[str, str] = os.environ) -> NodeSettings:
    """Read ``[node]`` alone, whatever is wrong with the rest of a file: where its node answers.

    Raises:
        ConfigInvalid: that section cannot be read either.
    """
    source = Source(path.parent.absolute(), environ)
    try:
        return structure(NodeSettings, read_document(path).get("node", {}), source)
    except Invalid as error:
        raise ConfigInvalid([f"{where}: {text}" for where, text in error.under("node")]) from error


def _prices_without_account(settings: Settings) -> list[str]:
    """Prices that nobody would ever be charged: without an account all work is free."""
    if any(name.startswith("account.") for name in settings.given):
        return []
    payments = settings.payments
    prices = {"payments.price_per_unit": payments.price_per_unit}
    for i, gateway in enumerate(payments.per_gateway):
        prices[f"payments.per_gateway[{i}].price_per_unit"] = gateway.price_per_unit
    text = "would never be charged, since there is no account: set account.private_key"
    return [f"{name}: {text}" for name, price in prices.items() if price]


def salvage_plugins(document: Mapping[str, Any], path: Path) -> dict[str, PluginSettings]:
    """Return the plugins' sections that can be read, whatever else is wrong with the document."""
    source = Source(path.parent.absolute(), {})
    return _parse_plugins(document.get("plugins", {}), source, [])


def _check_top(document: Mapping[str, Any]) -> list[Problem]:
    known = sorted(_OWN_KEYS.union(SECTIONS))
    problems = [unknown_key(key, known) for key in document if key not in known]
    version = document.get("version", CONFIG_VERSION)
    if version is True or version != CONFIG_VERSION:
        problems.append(
            ("version", f"must be {CONFIG_VERSION}, the version that this program reads")
        )
    return problems


def _parse_plugins(
    table: object, source: Source, problems: list[Problem]
) -> dict[str, PluginSettings]:
    """Split ``[plugins.*]`` into the host's keys and the plugins' own, in file order."""
    if not isinstance(table, dict):
        problems.append(("plugins", "must be tables: [plugins.NAME]"))
        return {}
    plugins = {}
    for name, section in table.items():
        try:
            plugins[name] = _parse_plugin(name, section, source)
        except Invalid as error:
            problems += error.under(f"plugins.{name}")
    return plugins


def _parse_plugin(name: str, section: object, source: Source) -> PluginSettings:
    if not _PLUGIN_NAME.fullmatch(name):
        raise Invalid(("", "a plugin's name has lower-case letters, digits, - and _ only"))
    if not isinstance(section, dict):
        raise Invalid(("", f"must be a table: [plugins.{name}]"))
    host_keys = {key: section[key] for key in HOST_KEYS if key in section}
    options = {key: value for key, value in section.items() if key not in host_keys}
    return attrs.evolve(structure(PluginSettings, host_keys, source), options=options)


def plugin_config(
    cls: type[Any] | None,
    name: str,
    section: PluginSettings,
    *,
    base_dir: Path,
    environ: Mapping[str, str] = os.environ,
) -> Any:
    """Check a plugin's own options with the class the plugin names for them.

    Returns:
        An instance of ``cls``, or None when the plugin has no options.

    Raises:
        ConfigInvalid: with every problem, as ``plugins.NAME.key: text``.
    """
    try:
        if cls is not None:
            return structure(cls, section.options, Source(base_dir.absolute(), environ))
        if section.options:
            text = "unknown key; this plugin has no options"
            raise Invalid(*((key, text) for key in section.options))
    except Invalid as error:
        lines = [f"{where}: {text}" for where, text in error.under(f"plugins.{name}")]
        raise ConfigInvalid(lines) from None
    return None


def _leaves(table: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        yield prefix + key
