import asyncio

import pytest
from attrs import evolve
from podium.workers import member
from podium.workers.pool import WorkerPool
from podium.workers.quota import Quota
from podium_hookspecs import (
    Busy,
    Health,
    PluginError,
    Requirements,
    Unsupported,
    WorkerLost,
    WorkerState,
)

NEEDS = Requirements(capabilities={0}, cost=10)


@pytest.fixture
async def start():
    pools = []

    async def start(*workers):
        events = []
        pool = WorkerPool(events.append)
        await pool.start(workers)
        pools.append(pool)
        return pool, events

    yield start
    for pool in pools:
        await pool.close()


async def test_no_worker_and_no_able_worker_have_the_references_texts(start, fakes):
    pool, _ = await start()
    with pytest.raises(WorkerLost) as none:
        async with pool.lease("fake", NEEDS, "s"):
            pass
    assert none.value.public == "no transcoders available"
    pool, _ = await start(fakes.worker())
    with pytest.raises(Unsupported) as unable:
        async with pool.lease("fake", Requirements(capabilities={16}), "s"):
            pass
    assert unable.value.public == "no transcoders can provide requested capabilities"
    with pytest.raises(Unsupported):
        async with pool.lease("fake", Requirements(min_version="1.0.0"), "s"):
            pass


async def test_sessions_stick_and_new_ones_go_to_the_freest(start, fakes):
    one, two = fakes.worker("one", slots=2), fakes.worker("two", slots=2)
    pool, _ = await start(one, two)
    async with pool.lease("fake", NEEDS, "a") as first:
        async with pool.lease("fake", NEEDS, "b") as second:
            assert {first.name, second.name} == {"one", "two"}
        async with pool.lease("fake", NEEDS, "b") as again:
            assert again is second
    await pool.end_session("b")
    assert second.ended == ["b"]


async def test_a_lease_waits_for_a_slot_and_a_cancelled_wait_leaks_none(start, fakes):
    pool, _ = await start(fakes.worker())
    got = []

    async def job(name):
        async with pool.lease("fake", NEEDS, name):
            got.append(name)

    async with pool.lease("fake", NEEDS, "a"):
        waiting = asyncio.create_task(job("b"))
        given_up = asyncio.create_task(job("c"))
        await asyncio.sleep(0.01)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        assert got == []
    async with asyncio.timeout(1):
        await waiting
    assert got == ["b"]
    assert [used for _, _, used in pool.states()] == [0]


async def test_a_worker_that_goes_down_is_withdrawn_and_comes_back(start, fakes):
    worker = fakes.worker()
    pool, events = await start(worker)
    assert pool.up == [worker]
    worker.reports.put_nowait(Health(WorkerState.DOWN, "driver lost"))
    await asyncio.sleep(0.01)
    assert pool.up == []
    assert (events[-1].state, events[-1].reason) == ("down", "driver lost")
    worker.reports.put_nowait(Health(WorkerState.OK))
    await asyncio.sleep(0.01)
    assert pool.up == [worker]


async def test_a_worker_that_cannot_start_is_down_with_its_reason(start, fakes):
    bad = fakes.worker("bad", start_error=PluginError("no GPU"))
    pool, events = await start(bad, fakes.worker("good"))
    assert [w.name for w in pool.up] == ["good"]
    assert ("bad", "down", "no GPU") in [(e.worker, e.state, e.reason) for e in events]


async def test_a_failing_health_watch_ends_the_worker_not_the_node(start, fakes):
    worker = fakes.worker()
    pool, events = await start(worker)
    worker.reports.put_nowait(RuntimeError("bug"))
    await asyncio.sleep(0.01)
    assert pool.up == []
    assert "bug" in events[-1].reason


async def test_waiting_leases_end_when_the_last_worker_goes(start, fakes):
    worker = fakes.worker()
    pool, _ = await start(worker)
    async with pool.lease("fake", NEEDS, "a"):
        waiting = asyncio.create_task(pool._take("fake", NEEDS, "b", Quota()))
        await asyncio.sleep(0.01)
        worker.reports.put_nowait(Health(WorkerState.DOWN))
        with pytest.raises(WorkerLost):
            async with asyncio.timeout(1):
                await waiting


async def test_degraded_workers_come_last(start, fakes):
    tired, fit = fakes.worker("tired", slots=9), fakes.worker("fit", slots=1)
    pool, _ = await start(tired, fit)
    tired.reports.put_nowait(Health(WorkerState.DEGRADED, "hot"))
    await asyncio.sleep(0.01)
    async with pool.lease("fake", NEEDS, "a") as first:
        assert first is fit
        async with pool.lease("fake", NEEDS, "b") as second:
            assert second is tired


async def test_a_workers_bugs_end_neither_the_start_nor_the_session(start, fakes):
    broken = fakes.worker("broken", start_error=OSError("no device"))
    good = fakes.worker("good")

    async def fail(session_id):
        raise RuntimeError("bug")

    good.end_session = fail
    pool, events = await start(broken, good)
    assert pool.up == [good]
    assert any("no device" in e.reason for e in events)
    async with pool.lease("fake", NEEDS, "a"):
        pass
    await pool.end_session("a")
    assert "bug" in events[-1].reason


