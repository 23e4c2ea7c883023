"""How each plugin is, and why."""

from __future__ import annotations

from enum import Enum
from typing import Any

from attrs import define

from podium.pluginhost.discover import Discovered


class PluginState(Enum):
    """How a plugin is; the value is what ``podium plugins list`` shows."""

    NOT_ENABLED = "not-enabled"
    OK = "ok"
    DEGRADED = "degraded"
    """It works, but a part of it failed (a background task, a worker)."""
    FAILED = "failed"
    """Nothing of it is used."""


@define
class PluginStatus:
    """One line of ``podium plugins list``.

    Attributes:
        name: As in ``[plugins.NAME]``.
        state: How it is now.
        reason: What an operator can act on; empty when all is well.
        required: The node does not start without it.
        found: Where it comes from; None when no installed distribution offers it.
    """

    name: str
    state: PluginState
    reason: str = ""
    required: bool = False
    found: Discovered | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "name": self.name,
            "state": self.state.value,
            "reason": self.reason,
            "required": self.required,
        }
