"""The spine: admit, pay, reserve, run, meter, settle.

Every face (segments now; AI and BYOC requests) decodes its own wire format
and hands the work over here, so that admission, payment, capacity, billing
and the canonical log line exist once.
"""

from __future__ import annotations

import asyncio
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

from attrs import define, field, frozen
from podium_hookspecs import (
    Admission,
    AdmitRequest,
    Chunk,
    JobFailed,
    JobFinished,
    JobTimeout,
    PluginError,
    Result,
    Units,
    WorkerLost,
)

from podium.errors import CredentialsError, PodiumError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from podium_hookspecs import Event, Job, Output, Pipeline, Requirements, Worker

    from podium.sessions.registry import Sessions
    from podium.workers.pool import WorkerPool

    Deliver = Callable[[Output], Awaitable[None]]

ATTEMPTS = 2
"""Workers that a job is tried on when one is lost under it."""

TOO_LONG = "Remote transcoder took too long"
INTERNAL = "internal error"


class Admitter(Protocol):
    """Answers ``podium_admit`` (the plugin host)."""

    async def admit(self, request: AdmitRequest) -> Admission:
        """Let a sender in, or not."""


class Debits(Protocol):
    """Where metered work is taken from (payments)."""

    def debit(self, sender: bytes, key: str, amount: Fraction) -> None:
        """Take exact wei from a balance; it may go below zero."""


@frozen
class Billing:
    """Whose balance a job is taken from, and at which price.

    Attributes:
        sender: 20-byte address.
        key: The balance's key: the session's ID for segments.
        wei_per_unit: Exact; 0 when nothing is charged.
        spent: Told each debit, so that what is held for the job shrinks with it.
    """

    sender: bytes
    key: str
    wei_per_unit: Fraction
    spent: Callable[[Fraction], None] = field(default=lambda _: None, eq=False, repr=False)


@define
class JobMeter:
    """Counts a job's units and debits them at once (``podium_hookspecs.Meter``)."""

    unit: str
    billing: Billing
    debits: Debits
    amount: int = 0

    def add(self, units: Units) -> None:
        """Debit ``units``; a unit other than the pipeline's raises ``ValueError``."""
        self.amount = (self.total + units).amount
        if self.billing.wei_per_unit:
            cost = self.billing.wei_per_unit * units.amount
            self.debits.debit(self.billing.sender, self.billing.key, cost)
            self.billing.spent(cost)

    @property
    def total(self) -> Units:
        """What was metered so far."""
        return Units(self.amount, self.unit)

    @property
    def fee_wei(self) -> Fraction:
        """What was debited so far."""
        return self.billing.wei_per_unit * self.amount


@define
class _Record:
    """What the log line of a job will say."""

    worker: str = ""
    queued_s: float = 0.0
    run_s: float = 0.0
    outcome: str = "ok"
    detail: str = ""
    attributes: dict[str, str] = field(factory=dict)


