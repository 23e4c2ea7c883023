"""What came of reading the configuration again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from podium.config.diff import PluginChange


@frozen(kw_only=True)
class Outcome:
    """What a reload did, or would do.

    Attributes:
        path: The file.
        changes: What differs, plugin by plugin.
        restart: Settings that differ and cannot change while the node runs.
        problems: Why nothing was changed, one line each.
        dry_run: Only looked.
    """

    path: str
    changes: tuple[PluginChange, ...] = ()
    restart: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    dry_run: bool = False

    @property
    def refused(self) -> bool:
        """Whether the old configuration serves on, all of it."""
        return bool(self.problems or self.restart)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it was refused."""
        return tuple(f"{key}: needs a restart" for key in self.restart) + self.problems

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "path": self.path,
            "dry_run": self.dry_run,
            "applied": not self.refused and not self.dry_run,
            "changes": [change.as_json() | {"text": str(change)} for change in self.changes],
            "restart": list(self.restart),
            "problems": list(self.problems),
        }
