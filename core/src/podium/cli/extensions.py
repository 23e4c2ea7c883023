"""Commands that installed distributions add to ``podium``, under their own names.

A distribution names them with the entry point group ``podium.commands``: each is a click command
or group. What it gets of the node is its context's ``obj``: a function that takes the path of a
configuration, or None, and returns the URL of that node's admin port.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from podium.cli.lazy import Entry

if TYPE_CHECKING:
    from pathlib import Path

GROUP = "podium.commands"


def extensions() -> dict[str, Entry]:
    """Return the added commands by name; none is imported, and two of one name are none."""
    from importlib.metadata import entry_points

    found: dict[str, Entry] = {}
    clashing: set[str] = set()
    for point in entry_points(group=GROUP):
        owner = point.dist.name if point.dist is not None else point.module
        if point.name in found and found[point.name].target != point.value:
            clashing.add(point.name)
        found[point.name] = Entry(point.value, f"Added by {owner}.")
    return {name: entry for name, entry in found.items() if name not in clashing}


def admin_url(config_path: Path | None) -> str:
    """Return the URL of the admin port of the node that a configuration describes.

    Raises:
        ConfigInvalid: there is none, or it has problems.
    """
    from podium.config.load import find_config, load_settings

    address = load_settings(find_config(config_path)).node.admin_address
    return f"http://{address.reachable_host}:{address.port}"
