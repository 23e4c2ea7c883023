"""Shared fakes: a worker and a pipeline whose every move a test commands."""

import asyncio

import pytest
from podium_hookspecs import (
    Admission,
    Chunk,
    Health,
    Job,
    Offer,
    Pipeline,
    Requirements,
    Resources,
    Result,
    Units,
    Worker,
    WorkerState,
)


class FakeWorker(Worker):
    """Echoes the job's request as chunks; each hook of its life can be replaced."""

    def __init__(self, name="w", slots=1, capabilities=(0,), version="0.9.1", start_error=None):
        self._name = name
        self._resources = Resources(
            pipelines={"fake"}, capabilities=capabilities, slots=slots, version=version
        )
        self.reports = asyncio.Queue()
        self.start_error = start_error
        self.ended = []
        self.running = 0
        self.behaviour = None
        self.closed = 0

    name = property(lambda self: self._name)
    resources = property(lambda self: self._resources)

    async def start(self):
        if self.start_error:
            raise self.start_error

    async def health(self):
        yield Health(WorkerState.OK)
        while True:
            report = await self.reports.get()
            if isinstance(report, Exception):
                raise report
            yield report

    async def run(self, job):
        self.running += 1
        try:
            if self.behaviour is not None:
                await self.behaviour(job)
            for index, data in enumerate(job.request):
                yield Chunk(data, index=index, units=len(data))
            yield Result(sum(map(len, job.request)), {"by": self.name})
        finally:
            self.running -= 1

    async def cancel(self, job_id):
        pass

    async def end_session(self, session_id):
        self.ended.append(session_id)

    async def close(self):
        self.closed += 1


class FakePipeline(Pipeline):
    """Counts bytes."""

    name = "fake"
    unit = "byte"

    def __init__(self, needs=None):
        self.needs = needs or Requirements(capabilities={0})

    def offers(self, workers):
        return (Offer(0),) if workers else ()

    def require(self, request):
        return self.needs

    def estimate(self, request):
        return Units(sum(map(len, request)), "byte")

    async def run(self, job, worker, meter):
        async for output in worker.run(job):
            if isinstance(output, Chunk):
                meter.add(Units(output.units, "byte"))
            yield output


class Everybody:
    """Admits all."""

    async def admit(self, request):
        return Admission(True)


@pytest.fixture
def fakes():
    """The classes, for tests that build their own world."""

    class Fakes:
        worker = FakeWorker
        pipeline = FakePipeline
        everybody = Everybody

        @staticmethod
        def job(*request, session_id="s", timeout_s=5.0, job_id="j"):
            return Job(
                id=job_id,
                session_id=session_id,
                sender=b"\1" * 20,
                pipeline="fake",
                capability=0,
                model=None,
                timeout_s=timeout_s,
                request=request,
            )

    return Fakes
