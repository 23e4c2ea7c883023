"""A whole plugin as an author writes it; mypy --strict must find nothing in it."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, assert_type

from attrs import field, frozen
from podium_hookspecs import (
    Admission,
    AdmitRequest,
    BadInput,
    Chunk,
    Event,
    Health,
    Job,
    JobFinished,
    Meter,
    Mount,
    Offer,
    Output,
    PendingAdmission,
    Pipeline,
    PluginContext,
    Price,
    PriceRequest,
    Requirements,
    Resources,
    Result,
    Secret,
    Units,
    Worker,
    WorkerState,
    hookimpl,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence

CAPABILITY = 37


@frozen
class Config:
    key: Secret = field(metadata={"help": "Shown to the backend."})
    slots: int = field(default=1, metadata={"help": "Jobs at a time."})


class Echo(Pipeline):
    @property
    def name(self) -> str:
        return "echo"

    @property
    def unit(self) -> str:
        return "second"

    def offers(self, workers: Sequence[Worker]) -> tuple[Offer, ...]:
        return tuple(Offer(CAPABILITY, capacity=w.resources.slots) for w in workers)

    def require(self, request: Any) -> Requirements:
        if not request:
            raise BadInput("nothing to echo", public="nothing")
        return Requirements({CAPABILITY}, sticky=False)

    def estimate(self, request: Any) -> Units:
        return Units(60, self.unit)

    async def run(self, job: Job, worker: Worker, meter: Meter) -> AsyncIterator[Output]:
        async for output in worker.run(job):
            meter.add(Units(1, self.unit))
            yield output


class Local(Worker):
    @property
    def name(self) -> str:
        return "local"

    @property
    def resources(self) -> Resources:
        return Resources(["echo"], [CAPABILITY])

    async def start(self) -> None: ...

    async def health(self) -> AsyncIterator[Health]:
        yield Health(WorkerState.OK)

    async def run(self, job: Job) -> AsyncIterator[Output]:
        assert job.body is not None
        async for piece in job.body:
            yield Chunk(piece)
        yield Result(1)

    async def cancel(self, job_id: str) -> None: ...

    async def close(self) -> None: ...


async def page(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@hookimpl
def podium_config_class() -> type | None:
    return Config


@hookimpl
def podium_pipelines(config: Config, context: PluginContext) -> list[Pipeline]:
    assert_type(context.metrics.counter("seen", "Jobs seen."), "Callable[..., None]")
    context.log.info("ready", slots=config.slots)
    return [Echo()]


@hookimpl
def podium_workers(config: Config) -> list[Worker]:
    return [Local() for _ in range(config.slots)]


@hookimpl
def podium_asgi() -> list[Mount]:
    return [Mount("/echo/status", page, surface="admin")]


@hookimpl
def podium_price(request: PriceRequest) -> Price | None:
    price = Price(Fraction(1, 3), request.unit)
    assert_type(price.cost(Units(1, request.unit)), Fraction)
    return price if request.capability == CAPABILITY else None


@hookimpl
def podium_admit(request: AdmitRequest) -> Admission | PendingAdmission | None:
    async def ask() -> Admission | None:
        return Admission(allow=True, ttl_s=60.0)

    return PendingAdmission(ask) if request.stage == "discover" else None


@hookimpl
def podium_on_event(event: Event) -> None:
    if isinstance(event, JobFinished):
        assert_type(event.fee_wei, Fraction)
