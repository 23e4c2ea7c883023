"""What plugins brought: checked, guarded, and no two of one name or path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field, frozen
from podium_hookspecs import HttpPipeline, Mount, Pipeline, PluginError, Worker

from podium.bounded import Escaped, contained
from podium.model import BYOC
from podium.pluginhost.guarded import guard

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from podium_hookspecs import AsgiApp

    from podium.pluginhost.ward import Ward

KINDS = (Pipeline, Worker, Mount)


@frozen
class Part:
    """Something a plugin brought.

    Attributes:
        plugin: Its name.
        kind: ``Pipeline``, ``Worker`` or ``Mount``.
        key: The pipeline's or worker's name, the mount's path.
        item: The thing; pipelines and mounts behind a guard.
        given: The thing as the plugin gave it.
        ward: The plugin's conduct.
    """

    plugin: str
    kind: type
    key: str
    item: Any
    given: Any
    ward: Ward = field(repr=False)


@define(eq=False)
class GuardedApp:
    """A route of a plugin, which is not closed while it answers."""

    inner: AsgiApp
    ward: Ward

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        with self.ward.hold():
            try:
                await contained(self.inner(scope, receive, send))
            except Escaped as error:
                self.ward.trouble("routes", f"a route: {error}")
                raise


def check_parts(ward: Ward, kind: type, results: Sequence[Any]) -> list[Part]:
    """Check what a register hook returned.

    Raises:
        PluginError: it is not what the hook asks for.
    """
    return [_part(ward, kind, item) for item in _items(kind, results)]


def _items(kind: type, results: Sequence[Any]) -> Iterator[Any]:
    for result in results:
        if not isinstance(result, list | tuple):
            raise PluginError(f"returned {type(result).__name__}, not a list of {kind.__name__}")
        for item in result:
            if not isinstance(item, kind):
                raise PluginError(f"gave {item!r}, which is no {kind.__name__}")
            yield item


def _part(ward: Ward, kind: type, given: Any) -> Part:
    item, key = given, given.path if kind is Mount else given.name
    if kind is Pipeline:
        item = guard(given, ward)
    elif kind is Mount:
        item = evolve(given, app=GuardedApp(given.app, ward))
    if not isinstance(key, str):
        raise PluginError(f"gave a {kind.__name__} that is named {key!r}")
    return Part(ward.plugin, kind, key, item, given, ward)


def conflicts(parts: Iterable[Part], reserved_paths: Collection[str]) -> list[str]:
    """Find names and paths that two plugins claim, or a plugin and the core."""
    found = []
    listed = list(parts)
    for kind, what in ((Pipeline, "pipeline"), (Worker, "worker")):
        owners: dict[str, str] = {}
        for part in listed:
            if part.kind is not kind:
                continue
            if part.key in owners:
                names = f"{owners[part.key]} and {part.plugin}"
                found.append(f"the {what} {part.key} is claimed by {names}")
            owners[part.key] = part.plugin
    return found + _path_conflicts(listed, reserved_paths)


def _path_conflicts(parts: Sequence[Part], reserved_paths: Collection[str]) -> list[str]:
    """Find paths claimed twice; an HTTP pipeline claims the one of its name."""
    claims = [(p.plugin, p.key, p.item.surface) for p in parts if p.kind is Mount]
    claims += [
        (part.plugin, f"/{part.key}", "public")
        for part in parts
        if isinstance(part.item, HttpPipeline) and part.item.capability != BYOC
    ]
    found = []
    for index, (plugin, path, surface) in enumerate(claims):
        taken = [(reserved, "the core") for reserved in reserved_paths]
        taken += [(other, owner) for owner, other, at in claims[:index] if at == surface]
        found += [
            f"the path {path} is claimed by {owner} and {plugin}"
            for other, owner in taken
            if _overlap(other, path)
        ]
    return found


def _overlap(one: str, other: str) -> bool:
    """True when a request could belong to both paths."""
    return one == other or one.startswith(other + "/") or other.startswith(one + "/")
