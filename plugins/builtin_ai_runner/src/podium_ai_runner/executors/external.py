"""A runner that somebody else keeps: an HTTP service at a URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium_ai_runner.executors.values import Ended, Progress, RunnerSpec


@frozen
class ExternalRunner:
    """A service; it is never started nor stopped, only watched."""

    url: str

    async def ended(self) -> Ended | None:
        """Nobody can tell but its health."""
        return None

    async def logs(self) -> str:
        """They are elsewhere."""
        return ""

    async def stop(self) -> None:
        """It is not ours to stop."""


@frozen
class ExternalLauncher:
    """Gives the service of a spec's URL; see ``Launcher``."""

    kind: str = "external"
    restarts: bool = False

    async def check(self) -> None:
        """There is nothing to check but the service's health."""

    async def sweep(self) -> int:
        """Nothing is left behind."""
        return 0

    async def fetch(self, spec: RunnerSpec, report: Callable[[Progress], None]) -> None:
        """There is nothing to fetch."""

    async def launch(self, spec: RunnerSpec) -> ExternalRunner:
        """Return the service; whether it answers shows soon."""
        return ExternalRunner(spec.url.rstrip("/"))

    async def close(self) -> bool:
        """There is nothing to close."""
        return True
