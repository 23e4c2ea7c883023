"""The spine: admit, pay, reserve, run, meter, settle.

Every face (segments, AI and BYOC requests) decodes its own wire format and
hands the work over here, so that admission, payment, capacity, billing and the
canonical log line exist once. Segments are paid before they wait for a slot;
requests take the slot first, since a peer that is refused for want of one tries
the next node with the same tickets.
"""

from __future__ import annotations

import asyncio
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol, TypeVar

from attrs import define, field, frozen
from podium_hookspecs import (
    Admission,
    AdmitRequest,
    BudgetExhausted,
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
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    from podium_hookspecs import Event, Job, Output, Pipeline, Requirements, Worker

    from podium.sessions.registry import Sessions
    from podium.workers.pool import WorkerPool

    Deliver = Callable[[Output], Awaitable[None]]

T = TypeVar("T")

ATTEMPTS = 2
"""Workers that a job is tried on when one is lost under it."""

MAX_DETAIL_CHARS = 1000
"""Of an error's text, in the log line of a job."""

TOO_LONG = "Remote transcoder took too long"
INTERNAL = "internal error"
NO_BALANCE = "insufficient balance"


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
        left: Returns the balance, for jobs that are billed as they run and end at nothing; None
            for those that were covered beforehand.
    """

    sender: bytes
    key: str
    wei_per_unit: Fraction
    spent: Callable[[Fraction], None] = field(default=lambda _: None, eq=False, repr=False)
    left: Callable[[], Fraction | None] | None = field(default=None, eq=False, repr=False)


@define
class JobMeter:
    """Counts a job's units and debits them at once (``podium_hookspecs.Meter``)."""

    unit: str
    billing: Billing
    debits: Debits
    amount: int = 0

    def add(self, units: Units) -> None:
        """Debit ``units``; a unit other than the pipeline's raises ``ValueError``.

        Raises:
            BudgetExhausted: that was more than there was, in a job billed as it runs.
        """
        self.amount = (self.total + units).amount
        if not self.billing.wei_per_unit:
            return
        cost = self.billing.wei_per_unit * units.amount
        self.debits.debit(self.billing.sender, self.billing.key, cost)
        self.billing.spent(cost)
        if self.billing.left is not None and (self.billing.left() or 0) < 0:
            raise BudgetExhausted("the sender's balance is used up", public=NO_BALANCE)

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
    delivered: bool = False
    outcome: str = "ok"
    detail: str = ""
    attributes: dict[str, str] = field(factory=dict)


@define
class Reserved:
    """A worker's slot that is held for a job.

    Attributes:
        worker: Where the job runs; another one after ``move``.
    """

    worker: Worker
    _pool: WorkerPool
    _pipeline: str
    _needs: Requirements
    _stack: AsyncExitStack

    async def move(self) -> None:
        """Give the slot back and take another one, of any worker that has one.

        Raises:
            PluginError: there is none.
        """
        await self._stack.aclose()
        self.worker = await self._stack.enter_async_context(
            self._pool.lease(self._pipeline, self._needs, "")
        )


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
        hold: Keeps a pipeline open while a job needs it: plugins may be replaced under way.
    """

    sessions: Sessions
    pool: WorkerPool
    admitter: Admitter
    debits: Debits
    on_event: Callable[[Event], None]
    monotonic: Callable[[], float]
    hold: Callable[[Pipeline], AbstractContextManager[None]] = lambda _: nullcontext()

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
        with self.hold(pipeline), self._settled(job, meter, record, media_duration_s):
            needs = required(pipeline, job.request)
            async with asyncio.timeout(job.timeout_s):
                await self._in_turn(job, pipeline, needs, meter, record, deliver)

    @asynccontextmanager
    async def reserve(self, pipeline: Pipeline, needs: Requirements) -> AsyncIterator[Reserved]:
        """Hold a slot for a job that is yet to be paid for.

        Raises:
            Busy: none was free within the job's patience.
            PluginError: no worker can do it.
        """
        with self.hold(pipeline):
            async with AsyncExitStack() as stack:
                lease = self.pool.lease(pipeline.name, needs, "")
                worker = await stack.enter_async_context(lease)
                yield Reserved(worker, self.pool, pipeline.name, needs, stack)

    async def run_reserved(
        self,
        job: Job,
        pipeline: Pipeline,
        billing: Billing,
        deliver: Deliver,
        reserved: Reserved,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Run, meter and settle one job on a slot that is held for it.

        One ``JobFinished`` was emitted when this returns. A job whose worker is lost under it
        moves to another, while nothing of it was billed or delivered.

        Raises:
            PluginError: from the pipeline, the worker or the lack of one.
        """
        meter = JobMeter(pipeline.unit, billing, self.debits)
        record = _Record(attributes=dict(labels or {}))
        with self._settled(job, meter, record, None):
            async with asyncio.timeout(job.timeout_s):
                for attempt in range(1, ATTEMPTS + 1):
                    try:
                        await self._timed(reserved.worker, job, pipeline, meter, record, deliver)
                        return
                    except WorkerLost as lost:
                        if attempt == ATTEMPTS or meter.amount or record.delivered:
                            raise
                        try:
                            await reserved.move()
                        except PluginError as error:  # nobody else can: the loss is the answer
                            raise lost from error

    @contextmanager
    def _settled(
        self, job: Job, meter: JobMeter, record: _Record, media_duration_s: float | None
    ) -> Iterator[None]:
        """Note how a job ends, however it does, and tell of it once."""
        try:
            yield
        except TimeoutError as error:
            late = JobTimeout(f"not done within {job.timeout_s:g} s", public=TOO_LONG)
            record.outcome, record.detail = late.code, str(late)
            raise late from error
        except (PluginError, PodiumError) as error:
            record.outcome, record.detail = error.code, str(error)[:MAX_DETAIL_CHARS]
            raise
        except asyncio.CancelledError:
            record.outcome, record.detail = "cancelled", "the peer gave up"
            raise
        finally:
            self._settle(job, meter, record, media_duration_s)

    async def _timed(
        self,
        worker: Worker,
        job: Job,
        pipeline: Pipeline,
        meter: JobMeter,
        record: _Record,
        deliver: Deliver,
    ) -> None:
        """Run a job on a worker, and note which and how long."""
        started_s = self.monotonic()
        record.worker = worker.name
        try:
            await _run_on(worker, job, pipeline, meter, record, deliver)
        finally:
            record.run_s += self.monotonic() - started_s

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
                        record.queued_s = self.monotonic() - asked_s
                        await self._timed(worker, job, pipeline, meter, record, deliver)
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
                account=meter.billing.key,
            )
        )


async def checked(answer: Awaitable[T]) -> T:
    """Await a plugin's answer; its unforeseen error fails the job, not the node.

    Raises:
        PluginError: from the plugin, or in place of what it raised.
    """
    try:
        return await answer
    except (PluginError, PodiumError):
        raise
    except Exception as error:
        raise JobFailed(f"{type(error).__name__}: {error}", public=INTERNAL) from error


def required(pipeline: Pipeline, request: object) -> Requirements:
    """Ask a pipeline what a request needs; errors as for :func:`checked`."""
    try:
        return pipeline.require(request)
    except PluginError:
        raise
    except Exception as error:
        raise JobFailed(f"{type(error).__name__}: {error}", public=INTERNAL) from error


def estimated(pipeline: Pipeline, request: object) -> int:
    """Ask a pipeline how many units must be covered; errors as for :func:`checked`."""
    try:
        units = pipeline.estimate(request)
    except PluginError:
        raise
    except Exception as error:
        raise JobFailed(f"{type(error).__name__}: {error}", public=INTERNAL) from error
    return units.amount


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
            record.delivered = True
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
