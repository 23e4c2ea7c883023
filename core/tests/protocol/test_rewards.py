"""Rewards and rounds on the real contracts: no round is left without its reward."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from podium.chain.contracts import BondingManager, Controller
from podium.devnet import ETHER
from podium.errors import ChainError, StoreError
from podium.protocol.keeper import Pace
from podium.protocol.rewards import RewardService
from podium.protocol.rounds import RoundInitializer
from podium_hookspecs import RewardCalled, RewardFailed

FAST = Pace(check_s=0.02, verify_s=60, retry_s=0.02, max_retry_s=0.1, attempt_s=20)
NONE = bytes(20)


@pytest.fixture
def reward_round(devnet):
    """The last round with a reward, as the chain says."""
    account = devnet.account("orchestrator").address
    return lambda: devnet.call("BondingManager", BondingManager.get_transcoder, account)[0]


@pytest.fixture
def events():
    return []


@pytest.fixture
def alarms():
    return []


@pytest.fixture
def service(line, contracts, orchestrator, views, events, alarms):
    return RewardService(
        line, contracts, orchestrator, views.known, events.append, alarms.append, pace=FAST
    )


@pytest.fixture
def active(devnet):
    """Two orchestrators, active in an initialized round; its number."""
    devnet.register_orchestrator("orchestrator")
    devnet.bond("orchestrator2", 4000 * ETHER)
    return devnet.next_round()


@asynccontextmanager
async def running(keeper):
    task = asyncio.create_task(keeper.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition, timeout_s=10):
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  # a chain has no event to wait for
            await asyncio.sleep(0.01)


async def test_a_start_in_mid_round_rewards_it(devnet, active, service, reward_round, events):
    devnet.mine(30)
    async with running(service):
        await until(lambda: reward_round() == active)
        await until(lambda: service.situation == "rewarded")
    (event,) = events
    assert isinstance(event, RewardCalled)
    assert event.round_number == active
    assert service.last_rewarded_round == active
    assert service.errors == 0


async def test_each_round_is_rewarded_with_the_predicted_amount_and_place(
    devnet, active, service, orchestrator, state_of, views, reward_round, events
):
    passed = []
    async with running(service):
        for _ in range(3):
            await until(lambda: reward_round() == devnet.current_round)
            await until(lambda: service.situation == "rewarded")
            devnet.to_next_round()
            await views.look()
            devnet.initialize_round()
            state = await state_of(orchestrator)
            passed.append((state.round.number, state.predicted_reward))
            await views.look()
            service.wake()
        await until(lambda: reward_round() == devnet.current_round)
        await until(lambda: len(events) == 4)
    assert [(e.round_number, e.amount) for e in events[1:]] == passed
    # Rewards carry it past the other one; the hints were right each time.
    state = await state_of(orchestrator)
    assert state.pool.members[0][0] == orchestrator.address
    other = devnet.account("orchestrator2").address
    hints = [BondingManager.reward_with_hint.decode_input(r.data) for r in orchestrator.requests]
    assert hints == [(other, NONE), (NONE, other), (NONE, other), (NONE, other)]


async def test_right_hints_cost_less_gas_than_none(devnet, active, service, orchestrator):
    snapshot = devnet.snapshot()
    receipt = devnet.send(
        "orchestrator", "BondingManager", BondingManager.reward_with_hint, NONE, NONE
    )
    devnet.revert(snapshot)
    await service.check()
    assert orchestrator.receipts[0].gas_used <= int(receipt["gasUsed"], 16)


@pytest.mark.parametrize("fault", ["down", "hangs", {"eth_sendRawTransaction"}, {"eth_call"}])
async def test_an_outage_in_mid_reward_is_sat_out_and_nothing_is_sent_twice(
    devnet, active, service, line, reward_round, events, fault
):
    line.broken = fault
    async with running(service):
        await until(lambda: service.failures >= 4)
        assert reward_round() < active
        line.broken = None
        await until(lambda: reward_round() == active)
        await until(lambda: service.situation == "rewarded")
    assert len(line.sent) == 1
    assert isinstance(events[0], RewardFailed)
    assert isinstance(events[-1], RewardCalled)
    assert service.errors == len(events) - 1


async def test_an_answer_that_is_lost_after_the_transaction_went_out(
    devnet, active, service, line, orchestrator, reward_round
):
    devnet.set_automine(False)
    line.broken = {"eth_getTransactionReceipt"}
    async with running(service):
        await until(lambda: service.failures >= 2)
        assert len(line.sent) == 1
        line.broken = None
        devnet.mine()
        await until(lambda: reward_round() == active)
        await until(lambda: service.situation == "rewarded")
    assert len(line.sent) == 1


async def test_a_stuck_transaction_is_waited_for_and_not_sent_again(
    devnet, active, line, contracts, transactor_of, views, events, reward_round
):
    slow = transactor_of("orchestrator", timeout_s=0.1)
    service = RewardService(line, contracts, slow, views.known, events.append, pace=FAST)
    devnet.set_automine(False)
    async with running(service):
        await until(lambda: service.failures >= 3)
        devnet.mine()
        await until(lambda: service.situation == "rewarded")
    assert reward_round() == active
    assert len(line.sent) == 1


async def test_a_reward_that_a_reorg_drops_is_called_again(
    devnet, active, service, line, views, reward_round
):
    async with running(service):
        await until(lambda: reward_round() == active)
        await until(lambda: service.situation == "rewarded")
        devnet.reorg(1)
        devnet.drop_pending()
        assert reward_round() < active
        await views.look()
        service.wake()
        await until(lambda: reward_round() == active)
    assert len(line.sent) == 2


async def test_views_that_are_wrong_do_not_cost_a_reward(
    devnet, line, contracts, orchestrator, views, reward_round
):
    # The views were never told of the registration.
    devnet.register_orchestrator("orchestrator")
    number = devnet.next_round()
    pace = Pace(check_s=0.02, verify_s=0.1)
    service = RewardService(
        line, contracts, orchestrator, views.known, lambda _event: None, pace=pace
    )
    await service.check()
    assert not service.wanted()
    assert reward_round() == number


async def test_somebody_else_with_the_key_was_faster(
    devnet, active, service, orchestrator, reward_round, events
):
    # Between the look and the dry run.
    launch = orchestrator._launch

    async def late(request):
        devnet.send("orchestrator", "BondingManager", BondingManager.reward_with_hint, NONE, NONE)
        return await launch(request)

    orchestrator._launch = late
    await service.check()
    assert service.situation == "rewarded"
    assert service.failures == 0
    assert events == []


async def test_nothing_is_called_while_there_is_nothing_to_call(
    devnet, service, line, views, orchestrator
):
    await service.check()
    assert service.situation == "not_registered"
    devnet.register_orchestrator("orchestrator")
    await views.look()
    await service.attempt()
    assert service.situation == "inactive"
    devnet.to_next_round()
    await views.look()
    await service.attempt()
    assert service.situation == "round_not_initialized"
    devnet.initialize_round()
    devnet.send("deployer", devnet.controller, type(Controller.paused)("pause()"))
    await views.look()
    await service.attempt()
    assert service.situation == "paused"
    assert line.sent == []
    calls = line.calls
    for _ in range(5):
        await service.check()
    assert line.calls == calls  # the views are enough to know
    devnet.send("deployer", devnet.controller, type(Controller.paused)("unpause()"))
    await views.look()
    await service.check()
    assert service.situation == "rewarded"


async def test_off_and_on(line, contracts, orchestrator, views, events):
    service = RewardService(
        line, contracts, orchestrator, views.known, events.append, mode="off", pace=FAST
    )
    await asyncio.wait_for(service.run(), 1)
    service.mode = "on"
    await service.check()
    assert events == [
        RewardFailed(1, "chain.reward is on, but this account is not an orchestrator: activate it")
    ]


async def test_the_alarm_rings_in_the_last_tenth_and_stops_with_the_reward(
    devnet, active, service, line, views, reward_round, alarms
):
    line.broken = {"eth_sendRawTransaction"}
    await service.check()
    service.see_to_alarm()
    assert not service.alarm
    devnet.mine(54)
    await views.look()
    assert views.known.blocks_left_in_round < 6
    async with running(service):
        await until(lambda: service.alarm)
        line.broken = None
        await until(lambda: reward_round() == active)
        await until(lambda: not service.alarm)
    assert alarms == [True, False]


async def test_the_alarm_rings_while_the_chain_is_silent(service, active, views):
    await views.look()
    silent = type("Silent", (), {})()
    for name in ("current_round", "round_initialized", "paused", "orchestrator", "protocol"):
        setattr(silent, name, getattr(views.known, name))
    silent.blocks_left_in_round, silent.silent_for_s = 50, 10.0
    service.view = silent
    service.see_to_alarm()
    assert not service.alarm
    silent.silent_for_s = 45 * 12.0
    service.see_to_alarm()
    assert service.alarm


def test_the_wait_between_tries_grows_and_is_bounded():
    pace = Pace()
    assert [pace.retry_after(n) for n in (1, 2, 3, 6, 5000)] == [1, 2, 4, 30, 30]


# ---------------------------------------------------------------- rounds


@pytest.fixture
def draws():
    """The limits of the random waits that were drawn."""
    return []


@pytest.fixture
def initializer(line, contracts, transactor_of, views, draws):
    def draw(limit_s):
        draws.append(limit_s)
        return 0.05

    return RoundInitializer(
        line, contracts, transactor_of("redeemer"), views.known, 30, draw, pace=FAST
    )


async def test_a_round_that_nobody_initialized_is_at_a_start_in_it(
    devnet, initializer, line, draws
):
    number = devnet.to_next_round()
    devnet.mine(20)
    async with running(initializer):
        await until(lambda: devnet.round_initialized)
        await until(lambda: initializer.initialized_round == number)
    assert draws == [30]
    assert len(line.sent) == 1


async def test_who_is_faster_in_the_wait_saves_us_the_gas(devnet, initializer, line, draws):
    devnet.to_next_round()
    async with running(initializer):
        await until(lambda: draws)
        devnet.initialize_round()
        await asyncio.sleep(0.2)
    assert line.sent == []
    assert initializer.errors == 0


async def test_who_is_faster_after_the_wait_does_no_harm(devnet, initializer, line):
    devnet.to_next_round()
    launch = initializer.transactor._launch

    async def late(request):
        devnet.initialize_round()
        return await launch(request)

    initializer.transactor._launch = late
    await initializer.check()
    assert initializer.errors == 0
    assert initializer.initialized_round == 0
    assert line.sent == []


async def test_rounds_are_initialized_one_after_the_other_and_after_a_reorg(
    devnet, initializer, views, line
):
    async with running(initializer):
        for _ in range(2):
            number = devnet.to_next_round()
            await views.look()
            await until(lambda due=number: initializer.initialized_round == due)
            await views.look()
        devnet.reorg(1)
        devnet.drop_pending()
        assert not devnet.round_initialized
        await views.look()
        await until(lambda: devnet.round_initialized)
    assert len(line.sent) == 3


async def test_a_paused_protocol_is_left_alone(devnet, initializer, views, line):
    devnet.to_next_round()
    devnet.send("deployer", devnet.controller, type(Controller.paused)("pause()"))
    await views.look()
    await initializer.check()
    assert line.sent == []
    assert initializer.errors == 0


async def test_the_first_look_waits_for_the_views(line, contracts, orchestrator, views, active):
    class Blank:
        def __getattr__(self, name):
            raise ChainError("nothing was read yet")

    service = RewardService(line, contracts, orchestrator, Blank(), lambda _: None, pace=FAST)
    service.see_to_alarm()
    await service.check()
    assert service.situation == "rewarded"


async def test_a_store_that_fails_is_one_failure_among_others(
    active, service, orchestrator, events
):
    launch = orchestrator._launch

    async def full(request):
        orchestrator._launch = launch
        raise StoreError("the disk is full")

    orchestrator._launch = full
    assert await service.check() == FAST.retry_s
    assert events == [RewardFailed(active, "the disk is full")]
    assert service.last_error == "the disk is full"
    await service.check()
    assert (service.situation, service.last_error) == ("rewarded", "")
