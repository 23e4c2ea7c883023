import asyncio
from fractions import Fraction

import pytest
from podium.errors import CapacityError, CredentialsError
from podium.jobs.spine import Billing, Spine
from podium.sessions.registry import Sessions
from podium.workers.pool import WorkerPool
from podium_hookspecs import (
    Admission,
    AdmitRequest,
    BadInput,
    JobFailed,
    JobFinished,
    JobTimeout,
    Result,
    WorkerLost,
)

BILLING = Billing(b"\1" * 20, "s", Fraction(1, 3))


class Debits:
    def __init__(self):
        self.taken = []

    def debit(self, sender, key, amount):
        self.taken.append((sender, key, amount))


class World:
    def __init__(self, fakes, workers, max_sessions=3):
        self.fakes = fakes
        self.events = []
        self.debits = Debits()
        self.pool = WorkerPool(self.events.append)
        self.workers = workers
        self.outputs = []
        loop = asyncio.get_running_loop()
        self.sessions = Sessions(
            max_sessions,
            on_event=self.events.append,
            on_close=self.pool.end_session,
            monotonic=loop.time,
        )
        self.spine = Spine(
            self.sessions, self.pool, fakes.everybody(), self.debits, self.events.append, loop.time
        )

    async def deliver(self, output):
        self.outputs.append(output)

    async def run(self, *request, pipeline=None, **job):
        await self.spine.run(
            self.fakes.job(*request, **job),
            pipeline or self.fakes.pipeline(),
            BILLING,
            self.deliver,
        )

    @property
    def finished(self):
        return [e for e in self.events if isinstance(e, JobFinished)]

    def at_rest(self):
        assert [used for _, _, used in self.pool.states()] == [0] * len(self.workers)
        assert all(s.pending == 0 for s in self.sessions._open.values())
        assert all(w.running == 0 for w in self.workers)


@pytest.fixture
async def world(fakes):
    world = World(fakes, [fakes.worker("one"), fakes.worker("two")])
    await world.pool.start(world.workers)
    yield world
    for _ in range(3):  # the loop closes the generators that a failing pipeline left open
        await asyncio.sleep(0)
    world.at_rest()
    await world.pool.close()


async def test_a_good_job_is_metered_delivered_and_recorded_once(world):
    await world.run(b"ab", b"cde")
    assert [getattr(o, "data", None) for o in world.outputs] == [b"ab", b"cde", None]
    assert [amount for *_, amount in world.debits.taken] == [Fraction(2, 3), Fraction(1)]
    (line,) = world.finished
    assert (line.outcome, line.units, line.unit, line.fee_wei) == ("ok", 5, "byte", Fraction(5, 3))
    assert line.attributes["by"] == line.worker


async def test_bad_input_is_not_tried_again_and_keeps_the_worker(world):
    calls = []

    async def refuse(job):
        calls.append(job.id)
        raise BadInput("TranscoderInvalidVideo")

    for worker in world.workers:
        worker.behaviour = refuse
    with pytest.raises(BadInput):
        await world.run(b"x")
    assert len(calls) == 1
    assert world.finished[0].outcome == "bad_input"
    assert world.debits.taken == []


async def test_a_lost_worker_gives_the_job_to_another(world):
    seen = []

    async def die_first(job):
        seen.append(job.id)
        if len(seen) == 1:
            raise WorkerLost("killed")

    for worker in world.workers:
        worker.behaviour = die_first
    await world.run(b"x")
    assert len(seen) == 2
    assert world.finished[0].outcome == "ok"


async def test_a_job_that_was_billed_in_part_is_not_done_twice(world, fakes):
    class DiesLate(fakes.pipeline):
        async def run(self, job, worker, meter):
            async for output in super().run(job, worker, meter):
                yield output
                raise WorkerLost("killed")

    with pytest.raises(WorkerLost):
        await world.run(b"x", b"y", pipeline=DiesLate())
    assert [a for *_, a in world.debits.taken] == [Fraction(1, 3)]
    assert world.finished[0].units == 1


async def test_time_out_releases_everything(world):
    async def hang(job):
        await asyncio.sleep(60)

    for worker in world.workers:
        worker.behaviour = hang
    with pytest.raises(JobTimeout) as late:
        await world.run(b"x", timeout_s=0.05)
    assert late.value.public == "Remote transcoder took too long"
    assert world.finished[0].outcome == "job_timeout"


async def test_cancel_releases_everything(world):
    started = asyncio.Event()

    async def hang(job):
        started.set()
        await asyncio.sleep(60)

    for worker in world.workers:
        worker.behaviour = hang
    task = asyncio.create_task(world.run(b"x"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.finished[0].outcome == "cancelled"


@pytest.mark.parametrize("nonsense", ["raises", "yields", "no result", "after result"])
async def test_a_plugins_bug_fails_its_job_only(world, fakes, nonsense):
    class Broken(fakes.pipeline):
        async def run(self, job, worker, meter):
            if nonsense == "raises":
                raise ZeroDivisionError("secret detail")
            if nonsense == "yields":
                yield "text"
            if nonsense == "after result":
                yield Result(0)
                yield Result(0)

    with pytest.raises(JobFailed) as failed:
        await world.run(b"x", pipeline=Broken())
    assert failed.value.public == "internal error"
    await world.run(b"ok")
    assert [line.outcome for line in world.finished] == ["job_failed", "ok"]


async def test_capacity_is_checked_when_the_session_opens(world):
    for name in "abc":
        await world.run(b"x", session_id=name)
    with pytest.raises(CapacityError, match=r"^OrchestratorCapped$"):
        await world.run(b"x", session_id="d")
    assert world.finished[-1].outcome == "capacity"


async def test_refusal_by_a_plugin(world, fakes):
    class Nobody:
        async def admit(self, request):
            return Admission(False, "blocked")

    world.spine.admitter = Nobody()
    with pytest.raises(CredentialsError, match=r"^blocked$"):
        await world.spine.admit(AdmitRequest(b"", "job"))


async def test_a_bug_in_require_and_a_plugins_own_time_out_are_failures(world, fakes):
    class Broken(fakes.pipeline):
        def require(self, request):
            raise KeyError("bug")

    class Late(fakes.pipeline):
        async def run(self, job, worker, meter):
            raise TimeoutError("of its own")
            yield

    for pipeline in (Broken(), Late()):
        with pytest.raises(JobFailed) as failed:
            await world.run(b"x", pipeline=pipeline)
        assert failed.value.public == "internal error"
    assert [line.outcome for line in world.finished] == ["job_failed", "job_failed"]
