"""Pipelines as the node uses them: the plugin's own, behind a guard.

What a pipeline raises on purpose passes. All else that it does wrong (another error, a wrong type,
too much output, a run that does not end) fails its job with one text for the peer, and is
counted against its plugin.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define
from podium_hookspecs import (
    Chunk,
    HttpPipeline,
    JobFailed,
    JobTimeout,
    Offer,
    Pipeline,
    PluginError,
    Requirements,
    Result,
    Units,
)

from podium.bounded import Overdue, bounded
from podium.errors import PodiumError
from podium.pluginhost.pump import Pump

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from podium_hookspecs import HttpRequest, Job, Meter, Output, Worker

    from podium.pluginhost.ward import Ward

T = TypeVar("T")
INTERNAL = "internal error"
TOO_LONG = "Remote transcoder took too long"
PARSE_TIMEOUT_S = 60.0
MAX_OFFERS = 1000
MAX_CAPABILITY = 1023
"""Far above what the network has; each number costs a bit of every reply."""
MAX_ATTRIBUTES = 100
MAX_ATTRIBUTE_CHARS = 100_000
BYTES = (bytes, bytearray, memoryview)


class Nonsense(Exception):
    """A plugin gave something that the contract does not have."""


class GuardedPipeline(Pipeline):
    """One pipeline of a plugin.

    Args:
        inner: The plugin's own.
        ward: The plugin's conduct.

    Raises:
        PluginError: it does not say what it is.
    """

    def __init__(self, inner: Pipeline, ward: Ward) -> None:
        self.inner = inner
        self.ward = ward
        self._name, self._unit = inner.name, inner.unit
        for text in (self._name, self._unit):
            if not isinstance(text, str) or not text:
                raise PluginError(f"a pipeline is named {self._name!r} and counts {self._unit!r}")

    @property
    def name(self) -> str:
        """As it said when it came."""
        return self._name

    @property
    def unit(self) -> str:
        """As it said when it came."""
        return self._unit

    def offers(self, workers: Sequence[Worker]) -> tuple[Offer, ...]:
        """Return what it offers; nothing while it cannot say so, or is withdrawn."""
        if self.ward.withdrawn:
            return ()
        about = f"offers of {self._name}"
        try:
            found = tuple(islice(self.inner.offers(workers), MAX_OFFERS + 1))
            if len(found) > MAX_OFFERS:
                raise Nonsense(f"more than {MAX_OFFERS} offers")
            for offer in found:
                _check_offer(offer)
        except (Exception, SystemExit) as error:  # noqa: BLE001  it then offers nothing
            self.ward.trouble(about, f"{about}: {_told(error)}")
            return ()
        self.ward.clear(about)
        return found

    def require(self, request: Any) -> Requirements:
        """Return what a request needs."""
        return self._ask("require", lambda: _needs(self.inner.require(request)))

    def estimate(self, request: Any) -> Units:
        """Return how much a request will probably be."""
        return self._ask("estimate", lambda: self._units(self.inner.estimate(request)))

    def _units(self, units: object) -> Units:
        if not isinstance(units, Units) or units.unit != self._unit:
            raise Nonsense(f"{units!r} are no {self._unit}s")
        return units

    async def run(self, job: Job, worker: Worker, meter: Meter) -> AsyncIterator[Output]:
        """Do a job: chunks, then one result."""
        run = Pump(lambda: self.inner.run(job, worker, meter), self.ward.job_timeout_s)
        outputs, check = run.outputs(), _Check(self._name, self.ward.max_output_bytes)
        try:
            async for output in outputs:
                check.take(output)
                if check.result is None:
                    yield output
            result = check.end()
        except (PluginError, PodiumError):
            raise
        except Overdue as error:
            raise JobTimeout(str(error), public=TOO_LONG) from error
        except Exception as error:
            self.ward.fault("run", _told(error), job.sender)
            raise JobFailed(_told(error), public=INTERNAL) from error
        finally:
            await outputs.aclose()
            await run.stop(self._stuck)
        self.ward.worked()
        # Whoever asked has the whole answer with this, and may be gone before another step.
        yield result

    def _stuck(self, stuck: bool) -> None:
        about = f"run of {self._name}"
        if stuck:
            reason = f"a {about} ignores that it was ended, and goes on"
            self.ward.strike(about, reason)
            self.ward.trouble(about, reason)
        else:
            self.ward.clear(about)

    async def start(self) -> None:
        """Begin."""
        await self.inner.start()

    async def close(self) -> None:
        """End."""
        await self.inner.close()

    def _ask(self, what: str, func: Callable[[], T]) -> T:
        try:
            return func()
        except PluginError:
            raise
        except (Exception, SystemExit) as error:
            self.ward.fault(what, _told(error))
            raise JobFailed(_told(error), public=INTERNAL) from error


class GuardedHttpPipeline(GuardedPipeline, HttpPipeline):
    """An HTTP pipeline of a plugin."""

    inner: HttpPipeline

    def __init__(self, inner: HttpPipeline, ward: Ward) -> None:
        super().__init__(inner, ward)
        self._capability, self._max_body_bytes = inner.capability, inner.max_body_bytes
        if not _number(self._capability, MAX_CAPABILITY) or not _number(self._max_body_bytes):
            msg = f"pipeline {self._name} has the capability {self._capability!r} and takes "
            raise PluginError(msg + f"{self._max_body_bytes!r} bytes")

    @property
    def capability(self) -> int:
        """As it said when it came."""
        return self._capability

    @property
    def max_body_bytes(self) -> int:
        """As it said when it came."""
        return self._max_body_bytes

    async def parse(self, request: HttpRequest) -> Any:
        """Read a request."""
        try:
            return await bounded(_awaited(lambda: self.inner.parse(request)), PARSE_TIMEOUT_S)
        except (PluginError, PodiumError):
            raise
        except Exception as error:
            self.ward.fault("parse", _told(error))
            raise JobFailed(_told(error), public=INTERNAL) from error

    def timeout_s(self, request: Any) -> float:
        """Return how long a request may run, at most what the operator allows."""
        asked_s = self._ask("timeout_s", lambda: _seconds(self.inner.timeout_s(request)))
        limit_s = self.ward.job_timeout_s
        return asked_s if limit_s is None else min(asked_s, limit_s)


def guard(pipeline: Pipeline, ward: Ward) -> GuardedPipeline:
    """Put a pipeline behind its guard.

    Raises:
        PluginError: it does not say what it is.
    """
    if isinstance(pipeline, HttpPipeline):
        return GuardedHttpPipeline(pipeline, ward)
    return GuardedPipeline(pipeline, ward)


async def _awaited(func: Callable[[], Any]) -> Any:
    return await func()


def _told(error: BaseException) -> str:
    known = isinstance(error, PluginError | Nonsense | Overdue)
    return str(error) if known else f"{type(error).__name__}: {error}"


def _number(value: Any, at_most: int = 2**62, at_least: int = 0) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and at_least <= value <= at_most


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise Nonsense(f"{value!r} are no seconds")
    return float(value)


def _check_offer(offer: object) -> None:
    well = (
        isinstance(offer, Offer)
        and _number(offer.capability, MAX_CAPABILITY)
        and _number(offer.capacity, 2**31 - 1)
        and isinstance(offer.model, str | None)
        and all(isinstance(text, str) for text in (offer.runner_version, offer.name))
    )
    if not well:
        raise Nonsense(f"{offer!r} cannot be offered")


def _needs(needs: object) -> Requirements:
    well = (
        isinstance(needs, Requirements)
        and _number(needs.slots)
        and _number(needs.cost)
        and isinstance(needs.model, str | None)
        and isinstance(needs.min_version, str)
        and all(_number(one, MAX_CAPABILITY) for one in needs.capabilities)
        and (needs.wait_s is None or (math.isfinite(needs.wait_s) and needs.wait_s >= 0))
    )
    if not well or not isinstance(needs, Requirements):
        raise Nonsense(f"{needs!r} cannot be required")
    return needs


@define
class _Check:
    """Holds a run's outputs to the contract: well-formed, bounded, one result at the end."""

    pipeline: str
    max_bytes: int
    size_bytes: int = 0
    result: Result | None = None

    def take(self, output: object) -> None:
        if self.result is not None or not _well_formed(output):
            raise Nonsense(f"pipeline {self.pipeline} yielded nonsense")
        if isinstance(output, Chunk):
            self.size_bytes += len(output.data)
        if self.size_bytes > self.max_bytes:
            raise Nonsense(f"pipeline {self.pipeline} gave more than {self.max_bytes} bytes")
        self.result = output if isinstance(output, Result) else None

    def end(self) -> Result:
        if self.result is None:
            raise Nonsense(f"pipeline {self.pipeline} ended without a result")
        return self.result


def _well_formed(output: object) -> bool:
    if isinstance(output, Chunk):
        return (
            isinstance(output.data, BYTES)
            and _number(output.index)
            and isinstance(output.kind, str)
            and isinstance(output.content_type, str)
            and _bounded(output.attributes)
        )
    return isinstance(output, Result) and _bounded(output.attributes)


def _bounded(attributes: object) -> bool:
    """Whether attributes fit into a log line."""
    if not isinstance(attributes, Mapping) or len(attributes) > MAX_ATTRIBUTES:
        return False
    return sum(len(str(value)) for value in attributes.values()) <= MAX_ATTRIBUTE_CHARS
