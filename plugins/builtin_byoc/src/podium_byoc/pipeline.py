"""What BYOC work is: seconds on an executor of the name that was asked for."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from attrs import define, frozen
from podium_hookspecs import (
    HttpPipeline,
    HttpRequest,
    Offer,
    Requirements,
    Units,
    by_the_second,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from podium_hookspecs import Job, Meter, Output, Worker

    from podium_byoc.config import ByocConfig
    from podium_byoc.registry import Registry

NAME = "byoc"
CAPABILITY = 37
COVERED_S = 60
"""Seconds that a balance must cover before work begins (byoc 2.5)."""


@frozen
class Call:
    """A request to an executor: data, so that it can cross to another machine.

    Attributes:
        name: Which executors may have it.
        path: Added to the executor's address, without a leading slash.
        content_type: Of the body; empty when absent.
    """

    name: str
    path: str
    content_type: str


@define(eq=False)
class ByocPipeline(HttpPipeline):
    """One pipeline for all names."""

    _config: ByocConfig
    _registry: Registry

    name = NAME
    unit = "second"
    capability = CAPABILITY

    @property
    def max_body_bytes(self) -> int:
        """Largest request body."""
        return self._config.max_request_mb * 2**20

    def offers(self, workers: Sequence[Worker]) -> tuple[Offer, ...]:
        """One for each name that has executors which are up."""
        slots: Counter[str] = Counter()
        for worker in workers:
            if NAME in worker.resources.pipelines:
                for name in worker.resources.models:
                    slots[name] += worker.resources.slots
        return tuple(
            Offer(CAPABILITY, name=name, warm=True, capacity=capacity)
            for name, capacity in slots.items()
        )

    async def parse(self, request: HttpRequest) -> Call:
        """Take what the executor may see; the body goes to it as it is."""
        return Call(request.name, request.path, request.content_type)

    def require(self, request: Call) -> Requirements:
        """Any executor of the name that has room now."""
        return Requirements({CAPABILITY}, model=request.name, sticky=False, wait_s=0)

    def estimate(self, request: Call) -> Units:
        """A minute must be covered."""
        del request
        return Units(COVERED_S, self.unit)

    def timeout_s(self, request: Call) -> float:
        """Return how long a request may take at most."""
        del request
        return self._config.max_timeout_s

    def run(self, job: Job, worker: Worker, meter: Meter) -> AsyncIterator[Output]:
        """Have an executor do it, and meter the seconds that takes."""
        return by_the_second(worker.run(job), meter)

    async def start(self) -> None:
        """Take in the executors of the configuration and of the node's earlier life."""
        await self._registry.start()

    async def close(self) -> None:
        """Keep what is known, let connections go."""
        await self._registry.close()
