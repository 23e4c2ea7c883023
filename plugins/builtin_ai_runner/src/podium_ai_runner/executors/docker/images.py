"""Images: which one runs what (ai 4.1), and how it comes here."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field

from podium_ai_runner.executors.docker.engine import EngineRefused
from podium_ai_runner.executors.launcher import ExecutorDown, StartFailed
from podium_ai_runner.executors.values import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium_ai_runner.executors.docker.engine import Engine
    from podium_ai_runner.executors.settings import ExecutorSettings, ModelEntry
    from podium_ai_runner.executors.telemetry import Telemetry

    Report = Callable[[Progress], None]

DEFAULT_IMAGE = "livepeer/ai-runner:latest"
OWN_IMAGES = {
    name: f"livepeer/ai-runner:{name}"
    for name in ("segment-anything-2", "text-to-speech", "audio-to-text", "llm")
}
PULL_SILENCE_S = 120.0
HERE = ("Already exists", "Pull complete")
NOT_FOUND = 404


def image_for(entry: ModelEntry, settings: ExecutorSettings) -> str:
    """Return a model's image: its own, its pipeline's, the network's, then the default."""
    pipeline = entry.key.pipeline
    return (
        entry.image
        or settings.image_by_pipeline.get(pipeline)
        or OWN_IMAGES.get(pipeline)
        or settings.image
        or DEFAULT_IMAGE
    )


@define(eq=False)
class Images:
    """Fetches images, each once however many ask."""

    _engine: Engine
    telemetry: Telemetry
    pull: bool = True
    _pulls: dict[str, asyncio.Task[None]] = field(factory=dict, init=False)
    _reports: dict[str, set[Report]] = field(factory=dict, init=False)

    async def ensure(self, image: str, report: Report) -> None:
        """Have an image here. A cancelled caller leaves the pull to go on.

        Raises:
            StartFailed: it is not here and cannot be had.
        """
        if await self._here(image):
            return
        if not self.pull:
            msg = f"the image {image} is not here, and pulling is off: docker pull {image}"
            raise StartFailed(msg)
        task = self._pulls.get(image)
        if task is None:
            task = asyncio.create_task(self._pull(image), name=f"pull {image}")
            self._pulls[image] = task
            task.add_done_callback(lambda _: self._pulls.pop(image, None))
        reports = self._reports.setdefault(image, set())
        reports.add(report)
        try:
            await asyncio.wait([task])
        finally:
            reports.discard(report)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if isinstance(error, StartFailed):
            raise error.again() from error
        if error is not None:
            raise error

    async def close(self) -> None:
        """End all pulls; what is here of them stays."""
        tasks = list(self._pulls.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5.0)

    async def _here(self, image: str) -> bool:
        try:
            await self._engine.inspect_image(image)
        except EngineRefused as error:
            if error.status == NOT_FOUND:
                return False
            raise
        return True

    async def _pull(self, image: str) -> None:
        try:
            await self._follow(image)
        except StartFailed as error:
            self.telemetry.pulled(image, str(error))
            raise
        self.telemetry.pulled(image)

    async def _follow(self, image: str) -> None:
        layers: dict[str, Progress] = {}
        try:
            async with contextlib.aclosing(self._engine.pull(image, PULL_SILENCE_S)) as lines:
                async for line in lines:
                    if "error" in line:
                        raise StartFailed(str(line["error"]))
                    if _take_in(layers, line):
                        self._say(image, layers)
        except ExecutorDown:
            raise
        except StartFailed as error:
            raise StartFailed(f"the image {image} cannot be pulled: {error}") from error

    def _say(self, image: str, layers: dict[str, Progress]) -> None:
        progress = Progress(
            image,
            sum(layer.layers_done for layer in layers.values()),
            len(layers),
            sum(layer.bytes_done for layer in layers.values()),
            sum(layer.bytes_total for layer in layers.values()),
        )
        for report in tuple(self._reports.get(image, ())):
            report(progress)


def _take_in(layers: dict[str, Progress], line: dict[str, Any]) -> bool:
    """Take in a line of a pull's report; False when it is not about a layer."""
    if not isinstance(line.get("id"), str):
        return False
    status, detail = line.get("status"), line.get("progressDetail")
    if not isinstance(detail, dict):
        return False
    known = layers.get(line["id"], Progress(""))
    done, total = detail.get("current"), detail.get("total")
    if status == "Downloading" and isinstance(done, int) and isinstance(total, int):
        known = evolve(known, bytes_done=done, bytes_total=total)
    elif status in HERE:
        known = evolve(known, layers_done=1, bytes_done=known.bytes_total)
    layers[line["id"]] = known
    return True
