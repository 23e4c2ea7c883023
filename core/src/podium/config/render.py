"""The configuration as text: a commented default file, and the effective settings."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import attrs
from attrs import Attribute, frozen
from podium_hookspecs import Secret

from podium.config.load import SECTIONS
from podium.config.settings import HOST_KEYS, PluginSettings, Settings

WIDTH = 96
HEAD = """\
# Podium's configuration. Lines that start with # show the defaults.
# Texts that must stay secret can be written as {env = "NAME"} or {file = "PATH"}.
# Relative paths start at this file's folder. Check it with: podium config check
version = 1
"""


@frozen
class PluginSection:
    """How a plugin appears in a new file.

    Attributes:
        enabled: Whether the section switches it on.
        config_class: Class of its options, None when it has none.
    """

    enabled: bool
    config_class: type[Any] | None = None


def render_default(
    plugins: Mapping[str, PluginSection], given: Mapping[str, str] | None = None
) -> str:
    """Return a commented configuration file with every setting's help and default.

    Args:
        plugins: The plugins to give a section, in order.
        given: TOML values to write instead of a default, by dotted name.
    """
    values = given or {}
    lines = [HEAD]
    for name in SECTIONS:
        kind = attrs.fields_dict(attrs.resolve_types(Settings))[name].type
        lines += _default_section(name, kind, values)
    for name, section in plugins.items():
        lines += [render_plugin(name, section, values), ""]
    return "\n".join(lines)


def render_plugin(name: str, section: PluginSection, given: Mapping[str, str] | None = None) -> str:
    """Return one plugin's commented section; arguments as for :func:`render_default`."""
    values = given or {}
    lines = [f"[plugins.{name}]", f"enabled = {toml(section.enabled)}"]
    lines += _default_rows(f"plugins.{name}", _host_fields(), values)
    if section.config_class is not None:
        fields = attrs.fields(attrs.resolve_types(section.config_class))
        lines += _default_rows(f"plugins.{name}", fields, values)
    return "\n".join(lines)


def _host_fields() -> list[Attribute[Any]]:
    hidden = {"enabled", "options"}
    return [f for f in attrs.fields(attrs.resolve_types(PluginSettings)) if f.name not in hidden]


def _default_section(name: str, kind: Any, given: Mapping[str, str]) -> list[str]:
    fields = attrs.fields(attrs.resolve_types(kind))
    nested = [field for field in fields if attrs.has(field.type or object)]
    tables = [field for field in fields if _item_class(field) is not None]
    lines = [*_comment(_summary(kind)), f"[{name}]"]
    lines += _default_rows(name, [f for f in fields if f not in nested + tables], given)
    for field in tables:
        item: Any = _item_class(field)
        lines += ["", *_comment(_help(field)), f"# [[{name}.{field.name}]]"]
        lines += [f"# {f.name} = {_example(f)}" for f in attrs.fields(attrs.resolve_types(item))]
    lines.append("")
    for field in nested:
        lines += _default_section(f"{name}.{field.name}", field.type, given)
    return lines


def _default_rows(
    section: str, fields: Iterable[Attribute[Any]], given: Mapping[str, str]
) -> Iterator[str]:
    for field in fields:
        yield from _comment(_help(field))
        value = given.get(f"{section}.{field.name}")
        yield f"# {field.name} = {_example(field)}" if value is None else f"{field.name} = {value}"


def _summary(kind: type[Any]) -> str:
    """Return the first sentence of a section's docstring, without its own name."""
    line = (kind.__doc__ or "").strip().splitlines()[0]
    text = line.partition("``: ")[2] or line
    return text[:1].upper() + text[1:]


def _help(field: Attribute[Any]) -> str:
    return str(field.metadata.get("help", ""))


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ")


def _item_class(field: Attribute[Any]) -> type[Any] | None:
    """Return the attrs class of a list's items."""
    args = (arg for arg in get_args(field.type) if arg is not Secret)
    return next((arg for arg in args if attrs.has(arg)), None)


