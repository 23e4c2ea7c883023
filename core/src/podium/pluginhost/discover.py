"""Which plugins are installed, learned from metadata alone: nothing is imported.

A plugin says which version of the hooks it was written for by requiring
``podium-hookspecs`` in its distribution; that pin is checked here, before any
of its code runs.
"""

from __future__ import annotations

from importlib.metadata import (
    Distribution,
    EntryPoint,
    PackageNotFoundError,
    distributions,
    version,
)
from typing import TYPE_CHECKING

from attrs import field, frozen
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

GROUP = "podium"
CONTRACT = "podium-hookspecs"


@frozen
class Discovered:
    """A plugin that could be imported.

    Attributes:
        name: The entry point's name, as in ``[plugins.NAME]``.
        target: What it names, ``module`` or ``module:attribute``.
        dist: Name of the distribution.
        dist_version: Its version.
        pin: The versions of the hooks it says it works with, such as ``>=1.0,<2``.
        problem: Why it must not be imported; empty when it may.
    """

    name: str
    target: str
    dist: str = ""
    dist_version: str = ""
    pin: str = ""
    problem: str = ""
    entry_point: EntryPoint | None = field(default=None, repr=False, eq=False)


def discover(
    found: Iterable[Distribution] | None = None, *, contract: str | None = None
) -> dict[str, Discovered]:
    """List the installed plugins by name.

    Args:
        found: Distributions to look at; all installed ones by default.
        contract: Version of the hooks that the host speaks; the installed one by default.
    """
    spoken = installed_contract() if contract is None else contract
    plugins: dict[str, Discovered] = {}
    for plugin in _entry_points(distributions() if found is None else found, spoken):
        other = plugins.get(plugin.name)
        plugins[plugin.name] = plugin if other is None else _clash(other, plugin)
    return plugins


def installed_contract() -> str:
    """Return the version of the installed ``podium-hookspecs``."""
    try:
        return version(CONTRACT)
    except PackageNotFoundError:
        from podium_hookspecs import API_VERSION

        return API_VERSION


def _entry_points(found: Iterable[Distribution], spoken: str) -> Iterator[Discovered]:
    seen: set[str] = set()
    for dist in found:
        name = canonicalize_name(dist.name or "")
        if name in seen:
            continue  # a second copy further down the path is never imported
        seen.add(name)
        for point in dist.entry_points:
            if point.group == GROUP:
                pin, problem = _check_pin(dist, spoken)
                yield Discovered(
                    point.name, point.value, name, dist.version, pin, problem, point
                )  # fmt: skip


def _clash(first: Discovered, second: Discovered) -> Discovered:
    one, other = sorted((first.dist, second.dist))
    problem = f"two distributions offer this name: {one} and {other}"
    return Discovered(first.name, first.target, first.dist, first.dist_version, "", problem)


def _check_pin(dist: Distribution, spoken: str) -> tuple[str, str]:
    """Return the pin and why it does not fit, "" when it does."""
    for line in dist.requires or ():
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            return "", f"its metadata has an unreadable requirement: {line}"
        if canonicalize_name(requirement.name) != CONTRACT or not _applies(requirement):
            continue
        pin = str(requirement.specifier)
        if not requirement.specifier.contains(spoken, prereleases=True):
            return pin, f"it needs {CONTRACT}{pin}, this node has {spoken}"
        return pin, ""
    return "", f"its metadata does not require {CONTRACT}, so its hooks' version is unknown"


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})
