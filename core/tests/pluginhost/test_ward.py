"""What follows from a plugin's conduct, and what does not."""

import asyncio

import pytest
from podium.pluginhost import guarded, ward
from podium.pluginhost.ward import Ward
from podium_hookspecs import Busy, HttpPipeline, Pipeline

ALICE, BOB, NOBODY = b"\1" * 20, b"\2" * 20, bytes(20)


@pytest.fixture
def plugin():
    timers = []
    made = Ward("p", lambda _: None, later=lambda s, func: timers.append((s, func)))
    return made, timers


def fail(one, times, sender=ALICE):
    for _ in range(times):
        one.fault("run", "bug", sender)


def test_a_fault_now_and_then_is_nothing(plugin):
    one, _ = plugin
    for _ in range(50):
        fail(one, ward.FAULTS_TO_DEGRADE - 1)
        one.worked()
    assert (one.troubles, one.withdrawn) == ({}, "")


def test_one_peer_degrades_it_and_two_withdraw_it(plugin):
    one, timers = plugin
    fail(one, 100)
    assert "or more jobs in a row failed, the last one in run: bug" in one.reason
    assert not one.withdrawn
    fail(one, 1, BOB)
    assert one.withdrawn.startswith("withdrawn for 10 s: its jobs fail")
    assert len(timers) == 1


def test_off_chain_all_peers_are_one_and_trusted(plugin):
    one, _ = plugin
    fail(one, ward.FAULTS_TO_WITHDRAW, NOBODY)
    assert one.withdrawn


def test_what_no_peer_is_known_for_withdraws_nothing(plugin):
    one, _ = plugin
    fail(one, 100, None)
    assert one.troubles
    assert not one.withdrawn


def test_each_withdrawal_is_longer_until_a_job_goes_well(plugin):
    one, timers = plugin
    fail(one, ward.FAULTS_TO_WITHDRAW, NOBODY)
    for expected in (10, 20, 40, 80, 160, 320, 600, 600):
        seconds, again = timers.pop()
        assert seconds == expected
        again()
        assert not one.withdrawn
        fail(one, 1, NOBODY)
    timers.pop()[1]()
    one.worked()
    assert one.reason == ""
    fail(one, ward.FAULTS_TO_WITHDRAW, NOBODY)
    assert timers.pop()[0] == 10


def test_slow_calls_add_up_and_good_ones_make_up_for_them(plugin):
    one, timers = plugin
    for _ in range(ward.STRIKES_TO_DEGRADE):
        assert not one.troubles
        one.strike("podium_price", "slow")
    assert one.reason == "slow"
    for _ in range(ward.FORGIVEN_AFTER):
        one.good("podium_price")
    assert one.reason == ""
    for _ in range(ward.STRIKES_TO_WITHDRAW):
        one.strike("podium_price", "slow")
    assert one.reason == "withdrawn for 10 s: slow"
    timers.pop()[1]()
    assert one.reason == "slow"


def test_troubles_are_bounded(plugin):
    one, _ = plugin
    for number in range(1000):
        one.trouble(f"task {number}", "x" * 10_000)
    assert len(one.reason) < 5000
    one.clear()
    assert one.reason == ""


async def test_a_plugin_that_goes_waits_for_its_jobs_and_takes_no_more(plugin):
    one, _ = plugin
    with one.hold():
        one.closed = True
        assert not await one.idle(0.01)
        with one.hold():  # a job that has begun may take further steps
            pass
        waiting = asyncio.create_task(one.idle(10))
    assert await waiting
    with pytest.raises(Busy), one.hold():
        pass


@pytest.mark.parametrize(
    ("guard", "base"),
    [
        (guarded.GuardedPipeline, Pipeline),
        (guarded.GuardedHttpPipeline, HttpPipeline),
    ],
)
def test_a_guard_stands_before_every_method(guard, base):
    """A default of the base class must never answer in the place of the plugin's own."""
    mine = {name for cls in guard.__mro__ if "Guarded" in cls.__name__ for name in vars(cls)}
    public = {name for name in dir(base) if not name.startswith("_")}
    assert public <= mine
