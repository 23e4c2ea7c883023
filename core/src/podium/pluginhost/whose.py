"""Which plugin some code belongs to, told by the modules that it is in."""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import FrameType


def home(plugin: object) -> str:
    """Return the package that a plugin's code is in; for an object, its class's module."""
    if not isinstance(plugin, ModuleType):
        return type(plugin).__module__
    return getattr(plugin, "__package__", None) or plugin.__name__


def is_in(module: str, package: str) -> bool:
    """Whether a module belongs to a package."""
    return module == package or module.startswith(package + ".")


def owner_of(frame: FrameType | None, homes: Mapping[str, str]) -> tuple[str, str] | None:
    """Find the plugin that runs on a stack, and where in it.

    Args:
        frame: The innermost frame.
        homes: Plugins' packages, by their names.

    Returns:
        The plugin's name and ``file:line function``; None when it is nobody's code.
    """
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        for plugin, package in homes.items():
            if is_in(module, package):
                code = frame.f_code
                return plugin, f"{code.co_filename}:{frame.f_lineno} {code.co_name}"
        frame = frame.f_back
    return None


def tasks_in(package: str, tasks: Iterable[asyncio.Task[object]]) -> list[asyncio.Task[object]]:
    """Return the tasks, of some, that run a package's code and are not done."""
    found = []
    for task in tasks:
        frame = getattr(task.get_coro(), "cr_frame", None)
        module = "" if frame is None else str(frame.f_globals.get("__name__", ""))
        if not task.done() and is_in(module, package):
            found.append(task)
    return found
