import asyncio

import pytest
from podium.errors import CapacityError
from podium.sessions.registry import Sessions
from podium_hookspecs import SessionClosed, SessionOpened

SENDER = b"\x01" * 20


class World:
    def __init__(self, max_sessions=2):
        self.events = []
        self.closed = []
        self.now_s = 0.0
        self.sessions = Sessions(
            max_sessions,
            on_event=self.events.append,
            on_close=self.on_close,
            monotonic=lambda: self.now_s,
        )

    async def on_close(self, session_id):
        self.closed.append(session_id)


async def test_capacity_refuses_new_sessions_and_passes_open_ones():
    world = World(max_sessions=1)
    world.sessions.open("a", SENDER)
    world.sessions.check_capacity("a")
    with pytest.raises(CapacityError, match=r"^OrchestratorCapped$"):
        world.sessions.check_capacity()
    with pytest.raises(CapacityError, match=r"^OrchestratorCapped$"):
        world.sessions.open("b", SENDER)
    assert await world.sessions.end("a")
    world.sessions.open("b", SENDER)
    assert [type(e) for e in world.events] == [SessionOpened, SessionClosed, SessionOpened]


async def test_ending_an_unknown_session_is_no_event():
    world = World()
    assert not await world.sessions.end("nope")
    assert world.events == []
    assert world.closed == []


async def test_jobs_run_one_by_one_in_order_and_the_sixth_is_busy():
    world = World()
    session = world.sessions.open("a", SENDER)
    order = []
    release = asyncio.Event()

    async def job(number):
        async with world.sessions.turn(session):
            order.append(number)
            await release.wait()

    jobs = []
    for number in range(5):
        jobs.append(asyncio.create_task(job(number)))
        await asyncio.sleep(0)
    with pytest.raises(CapacityError, match=r"^OrchestratorBusy$"):
        async with world.sessions.turn(session):
            pass
    assert order == [0]
    release.set()
    await asyncio.gather(*jobs)
    assert order == [0, 1, 2, 3, 4]
    assert session.pending == 0
    assert session.jobs == 5


async def test_a_cancelled_job_gives_its_turn_back():
    world = World()
    session = world.sessions.open("a", SENDER)
    started = asyncio.Event()

    async def job():
        async with world.sessions.turn(session):
            started.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(job())
    await started.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(1), world.sessions.turn(session):
        assert session.pending == 1


async def test_idle_sessions_end_after_70_s_but_not_while_they_work():
    world = World()
    session = world.sessions.open("a", SENDER)
    async with world.sessions.turn(session):
        world.now_s = 100.0
        assert await world.sessions.sweep() == 0
    world.now_s = 169.9
    assert await world.sessions.sweep() == 0
    world.now_s = 170.0
    assert await world.sessions.sweep() == 1
    assert world.closed == ["a"]
    assert world.events[-1].reason == "idle"
    assert len(world.sessions) == 0


async def test_a_session_ended_under_its_job_is_cleaned_up_after_it():
    world = World()
    session = world.sessions.open("a", SENDER)
    async with world.sessions.turn(session):
        await world.sessions.end("a")
        assert world.closed == ["a"]
    assert world.closed == ["a", "a"]
    session = world.sessions.open("b", SENDER)
    async with world.sessions.turn(session):
        await world.sessions.end("b")
        world.sessions.open("b", SENDER)
    assert world.closed == ["a", "a", "b"], "opened again: what it holds is the new one's"
