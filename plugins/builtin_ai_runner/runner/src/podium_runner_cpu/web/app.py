"""The application: puts the parts together."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from attrs import frozen
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route

from podium_runner_cpu.errors import ModelUnavailable, RunnerError
from podium_runner_cpu.host import ModelHost
from podium_runner_cpu.metrics import Metrics
from podium_runner_cpu.pipelines.llm import Llm
from podium_runner_cpu.registry import make_pipeline
from podium_runner_cpu.web.batch import Batch
from podium_runner_cpu.web.llm import LlmRoute
from podium_runner_cpu.web.openai import OpenAi
from podium_runner_cpu.web.replies import error_reply, http_reply
from podium_runner_cpu.web.service import Service

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from podium_runner_cpu.settings import Settings

log = logging.getLogger(__name__)


def create_app(settings: Settings) -> Starlette:
    """Make the application for one pipeline and one model.

    Raises:
        SettingsError: there is no such pipeline here.
    """
    host = ModelHost(make_pipeline(settings))
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        loading = asyncio.create_task(host.load())
        if settings.load_first:
            await loading
        try:
            yield
        finally:
            host.close()
            loading.cancel()
            with suppress(asyncio.CancelledError, ModelUnavailable):
                await loading

    return Starlette(
        routes=[*_service(Service(settings, host, metrics)), *_work(host)],
        lifespan=lifespan,
        middleware=[Middleware(Observed, metrics=metrics, pipeline=settings.pipeline)],
        exception_handlers={RunnerError: error_reply, HTTPException: http_reply},
    )


def _service(service: Service) -> list[BaseRoute]:
    table = {
        "/health": service.health,
        "/hardware/info": service.hardware_info,
        "/hardware/stats": service.hardware_stats,
        "/version": service.version,
    }
    routes: list[BaseRoute] = [Route("/metrics", service.prometheus)]
    for path, handler in table.items():
        routes += [Route(path, handler), Route(f"{path}/", handler)]
    return routes


def _work(host: ModelHost) -> list[BaseRoute]:
    path = f"/{host.pipeline.name}"
    if isinstance(host.pipeline, Llm):
        handler = LlmRoute(host, host.pipeline)
        openai = OpenAi(host, host.pipeline)
        return [
            Route(path, handler.serve, methods=["POST"]),
            Route(f"{path}/", handler.serve, methods=["POST"]),
            Route("/v1/chat/completions", openai.serve, methods=["POST"]),
            Route("/v1/models", openai.models),
        ]
    batch = Batch(host)
    paths = (path, f"{path}/")
    return [Route(each, batch.serve, methods=["POST"]) for each in paths]


@frozen
class Observed:
    """Counts the pipeline's requests, and logs one line for each; never what they hold."""

    app: ASGIApp
    metrics: Metrics
    pipeline: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and watch its reply."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            seconds = time.perf_counter() - started
            self.metrics.requests.labels(str(status)).inc()
            self.metrics.seconds.observe(seconds)
            log.info("%s status=%d seconds=%.3f", self.pipeline, status, seconds)
