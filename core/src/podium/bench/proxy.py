"""The least that a plugin for AI jobs can do: pass a body to a runner, and its answer back.

Beside the real plugin it shows what of a job's cost is the core's.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import aiohttp
from attrs import define, field
from podium_hookspecs import (
    Chunk,
    Health,
    HttpPipeline,
    HttpRequest,
    Job,
    JobFailed,
    Offer,
    Output,
    Requirements,
    Resources,
    Result,
    Units,
    Worker,
    WorkerState,
    hookimpl,
)

from podium.bench.runner import MODEL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from podium_hookspecs import Meter, Pipeline, PluginContext

DEFAULT_BITS = (*range(13), 14, 26)
CAPABILITIES = {"llm": 33, "text-to-speech": 36}
UNIT = "token"
UNITS = 64
SLOTS = 64
TIMEOUT_S = 60.0
EVENTS = "text/event-stream"


@define(eq=False)
class ProxyWorker(Worker):
    """Posts bodies to a runner; ``url`` is its base URL."""

    url: str
    name: str = "proxy"
    resources: Resources = field(init=False)
    _session: aiohttp.ClientSession | None = None

    def __attrs_post_init__(self) -> None:
        offers = [Offer(number, MODEL, warm=True) for number in CAPABILITIES.values()]
        self.resources = Resources(set(CAPABILITIES), slots=SLOTS, offers=offers)

    async def start(self) -> None:
        """Open the client."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=SLOTS)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)

    async def health(self) -> AsyncIterator[Health]:
        """Always well."""
        yield Health(WorkerState.OK)

    async def run(self, job: Job) -> AsyncIterator[Output]:
        """Pass a job on, and its answer back as it comes."""
        assert self._session is not None
        headers = {"content-type": "application/json"}
        url = f"{self.url}/{job.pipeline}"
        async with self._session.post(url, data=job.request, headers=headers) as reply:
            if reply.status != 200:
                raise JobFailed(f"the runner answered {reply.status}")
            kind = "event" if reply.content_type == EVENTS else "body"
            async for piece in reply.content.iter_any():
                yield Chunk(piece, kind=kind, content_type=reply.content_type)
        yield Result(UNITS)

    async def cancel(self, job_id: str) -> None:
        """Closing the iterator is enough."""

    async def close(self) -> None:
        """Close the client."""
        if self._session is not None:
            await self._session.close()


class ProxyPipeline(HttpPipeline):
    """A pipeline that reads only the model's name."""

    unit = UNIT
    name = ""
    capability = 0

    def __init__(self, name: str) -> None:
        self.name, self.capability = name, CAPABILITIES[name]

    def offers(self, workers: Sequence[Worker]) -> tuple[Offer, ...]:
        """Offer the one model, and the bits that gateways insist on."""
        if not workers:
            return ()
        model = Offer(self.capability, MODEL, warm=True, capacity=SLOTS)
        return (model, *(Offer(number) for number in DEFAULT_BITS))

    async def parse(self, request: HttpRequest) -> bytes:
        """Return the body; a broken one is the bench's own fault."""
        body = b"".join([piece async for piece in request.body])
        json.loads(body)
        return body

    def require(self, request: Any) -> Requirements:
        """Need the model."""
        del request
        return Requirements({self.capability}, MODEL, sticky=False)

    def estimate(self, request: Any) -> Units:
        """Cost always the same."""
        del request
        return Units(UNITS, UNIT)

    async def run(self, job: Job, worker: Worker, meter: Meter) -> AsyncIterator[Output]:
        """Meter at the end and pass on."""
        async for output in worker.run(job):
            if isinstance(output, Result):
                meter.add(Units(UNITS, UNIT))
            yield output


@define
class ProxyPlugin:
    """The plugin, for a runner at ``url``."""

    url: str

    @hookimpl
    def podium_pipelines(self, config: Any, context: PluginContext) -> list[Pipeline]:
        """Give the pipelines."""
        del config, context
        return [ProxyPipeline(name) for name in CAPABILITIES]

    @hookimpl
    def podium_workers(self, config: Any, context: PluginContext) -> list[Worker]:
        """Give the worker."""
        del config, context
        return [ProxyWorker(self.url)]
