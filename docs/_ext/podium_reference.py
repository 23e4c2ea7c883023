"""Reference pages made from the code: configuration, commands, metrics.

Directives, for MyST pages:

* ``{podium-config}``: a table per section of the node's configuration.
* ``{podium-plugin-config} NAME``: the section of one plugin, by its entry point.
* ``{podium-commands}``: every command with its help and options.
* ``{podium-metrics} network|podium``: the series of ``/metrics``.

It also lets the short names that annotations use (``Price``, ``AsyncIterator``)
find their targets, or stay plain text when they are the standard library's.
"""

from __future__ import annotations

import builtins
import collections.abc
import dataclasses
import enum
import fractions
import importlib.metadata
import inspect
import pathlib
import typing
from typing import TYPE_CHECKING, Any

import attrs
import click
import podium_hookspecs
from podium.config.render import toml
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

STANDARD = (builtins, collections.abc, dataclasses, enum, fractions, pathlib, typing)
NOT_KEYS = ("options",)
"""Fields that stand for further keys."""

TYPE_VARIABLES = ("E", "P", "R")
FOREIGN = ("httpx.", "ssl.", "threading.", "asyncio.", "net.", "podium_executor.price.")
"""Where names come from that these pages do not describe."""

UNDESCRIBED = ("KeySigner", "LoadedPlugin", "Nonces", "Callable[[]")
COLON = "\N{MODIFIER LETTER COLON}"


def _escape(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines) + "\n"


# -- configuration ------------------------------------------------------------------------------


def _type_name(annotation: Any) -> str:
    """Say a type as someone who writes TOML thinks of it."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    for module in ("podium_hookspecs.secret.", "podium.config.settings.", "pathlib.", "fractions."):
        text = text.replace(module, "")
    named = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}
    named |= {"Path": "path", "Fraction": "exact number", "Secret": "secret"}
    text = text.replace("typing.", "").replace(" | None", "")
    if text.startswith("Literal["):
        return " or ".join(part.strip(" '") for part in text[8:-1].split(","))
    if text.startswith("tuple["):
        inner = text[6:-1].removesuffix(", ...")
        return f"list of {named.get(inner, inner)}"
    return " or ".join(named.get(part, part) for part in text.split(" | "))


def _default(key: attrs.Attribute[Any]) -> str:
    value = key.default
    if value is attrs.NOTHING:
        return "required"
    if isinstance(value, attrs.Factory):  # type: ignore[arg-type]
        value = value.factory()  # type: ignore[union-attr]
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None or value in ((), {}, []):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, fractions.Fraction):
        return f"`{toml(value)}`"
    shown = str(value)
    return f'`"{shown}"`' if isinstance(value, str | pathlib.Path) else f"`{shown}`"


def _is_section(key: attrs.Attribute[Any]) -> bool:
    return isinstance(key.type, type) and _is_table(key.type)


def _is_table(kind: type) -> bool:
    """Whether a class is written as a table; a secret is one value."""
    return attrs.has(kind) and kind is not podium_hookspecs.Secret


def _repeated(key: attrs.Attribute[Any]) -> type | None:
    """Return the class of a list of tables."""
    inner = typing.get_args(key.type)[:1]
    return inner[0] if inner and isinstance(inner[0], type) and _is_table(inner[0]) else None


def _section(name: str, cls: type, brackets: str = "[{}]") -> str:
    attrs.resolve_types(cls)
    _, _, what_for = (inspect.getdoc(cls) or "").partition(": ")
    rows = [
        (f"`{k.name}`", _type_name(k.type), _default(k), _escape(k.metadata.get("help", "")))
        for k in attrs.fields(cls)
        if not _is_section(k) and not _repeated(k) and k.name not in NOT_KEYS
    ]
    text = f"\n## `{brackets.format(name)}`\n\n{what_for[:1].upper()}{what_for[1:]}\n\n"
    parts = [text + _table(("key", "type", "default", "what it does"), rows)]
    for key in attrs.fields(cls):
        if _is_section(key):
            parts.append(_section(f"{name}.{key.name}", key.type))
        elif (repeated := _repeated(key)) is not None:
            parts.append(_section(f"{name}.{key.name}", repeated, "[[{}]]"))
    return "\n".join(parts)


class Markdown(SphinxDirective):
    """A directive whose content is Markdown made by code."""

    def run(self) -> list[nodes.Node]:
        """Parse what :meth:`text` gives as part of the page."""
        return self.parse_text_to_nodes(self.text(), allow_section_headings=True)

    def text(self) -> str:
        """Make the Markdown."""
        raise NotImplementedError


class Config(Markdown):
    """Every section of the node's configuration."""

    def text(self) -> str:
        """One table per section."""
        from podium.config import settings

        attrs.resolve_types(settings.Settings)
        keys = [key for key in attrs.fields(settings.Settings) if _is_section(key)]
        sections = [_section(key.name, key.type) for key in keys]
        return "\n".join([*sections, _section("plugins.NAME", settings.PluginSettings)])


