"""Routes that tell about the process; no token is asked for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from attrs import frozen
from starlette.responses import JSONResponse, Response

from podium_runner_cpu.hardware import list_gpus

if TYPE_CHECKING:
    from starlette.requests import Request

    from podium_runner_cpu.host import ModelHost
    from podium_runner_cpu.metrics import Metrics
    from podium_runner_cpu.settings import Settings


@frozen
class Service:
    """Health, hardware, version, metrics."""

    settings: Settings
    host: ModelHost
    metrics: Metrics

    async def health(self, request: Request) -> Response:
        """Say whether the model is loaded."""
        return JSONResponse({"status": self.host.state})

    async def hardware_info(self, request: Request) -> Response:
        """Say what the GPUs are."""
        gpus = await asyncio.to_thread(list_gpus)
        return self._about("gpu_info", {str(n): gpu.info() for n, gpu in enumerate(gpus)})

    async def hardware_stats(self, request: Request) -> Response:
        """Say what the GPUs do."""
        gpus = await asyncio.to_thread(list_gpus)
        return self._about("gpu_stats", {str(n): gpu.stats() for n, gpu in enumerate(gpus)})

    async def version(self, request: Request) -> Response:
        """Say what runs here."""
        return self._about("version", self.settings.version)

    async def prometheus(self, request: Request) -> Response:
        """Show the metrics."""
        self.metrics.ready.set(self.host.state == "OK")
        self.metrics.waiting.set(self.host.admitted)
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return Response(self.metrics.text(), headers={"content-type": kind})

    def _about(self, name: str, value: object) -> Response:
        own = {"pipeline": self.settings.pipeline, "model_id": self.settings.model_id}
        return JSONResponse(own | {name: value})
