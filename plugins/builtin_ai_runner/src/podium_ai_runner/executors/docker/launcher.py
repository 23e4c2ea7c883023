"""Starts runners in containers (ai 4.2), hardened, and leaves none behind (ai 4.7)."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from typing import TYPE_CHECKING, Any

from attrs import define, field

from podium_ai_runner.executors.docker.body import PORT, creation_of
from podium_ai_runner.executors.docker.engine import (
    QUICK_TIMEOUT_S,
    REMOVE_TIMEOUT_S,
    EngineRefused,
)
from podium_ai_runner.executors.launcher import ExecutorDown, StartFailed
from podium_ai_runner.executors.values import Ended

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium_ai_runner.executors.docker.engine import Engine
    from podium_ai_runner.executors.docker.images import Images
    from podium_ai_runner.executors.guard import Guard
    from podium_ai_runner.executors.values import Progress, RunnerSpec

CREATOR_LABEL, CREATOR = "creator", "ai-worker"
ID_LABEL = "creator_id"
LIFE_LABEL = "podium.life"
GONE = (404, 409)
"""No such container, or it is being removed already."""
SWEEP_EVERY_S = 60.0
LOG_LINES = 100
LOG_CHARACTERS = 8000


@define(eq=False)
class ContainerRunner:
    """A started container."""

    url: str
    name: str
    _launcher: DockerLauncher

    async def ended(self) -> Ended | None:
        """See ``Runner``."""
        return await self._launcher.ended(self.name)

    async def logs(self) -> str:
        """See ``Runner``."""
        return await self._launcher.logs(self.name)

    async def stop(self) -> None:
        """See ``Runner``."""
        await self._launcher.end(self.name)


@define(eq=False)
class DockerLauncher:
    """Starts containers; see ``Launcher``.

    Whatever carries this node's mark and is not in ``_mine`` is removed by the next sweep: what
    an earlier life left, what could not be removed while the engine was away, and what a
    cancelled start had just created.

    Args:
        creator: The node's mark, kept over restarts.
        life: The mark of this life of it.
        stop_s: For a container to end by itself.
    """

    engine: Engine
    images: Images
    guard: Guard
    creator: str
    life: str
    stop_s: float
    kind: str = field(default="docker", init=False)
    restarts: bool = field(default=True, init=False)
    _mine: set[str] = field(factory=set, init=False)
    _numbers: itertools.count[int] = field(factory=lambda: itertools.count(1), init=False)
    _swept_s: float = field(default=float("-inf"), init=False)
    _left: bool = field(default=False, init=False)
    _used: bool = field(default=False, init=False)
    _sweeping: asyncio.Lock = field(factory=asyncio.Lock, init=False)

    async def check(self) -> None:
        """See whether the engine answers; remove leftovers once in a while."""
        await self.engine.ping()
        if self._left or time.monotonic() - self._swept_s > SWEEP_EVERY_S:
            await self.sweep()

    async def sweep(self) -> int:
        """Remove every container of this node's that has no runner; see ``Launcher``."""
        async with self._sweeping:
            found = [
                str(container["Id"])
                for container in await self._listed()
                if _is_leftover(container, self.creator, self._mine)
            ]
            removed = sum(await asyncio.gather(*map(self._remove, found)))
            self._left, self._swept_s = removed < len(found), time.monotonic()
        if removed:
            self.images.telemetry.swept(self.kind, removed)
        return removed

    async def fetch(self, spec: RunnerSpec, report: Callable[[Progress], None]) -> None:
        """Have the image here; see ``Launcher``."""
        await self.images.ensure(spec.image, report)

    async def launch(self, spec: RunnerSpec) -> ContainerRunner:
        """Create and start a container; see ``Launcher``."""
        await self.guard.begin()
        self._used, name = True, self._name(spec)
        labels = {CREATOR_LABEL: CREATOR, ID_LABEL: self.creator, LIFE_LABEL: self.life}
        self._mine.add(name)
        try:
            await self.engine.create(name, creation_of(spec, labels))
            await self.engine.start(name)
            return ContainerRunner(await self._url(name, spec), name, self)
        except BaseException:
            self._left = True  # the engine may still be about to create it
            await self.end(name)
            raise

    async def ended(self, name: str) -> Ended | None:
        """Say why a container ended; None while it runs, or when that cannot be told."""
        try:
            found = await self.engine.inspect(name, QUICK_TIMEOUT_S)
        except ExecutorDown:
            return None
        except EngineRefused as error:
            return Ended(f"container {name} is gone") if error.status in GONE else None
        state = found.get("State")
        if not isinstance(state, dict) or state.get("Running"):
            return None
        if state.get("OOMKilled"):
            return Ended(f"container {name} ran out of memory", out_of_memory=True)
        detail = f": {state['Error']}" if state.get("Error") else ""
        return Ended(f"container {name} ended with code {state.get('ExitCode')}{detail}")

    async def logs(self, name: str) -> str:
        """Return the end of a container's log; empty when it cannot be had."""
        try:
            data = await self.engine.logs(name, LOG_LINES)
        except StartFailed:
            return ""
        return data.decode(errors="replace")[-LOG_CHARACTERS:]

    async def end(self, name: str) -> None:
        """Stop and remove a container; if the engine is away, a later sweep does it."""
        try:
            await self.engine.stop(name, self.stop_s)
        except StartFailed:
            pass  # removing it by force follows, and is what counts
        finally:
            self._mine.discard(name)
        if not await self._remove(name):
            self._left = True

    async def close(self) -> bool:
        """Remove what is still there, and let go of the engine; see ``Launcher``."""
        await self.images.close()
        self._mine.clear()
        try:
            if self._used:
                async with asyncio.timeout(REMOVE_TIMEOUT_S):
                    await self.engine.settle()  # what a cancelled start asked for is done then
                    await self.sweep()
        except (StartFailed, TimeoutError):
            return False
        finally:
            await self.engine.close()
        return True

    def _name(self, spec: RunnerSpec) -> str:
        words = f"{spec.key.pipeline}_{re.sub(r'[/_]', '-', spec.key.model)}"
        words = re.sub(r"[^a-zA-Z0-9_.-]", "-", words)[:80]
        return f"{words}_{self.life[:8]}-{next(self._numbers)}"

    async def _listed(self) -> list[dict[str, Any]]:
        try:
            return await self.engine.containers(f"{CREATOR_LABEL}={CREATOR}")
        except EngineRefused as error:  # no question of a container: it is the engine's state
            raise ExecutorDown(str(error)) from error

    async def _remove(self, which: str) -> bool:
        try:
            await self.engine.remove(which)
        except EngineRefused as error:
            return error.status in GONE
        except ExecutorDown:
            return False
        return True

    async def _url(self, name: str, spec: RunnerSpec) -> str:
        found = await self.engine.inspect(name)
        try:
            networks = found["NetworkSettings"]
            if spec.hardening.network:
                address = networks["Networks"][spec.hardening.network]["IPAddress"]
                if address:
                    return f"http://{address}:{PORT}"
            port = int(networks["Ports"][f"{PORT}/tcp"][0]["HostPort"])
        except (KeyError, IndexError, TypeError, ValueError):
            ended = await self.ended(name)
            why = ended.reason if ended else f"container {name} has no address"
            raise StartFailed(why, await self.logs(name)) from None
        return f"http://127.0.0.1:{port}"


def _is_leftover(container: dict[str, Any], creator: str, mine: set[str]) -> bool:
    """Say whether a container is this node's, or nobody's, and has no runner (ai 4.7)."""
    labels = container.get("Labels") or {}
    names = {str(name).removeprefix("/") for name in container.get("Names") or ()}
    return labels.get(ID_LABEL, creator) == creator and not names & mine
