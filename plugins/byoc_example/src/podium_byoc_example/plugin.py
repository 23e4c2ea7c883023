"""The plugin: its options, what the work is, where it runs, and what it costs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from fractions import Fraction
from typing import Any

import podium_hookspecs as hooks
from attrs import define, field, frozen, validators

BYOC = 37  # the network's number for capabilities that go by a name
UNIT = "second"  # as for all of BYOC
COVERED_S = 60  # what gateways pay ahead, at least
CHILD = (sys.executable, "-I", "-m", "podium_byoc_example.thumbnails")
BAD_INPUT = 3  # the child's exit status


@frozen
class Config:
    """``[plugins.byoc-example]``: thumbnails of videos."""

    name: str = field(
        default="byoc-example",
        validator=validators.min_len(1),
        metadata={"help": "The capability's name: what clients ask gateways for."},
    )
    slots: int = field(
        default=2, validator=validators.ge(1), metadata={"help": "Videos worked on at a time."}
    )
    wei_per_second: Fraction = field(
        default=Fraction(1_000_000),
        validator=validators.ge(Fraction(0)),
        metadata={"help": "Price of a second of work, in wei."},
    )


@frozen
class ThumbnailRequest:
    """How many thumbnails, and their width in pixels; the job's body is the video."""

    count: int
    width: int


@define
class ThumbnailPipeline(hooks.HttpPipeline):
    """What the work is: thumbnails evenly spread over a video, a server-sent event each."""

    name: str
    unit = UNIT
    capability = BYOC

    def offers(self, workers: Sequence[hooks.Worker]) -> tuple[hooks.Offer, ...]:
        """Offer the name while there is a worker for it."""
        slots = sum(w.resources.slots for w in workers if self.name in w.resources.pipelines)
        return (hooks.Offer(BYOC, name=self.name, capacity=slots),) if slots else ()

    async def parse(self, request: hooks.HttpRequest) -> ThumbnailRequest:
        """Read ``count`` and ``width`` from the job's parameters; the body stays where it is."""
        count, width = request.parameters.get("count", 5), request.parameters.get("width", 160)
        return ThumbnailRequest(_number("count", count, 100), _number("width", width, 320))

    def require(self, request: ThumbnailRequest) -> hooks.Requirements:
        """Need a slot of a worker that does this; it does not matter which."""
        return hooks.Requirements({BYOC}, self.name, sticky=False)

    def estimate(self, request: ThumbnailRequest) -> hooks.Units:
        """Say what the balance must cover before the job may begin."""
        return hooks.Units(COVERED_S, UNIT)

    def run(
        self, job: hooks.Job, worker: hooks.Worker, meter: hooks.Meter
    ) -> AsyncIterator[hooks.Output]:
        """Have the worker do it, and bill each second that it takes."""
        return hooks.by_the_second(worker.run(job), meter)


@define(eq=False)
class ThumbnailWorker(hooks.Worker):
    """Where it runs: a child process per video, so that no video can harm the node."""

    name: str
    _slots: int
    resources: hooks.Resources = field(init=False)
    _children: dict[str, Process] = field(factory=dict)
    _closed: asyncio.Event = field(factory=asyncio.Event)

    def __attrs_post_init__(self) -> None:
        self.resources = hooks.Resources({self.name}, {BYOC}, {self.name}, self._slots)

    async def start(self) -> None:
        """Take nothing: a child starts with its job."""

    async def health(self) -> AsyncIterator[hooks.Health]:
        """Be well until closed."""
        yield hooks.Health(hooks.WorkerState.OK)
        await self._closed.wait()

    async def run(self, job: hooks.Job) -> AsyncIterator[hooks.Output]:
        """Hand the video to a child, yield what it makes, and leave no child behind."""
        if self._closed.is_set() or job.body is None:
            raise hooks.WorkerLost("closed")
        os.lseek(job.body.fileno(), 0, os.SEEK_SET)
        command = (*CHILD, str(job.request.count), str(job.request.width))
        child = await asyncio.create_subprocess_exec(  # the node's environment is not for it
            *command, stdin=job.body.fileno(), stdout=PIPE, stderr=DEVNULL, limit=2**20, env={}
        )
        self._children[job.id] = child
        try:
            assert child.stdout is not None
            async for line in child.stdout:
                yield _event(line)
            if await child.wait() == BAD_INPUT:
                raise hooks.BadInput("the body is no video that can be read")
            if child.returncode:
                raise hooks.JobFailed(f"the child's exit status is {child.returncode}")
            yield hooks.Result(0)
        finally:
            del self._children[job.id]
            await _end(child)

    async def cancel(self, job_id: str) -> None:
        """Kill the job's child; its ``run`` raises."""
        if job_id in self._children:
            await _end(self._children[job_id])

    async def close(self) -> None:
        """Kill every child."""
        self._closed.set()
        for job_id in list(self._children):
            await self.cancel(job_id)


@hooks.hookimpl
def podium_config_class() -> type:
    """Name the class of this plugin's section."""
    return Config


@hooks.hookimpl
def podium_pipelines(config: Config) -> list[hooks.Pipeline]:
    """Give the work."""
    return [ThumbnailPipeline(config.name)]


@hooks.hookimpl
def podium_workers(config: Config) -> list[hooks.Worker]:
    """Give the place where it runs."""
    return [ThumbnailWorker(config.name, config.slots)]


@hooks.hookimpl
def podium_price(request: hooks.PriceRequest, config: Config) -> hooks.Price | None:
    """Price this capability, and leave all others to whoever knows them."""
    mine = (request.capability, request.model, request.unit) == (BYOC, config.name, UNIT)
    return hooks.Price(config.wei_per_second, UNIT) if mine else None


def _number(key: str, value: Any, highest: int) -> int:
    if type(value) is not int or not 1 <= value <= highest:
        raise hooks.BadInput(f"{key} must be a whole number from 1 to {highest}")
    return value


def _event(line: bytes) -> hooks.Chunk:
    return hooks.Chunk(b"data: " + line + b"\n", 0, "event", "text/event-stream")


async def _end(child: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    await child.wait()
