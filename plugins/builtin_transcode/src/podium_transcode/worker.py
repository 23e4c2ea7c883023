"""The worker: slots, each a child process, restarted when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

from attrs import define, evolve, field
from podium_hookspecs import (
    BadInput,
    Busy,
    Chunk,
    Container,
    Health,
    JobFailed,
    JobTimeout,
    Result,
    Worker,
    WorkerLost,
    WorkerState,
)

from podium_transcode.devices import session_cost
from podium_transcode.engine.output import OutputFile
from podium_transcode.engine.refusals import INVALID_DATA, STOPPED
from podium_transcode.engine.request import EngineJob, job_to_json
from podium_transcode.process import ChildProcess
from podium_transcode.protocol import Message

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from podium_hookspecs import Body, Job, Log, Output, PluginError, Resources

    from podium_transcode.devices import Balancer
    from podium_transcode.engine.request import EngineOptions

CONTENT_TYPES = {Container.MPEGTS: "video/mp2t", Container.MP4: "video/mp4"}
RENDITION_FACTS = ("frames", "width", "height")


@define(eq=False)
class Slot:
    """A place for one job; its child is replaced in the background when it is gone.

    Attributes:
        starting: Brings up its child; replaced only once it is done, so that none is forgotten.
        job_id: The job that has the slot.
        child: The child that has that job.
        cancelled: That job was.
    """

    starting: asyncio.Task[ChildProcess] | None = None
    job_id: str | None = None
    child: ChildProcess | None = None
    cancelled: bool = False


@define(eq=False)
class TranscodeWorker(Worker):
    """Transcodes segments in child processes of this node.

    Args:
        name: The worker's name.
        resources: What it offers; ``slots`` children are kept.
        options: For every job; the device is chosen per session.
        balancer: Chooses it.
        memory_limit_mb: For each child.
        log: The plugin's.
    """

    _name: str
    _resources: Resources
    _options: EngineOptions
    _balancer: Balancer
    _memory_limit_mb: int
    _log: Log
    _slots: list[Slot] = field(factory=list)
    _health: Health = field(factory=lambda: Health(WorkerState.STARTING))
    _changed: asyncio.Event = field(factory=asyncio.Event)
    _closed: bool = False

    @property
    def name(self) -> str:
        """See ``Worker``."""
        return self._name

    @property
    def resources(self) -> Resources:
        """See ``Worker``."""
        return self._resources

    @property
    def child_pids(self) -> tuple[int, ...]:
        """Process ids of the children that are up."""
        tasks = [slot.starting for slot in self._slots]
        return tuple(
            task.result().pid
            for task in tasks
            if task and task.done() and not task.cancelled() and not task.exception()
        )

    async def start(self) -> None:
        """Start every child; returns when all are ready."""
        self._slots = [Slot() for _ in range(self._resources.slots)]
        for slot in self._slots:
            self._restart(slot)
        try:
            await asyncio.gather(*(slot.starting for slot in self._slots if slot.starting))
        except BaseException:
            await self.close()
            raise
        self._report(Health(WorkerState.OK))

    async def health(self) -> AsyncIterator[Health]:
        """See ``Worker``."""
        while True:
            changed, health = self._changed, self._health
            yield health
            if health.state is WorkerState.DOWN:
                return
            await changed.wait()

    async def run(self, job: Job) -> AsyncIterator[Output]:
        """Run a job in a free slot; see ``Worker``."""
        slot = next((slot for slot in self._slots if slot.job_id is None), None)
        if slot is None or self._closed:
            msg = "every transcoder process has a job"
            raise Busy(msg, public="TranscoderBusy")
        slot.job_id, slot.cancelled = job.id, False
        clean = False
        try:
            child = await self._child_of(slot)
            if slot.cancelled:  # before it could begin
                raise JobFailed("the job was cancelled", public=STOPPED)
            slot.child = child
            async with contextlib.aclosing(self._converse(child, slot, job)) as outputs:
                async for output in outputs:
                    clean = isinstance(output, Result)
                    yield output
        except BadInput:
            clean = True
            raise
        finally:
            await self._vacate(slot, clean=clean)

    async def cancel(self, job_id: str) -> None:
        """Kill the job's child; its ``run`` raises ``JobFailed``."""
        for slot in self._slots:
            if slot.job_id == job_id:
                slot.cancelled = True
                if slot.child is not None:
                    await slot.child.kill()

    async def close(self) -> None:
        """Kill every child; see ``Worker``."""
        self._closed = True
        for slot in self._slots:
            task, slot.starting = slot.starting, None
            if task is None:
                continue
            # A child that is still starting is let up first: a cancelled start could leave it.
            with contextlib.suppress(WorkerLost, OSError):
                await (await task).kill()
        self._report(Health(WorkerState.DOWN, "closed"))

    async def end_session(self, session_id: str) -> None:
        """Give back the session's share of its device."""
        self._balancer.release(session_id)

    # --- children

    async def _vacate(self, slot: Slot, *, clean: bool) -> None:
        """Free a slot; a child whose job did not end by itself is stopped and replaced.

        A job that got no child leaves the one that is starting to the next job. Only the wait
        for the old child's end comes last: a cancellation that falls into it loses nothing.
        """
        child, slot.child, slot.job_id = slot.child, None, None
        if child is not None and not (clean and child.alive):
            self._restart(slot)
            await child.kill()

    def _restart(self, slot: Slot) -> None:
        if not self._closed:
            slot.starting = asyncio.create_task(
                ChildProcess.start(self._memory_limit_mb), name=f"{self._name}-child"
            )
            slot.starting.add_done_callback(self._started)

    def _started(self, task: asyncio.Task[ChildProcess]) -> None:
        """Report a child that could not be started; the next job of its slot tries again."""
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._log.error("transcode.child_failed", error=str(error))
            self._report(Health(WorkerState.DEGRADED, str(error)))
        elif self._health.state is WorkerState.DEGRADED:
            self._report(Health(WorkerState.OK))

    async def _child_of(self, slot: Slot) -> ChildProcess:
        """Return the slot's child, or a new one when it died while it was idle."""
        for _ in range(2):
            if slot.starting is not None:
                with contextlib.suppress(WorkerLost, OSError):
                    child = await asyncio.shield(slot.starting)
                    if child.alive:
                        return child
                    await child.kill()
            self._restart(slot)
        msg = "no transcoder process could be started"
        raise WorkerLost(msg)

    def _report(self, health: Health) -> None:
        if health != self._health:
            self._health = health
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    # --- one job

    async def _converse(
        self, child: ChildProcess, slot: Slot, job: Job
    ) -> AsyncGenerator[Output, None]:
        """Hand a job to a child and turn its messages into outputs."""
        units = 0
        try:
            async with asyncio.timeout(job.timeout_s) as deadline:
                await self._send(child, job)
            while True:
                async with asyncio.timeout_at(deadline.when()):
                    message = await child.receive()
                if message.kind == "done":
                    yield Result(units, _summary(message))
                    return
                if message.kind == "error":
                    raise _error(message)
                chunk = _chunk(message, job)
                units += chunk.units
                yield chunk
        except TimeoutError as error:
            msg = f"the segment took longer than {job.timeout_s:.0f} s"
            raise JobTimeout(msg) from error
        except WorkerLost as error:
            if slot.cancelled:
                raise JobFailed("the job was cancelled", public=STOPPED) from error
            raise
        except (KeyError, ValueError, TypeError) as error:
            msg = f"the transcoder process talks nonsense: {error!r}"
            raise WorkerLost(msg) from error

    async def _send(self, child: ChildProcess, job: Job) -> None:
        message = Message(job_to_json(self._engine_job(job)))
        if job.body is None:
            msg = "a transcoding job without a segment"
            raise BadInput(msg)
        async with _descriptor(job.body) as descriptor:
            await child.send_job(descriptor, message)

    def _engine_job(self, job: Job) -> EngineJob:
        request = job.request
        device = self._balancer.device_for(job.session_id, session_cost(request.profiles))
        attributes = job.attributes
        label = self._options.label
        if "version" in attributes and "orchestrator_id" in attributes:
            label = node_label(attributes["version"], attributes["orchestrator_id"])
        return EngineJob(
            profiles=request.profiles,
            clip=request.clip,
            want_signature=request.want_signature,
            options=evolve(
                self._options,
                device=device,
                label=label,
                threads=self._share(),
                timeout_s=max(1.0, job.timeout_s),
            ),
        )

    def _share(self) -> int:
        """Return an encoder's threads: fewer threads do the same work cheaper, so jobs share."""
        running = sum(slot.job_id is not None for slot in self._slots)
        return max(1, self._options.threads // max(1, running))


def node_label(version: str, orchestrator_id: str) -> str:
    """Return the name that renditions carry in their metadata (wire-video 12.1)."""
    return f"Livepeer Transcoder {version} ({orchestrator_id})"


@contextlib.asynccontextmanager
async def _descriptor(body: Body) -> AsyncIterator[int]:
    """Give the body's descriptor, or that of a copy in memory."""
    try:
        descriptor = body.fileno()
    except OSError:
        copy = OutputFile()
        try:
            async for piece in body:
                os.write(copy.descriptor, piece)
            yield copy.descriptor
        finally:
            copy.close()
    else:
        yield descriptor


def _chunk(message: Message, job: Job) -> Chunk:
    """Check a child's output before anyone relies on it."""
    index = message.head["index"]
    if not isinstance(index, int) or not 0 <= index < len(job.request.profiles):
        msg = f"an output of index {index!r}"
        raise ValueError(msg)
    if message.kind == "signature":
        return Chunk(message.payload, index, "signature")
    if message.kind != "rendition":
        msg = f"a message of kind {message.kind!r}"
        raise ValueError(msg)
    pixels = message.head["pixels"]
    if not isinstance(pixels, int) or pixels < 0:
        msg = f"{pixels!r} pixels"
        raise ValueError(msg)
    content_type = CONTENT_TYPES[job.request.profiles[index].container]
    facts = _facts(message, *RENDITION_FACTS)
    return Chunk(message.payload, index, "video", content_type, pixels, facts)


def _facts(message: Message, *names: str) -> dict[str, str]:
    return {name: str(int(message.head[name])) for name in names}


def _summary(message: Message) -> dict[str, str]:
    facts = _facts(message, "decoded_frames", "decoded_pixels")
    return {**facts, "transcode_s": f"{float(message.head['seconds']):.4f}"}


def _error(message: Message) -> PluginError:
    kind = BadInput if message.head.get("code") in ("bad_input", "unsupported") else JobFailed
    public = str(message.head.get("public", INVALID_DATA))
    return kind(str(message.head.get("detail", public)), public=public)