class PluginConfig(Markdown):
    """One plugin's section."""

    required_arguments = 1

    def text(self) -> str:
        """The table of the plugin's config class."""
        (point,) = importlib.metadata.entry_points(group="podium", name=self.arguments[0])
        return _section(f"plugins.{point.name}", point.load().podium_config_class())


# -- commands -----------------------------------------------------------------------------------


def _option(parameter: click.Parameter, context: click.Context) -> tuple[str, str]:
    if isinstance(parameter, click.Argument):
        return f"`{parameter.make_metavar(context)}`", ""
    names, what = parameter.get_help_record(context) or ("", "")
    return f"`{names}`", _escape(what)


def _commands(command: click.Command, path: str) -> Iterator[str]:
    help_text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    is_group = isinstance(command, click.Group)
    if not is_group or command.invoke_without_command:
        context = click.Context(command)
        rows = [_option(p, context) for p in command.params if not getattr(p, "hidden", False)]
        table = _table(("option", "what it does"), rows) if rows else ""
        yield f"## `{path}`\n\n{help_text}\n\n{table}"
    if not is_group:
        return
    for name in command.list_commands(click.Context(command)):
        child = command.get_command(click.Context(command), name)
        if child is not None and not child.hidden:
            yield from _commands(child, f"{path} {name}")


class Commands(Markdown):
    """Every command of ``podium``."""

    def text(self) -> str:
        """A heading per command."""
        from podium.cli import cli

        return "\n".join(_commands(cli, "podium"))


# -- metrics ------------------------------------------------------------------------------------


class MetricsTable(Markdown):
    """The series of ``/metrics``: ``network`` for the reference's names, ``podium`` for ours."""

    required_arguments = 1

    def text(self) -> str:
        """A row per family."""
        from podium.telemetry import families

        network = [families.VERSIONS, *families.reference(per_stream=True)]
        specs = network if self.arguments[0] == "network" else list(families.OWN)
        rows = []
        for spec in sorted(specs, key=lambda spec: spec.name):
            bounds = " ".join(f"{bound:g}" for bound in spec.buckets)
            what = _escape(spec.help).rstrip(".") + (f"; buckets {bounds}" if bounds else "") + "."
            labels = ", ".join(f"`{label}`" for label in spec.labels)
            rows.append((f"`{spec.name}`", spec.kind, labels, what))
        return _table(("name", "type", "labels", "what it counts"), rows)


# -- short names --------------------------------------------------------------------------------


def resolve_short_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Node
) -> nodes.Node | None:
    """Resolve a name as the contract's modules use it, without its module."""
    if node.get("refdomain") != "py":
        return None
    name = node["reftarget"].rpartition(".")[2]
    if node["reftarget"].startswith(FOREIGN) or name in UNDESCRIBED:
        return contnode
    if name in podium_hookspecs.__all__:
        domain = env.domains.python_domain
        target = f"podium_hookspecs.{name}"
        if target in domain.objects and node["reftarget"] != target:
            return domain.resolve_xref(
                env, node["refdoc"], app.builder, "obj", target, node, contnode
            )
    if any(hasattr(module, name) for module in STANDARD) or {
        name,
        node["reftarget"].split(".")[0],
    } & set(TYPE_VARIABLES):
        return contnode
    return None


def hide_colons(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Keep napoleon from reading ``Unique of its kind: more`` as a type and a description."""
    if what in ("attribute", "data", "property"):
        lines[:] = [line.replace(":", COLON) for line in lines]


def show_colons(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Undo :func:`hide_colons`."""
    lines[:] = [line.replace(COLON, ":") for line in lines]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.add_directive("podium-config", Config)
    app.add_directive("podium-plugin-config", PluginConfig)
    app.add_directive("podium-commands", Commands)
    app.add_directive("podium-metrics", MetricsTable)
    app.connect("missing-reference", resolve_short_name)
    app.connect("autodoc-process-docstring", hide_colons, priority=400)
    app.connect("autodoc-process-docstring", show_colons, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