def _example(field: Attribute[Any]) -> str:
    """Return the default, or where there is none a value of the right kind."""
    default: Any = field.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        default = [] if default.takes_self else default.factory()
    if default is not None and default is not attrs.NOTHING:
        return toml(default)
    kinds = {field.type, *get_args(field.type)}
    if Secret in kinds:
        return '{env = "NAME"}'
    if int in kinds or Fraction in kinds or float in kinds:
        return "1"
    return '"PATH"' if Path in kinds else '"..."'


def toml(value: Any) -> str:
    """Write a value as TOML; secrets as three stars."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case Fraction():
            return str(value.numerator) if value.denominator == 1 else f'"{_decimal(value)}"'
        case Enum():
            return toml(value.value)
        case Mapping():
            return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
        case Sequence() | frozenset() if not isinstance(value, str):
            return "[" + ", ".join(toml(item) for item in value) + "]"
        case Secret() | str() | Path():
            return json.dumps(str(value), ensure_ascii=False)
        case _ if attrs.has(type(value)):
            given = attrs.asdict(value, recurse=False)
            return toml({key: one for key, one in given.items() if one is not None})
        case _:
            return json.dumps(str(value), ensure_ascii=False)


def _decimal(value: Fraction) -> str:
    """Write a fraction exactly: as a decimal number, or where there is none as ``1/3``."""
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest != 1:
        return str(value)
    places = 0
    while (value * 10**places).denominator != 1:
        places += 1
    digits = str(value * 10**places).rjust(places + 1, "0")
    return f"{digits[:-places]}.{digits[-places:]}"


def show(settings: Settings, plugin_configs: Mapping[str, Any] | None = None) -> str:
    """Return the effective settings, each with where it comes from; secrets are masked.

    Args:
        settings: What is in force.
        plugin_configs: Checked sections of plugins. The options of all other
            plugins are masked, as nobody has said which of them are secret.
    """
    source = "built in" if settings.path is None else str(settings.path)
    lines = [f"# from {source}", "version = 1", ""]
    for name in SECTIONS:
        lines += _shown(name, getattr(settings, name), settings.given)
    for name, section in settings.plugins.items():
        host = {key: getattr(section, key) for key in HOST_KEYS}
        options: dict[str, Any] = dict.fromkeys(section.options, Secret("-"))
        config = (plugin_configs or {}).get(name)
        if config is not None:
            options = attrs.asdict(config, recurse=False)
        lines.append(f"[plugins.{name}]")
        lines += _shown_rows(f"plugins.{name}", host | options, settings.given)
        lines.append("")
    return "\n".join(lines)


def _masked(urls: tuple[str, ...]) -> tuple[str, ...]:
    """Show where endpoints are, and nothing else of their URLs: the rest is often a key."""
    parts = [(urlsplit(url), url) for url in urls]
    return tuple(
        f"{part.scheme}://{part.netloc.rpartition('@')[2]}/***"
        if part.username or part.path.strip("/") or part.query
        else url
        for part, url in parts
    )


def _shown(name: str, section: Any, given: frozenset[str]) -> list[str]:
    values = attrs.asdict(section, recurse=False)
    if name == "chain":
        values["rpc_urls"] = _masked(values["rpc_urls"])
    nested = {key: value for key, value in values.items() if attrs.has(type(value))}
    nested = {key: value for key, value in nested.items() if not isinstance(value, Secret)}
    rows = {key: value for key, value in values.items() if key not in nested}
    lines = [f"[{name}]", *_shown_rows(name, rows, given), ""]
    for key, value in nested.items():
        lines += _shown(f"{name}.{key}", value, given)
    return lines


def _shown_rows(section: str, values: Mapping[str, Any], given: frozenset[str]) -> Iterator[str]:
    for key, value in values.items():
        origin = "file" if f"{section}.{key}" in given else "default"
        text = f"# {key} is not set" if value is None else f"{key} = {toml(value)}"
        yield f"{text}  # {origin}" if value is not None else text