async def test_a_plugin_s_jobs_are_bounded_and_so_is_their_queue(start, fakes):
    pool, _ = await start(fakes.worker(slots=9))
    quota = Quota(max_jobs=1, max_queue=1)
    pool.quotas = {"fake": quota}
    async with pool.lease("fake", NEEDS, "a"):
        waiting = asyncio.create_task(held(pool, "b"))
        await asyncio.sleep(0)
        assert (quota.running, quota.waiting) == (1, 1)
        with pytest.raises(Busy, match="1 jobs wait already"):
            await held(pool, "c")
        with pytest.raises(Busy):
            async with pool.lease("fake", Requirements({0}, wait_s=0), "d"):
                pass
    async with asyncio.timeout(5):
        await waiting
    assert (quota.running, quota.waiting) == (0, 0)


async def held(pool, session_id):
    async with pool.lease("fake", NEEDS, session_id):
        pass


async def test_a_job_that_gives_up_waiting_leaves_the_queue(start, fakes):
    pool, _ = await start(fakes.worker())
    quota = Quota(max_jobs=1)
    pool.quotas = {"fake": quota}
    async with pool.lease("fake", NEEDS, "a"):
        with pytest.raises(Busy):
            async with pool.lease("fake", Requirements({0}, wait_s=0.01), "b"):
                pass
        assert quota.waiting == 0


async def test_prepared_workers_take_the_place_of_others_at_once(start, fakes):
    old, new = fakes.worker("w", slots=1), fakes.worker("w", slots=2)
    pool, events = await start(old)
    events.clear()
    members = await pool.prepare([new], recover=False)
    assert events == []
    assert pool.up == [old]
    with pytest.raises(PluginError, match="a worker named w is there already"):
        pool.check_names(["w"])
    pool.check_names(["w"], leaving=[old])
    async with pool.lease("fake", NEEDS, "a") as worker:
        assert worker is old
        left = pool.replace([old], members)
        assert pool.up == [new]
        assert [event.state for event in events] == ["ok"]
        draining = asyncio.create_task(pool.drain(left, 10))
        async with pool.lease("fake", NEEDS, "a") as worker:
            assert worker is new, "its session moved"
        assert not draining.done()
    async with asyncio.timeout(5):
        await draining
    assert (old.closed, new.closed) == (1, 0)


async def test_workers_that_cannot_all_be_prepared_are_all_closed(start, fakes):
    good, bad = fakes.worker("good"), fakes.worker("bad", start_error=PluginError("no GPU"))
    pool, events = await start()
    with pytest.raises(PluginError, match="worker bad: no GPU"):
        await pool.prepare([good, bad])
    assert (good.closed, bad.closed) == (1, 1)
    assert events == []
    assert pool.states() == []


async def test_a_worker_whose_answers_make_no_sense_gets_no_more_jobs(start, fakes):
    worse, good = fakes.worker("worse"), fakes.worker("good")
    worse.readiness = lambda needs: "soon"
    pool, events = await start(worse, good)
    async with pool.lease("fake", NEEDS, "a") as worker:
        assert worker is good
    assert pool.up == [good]
    assert events[-1].reason == "readiness: TypeError: 'soon' is no int"
    worse.reports.put_nowait(Health(WorkerState.OK))
    await asyncio.sleep(0.01)
    assert pool.up == [good]


async def test_a_close_that_never_returns_is_left_alone(start, fakes, monkeypatch):
    monkeypatch.setattr(member, "CLOSE_TIMEOUT_S", 0.01)
    worker = fakes.worker()

    async def close():
        await asyncio.Event().wait()

    pool, _ = await start(worker)
    worker.close = close
    async with asyncio.timeout(5):
        assert await pool.remove("w")
    assert pool.states() == []


async def until(events, seen):
    async with asyncio.timeout(5):
        while not any(seen(event) for event in events):  # noqa: ASYNC110  a plain list of events
            await asyncio.sleep(0)


async def test_slots_may_change_with_a_report_and_running_jobs_keep_theirs(start, fakes):
    worker = fakes.worker(slots=1)
    pool, events = await start(worker)
    async with pool.lease("fake", NEEDS, "a"):
        worker._resources = evolve(worker.resources, slots=3)
        worker.reports.put_nowait(Health(WorkerState.OK, "grown"))
        await until(events, lambda event: event.reason == "grown")
        assert events[-1].slots == 3
        assert pool.free("fake", NEEDS) == 2
        worker._resources = evolve(worker.resources, slots=1)
        worker.reports.put_nowait(Health(WorkerState.OK, "shrunk"))
        await until(events, lambda event: event.reason == "shrunk")
        assert pool.free("fake", NEEDS) == 0
    assert pool.free("fake", NEEDS) == 1


async def test_nothing_else_of_a_worker_may_change(start, fakes):
    worker = fakes.worker()
    pool, events = await start(worker)
    worker._resources = evolve(worker.resources, version="9.9.9")
    worker.reports.put_nowait(Health(WorkerState.OK, "another"))
    await until(events, lambda event: event.state == "down")
    assert "is not what it had when it came" in events[-1].reason
    assert pool.free("fake", NEEDS) == 0