@define
class Spine:
    """Runs jobs.

    Args:
        sessions: Order and capacity of sessions.
        pool: Workers.
        admitter: Asks the plugins.
        debits: Takes the price of metered work.
        on_event: Hears of finished jobs.
        monotonic: Returns monotonic seconds.
    """

    sessions: Sessions
    pool: WorkerPool
    admitter: Admitter
    debits: Debits
    on_event: Callable[[Event], None]
    monotonic: Callable[[], float]

    async def admit(self, request: AdmitRequest) -> Admission:
        """Ask the plugins whether a sender may have this.

        Raises:
            CredentialsError: with the reason, when it is refused.
        """
        answer = await self.admitter.admit(request)
        if not answer.allow:
            raise CredentialsError(answer.reason or "not admitted")
        return answer

    async def run(
        self,
        job: Job,
        pipeline: Pipeline,
        billing: Billing,
        deliver: Deliver,
        *,
        media_duration_s: float | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Reserve, run, meter and settle one job.

        However it ends, cancellation included: its slot and its place in the session are free
        when this returns, and one ``JobFinished`` was emitted.

        Args:
            job: What to do.
            pipeline: The pipeline it is for.
            billing: Whose balance its units are taken from.
            deliver: Awaited with each output, in order.
            media_duration_s: Length of the segment, for metrics.
            labels: Facts for the log line.

        Raises:
            CapacityError: ``OrchestratorCapped`` or ``OrchestratorBusy``.
            PluginError: from the pipeline, the worker or the lack of one.
        """
        meter = JobMeter(pipeline.unit, billing, self.debits)
        record = _Record(attributes=dict(labels or {}))
        try:
            needs = _required(pipeline, job.request)
            async with asyncio.timeout(job.timeout_s):
                await self._in_turn(job, pipeline, needs, meter, record, deliver)
        except TimeoutError as error:
            late = JobTimeout(f"not done within {job.timeout_s:g} s", public=TOO_LONG)
            record.outcome, record.detail = late.code, str(late)
            raise late from error
        except (PluginError, PodiumError) as error:
            record.outcome, record.detail = error.code, str(error)
            raise
        except asyncio.CancelledError:
            record.outcome, record.detail = "cancelled", "the peer gave up"
            raise
        finally:
            self._settle(job, meter, record, media_duration_s)

    async def _in_turn(
        self,
        job: Job,
        pipeline: Pipeline,
        needs: Requirements,
        meter: JobMeter,
        record: _Record,
        deliver: Deliver,
    ) -> None:
        """Run the job when its session's turn comes; on another worker if one is lost early."""
        asked_s = self.monotonic()
        async with self.sessions.turn(self.sessions.open(job.session_id, job.sender)):
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    async with self.pool.lease(pipeline.name, needs, job.session_id) as worker:
                        started_s = self.monotonic()
                        record.queued_s = started_s - asked_s
                        record.worker = worker.name
                        try:
                            await _run_on(worker, job, pipeline, meter, record, deliver)
                        finally:
                            record.run_s += self.monotonic() - started_s
                    return
                except WorkerLost:
                    # What was billed was delivered: such a job is not done twice.
                    if attempt == ATTEMPTS or meter.amount:
                        raise
                    self.pool.forget(job.session_id)

    def _settle(
        self, job: Job, meter: JobMeter, record: _Record, media_duration_s: float | None
    ) -> None:
        self.on_event(
            JobFinished(
                job_id=job.id,
                session_id=job.session_id,
                sender=job.sender,
                pipeline=job.pipeline,
                capability=job.capability,
                model=job.model,
                worker=record.worker,
                outcome=record.outcome,
                detail=record.detail,
                units=meter.amount,
                unit=meter.unit,
                fee_wei=meter.fee_wei,
                queued_s=record.queued_s,
                run_s=record.run_s,
                media_duration_s=media_duration_s,
                attributes=record.attributes,
            )
        )


def _required(pipeline: Pipeline, request: object) -> Requirements:
    """Ask a pipeline what a request needs; its unforeseen error fails the job, not the node."""
    try:
        return pipeline.require(request)
    except PluginError:
        raise
    except Exception as error:
        raise JobFailed(f"{type(error).__name__}: {error}", public=INTERNAL) from error


async def _run_on(
    worker: Worker,
    job: Job,
    pipeline: Pipeline,
    meter: JobMeter,
    record: _Record,
    deliver: Deliver,
) -> None:
    """Pull a pipeline's outputs; a plugin's unforeseen error fails its job, not the node."""
    finished = False
    outputs = pipeline.run(job, worker, meter)
    try:
        async for output in outputs:
            if finished or not isinstance(output, Chunk | Result):
                raise JobFailed(f"pipeline {pipeline.name} yielded nonsense", public=INTERNAL)
            if isinstance(output, Result):
                finished = True
                record.attributes.update(output.attributes)
            await deliver(output)
    except (PluginError, PodiumError):
        raise
    except Exception as error:  # a TimeoutError here is the plugin's own: ours comes as a cancel
        raise JobFailed(f"{type(error).__name__}: {error}", public=INTERNAL) from error
    finally:
        close = getattr(outputs, "aclose", None)
        if close is not None:
            await close()
    if not finished:
        raise JobFailed(f"pipeline {pipeline.name} ended without a result", public=INTERNAL)
