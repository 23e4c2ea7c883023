"""Views over contracts in memory: what they hold, and when they ask."""

import asyncio
from types import SimpleNamespace

import pytest
from attrs import evolve
from podium.chain.contracts import (
    NEVER,
    BondingManager,
    Controller,
    RoundsManager,
    ServiceRegistry,
    TicketBroker,
)
from podium.chain.values import HeadUpdate
from podium.chain.views import ChainViews, UnbondingLock, ViewSettings
from podium.chain.views.kept import Kept
from podium.chain.views.states import KEPT_ROUNDS
from podium.errors import ChainError, RpcUnavailable
from podium.testing.rpc import FAKE_CONTRACTS, FakeProtocol

US, OTHER = b"\x11" * 20, b"\x22" * 20
ALICE, BOB = b"\xa1" * 20, b"\xb0" * 20
DOWN = RpcUnavailable("no endpoint answers")


@pytest.fixture
def chain():
    chain = FakeProtocol()
    chain.activate(US, 9)
    chain.senders[ALICE] = (1000, 0, 500, 0)
    return chain


@pytest.fixture
def make(chain):
    """Views over the chain, a clock that stands still, and what went wrong."""

    async def build(start=True, keep_sender=lambda _sender: False, **settings):
        known = SimpleNamespace(now=0.0, problems=[], wall=float(chain.head.timestamp))
        known.views = ChainViews(
            chain.rpc,
            FAKE_CONTRACTS,
            US,
            settings=ViewSettings(**settings),
            keep_sender=keep_sender,
            on_problem=lambda part, error: known.problems.append((part, str(error))),
            now=lambda: known.now,
            wall_clock=lambda: known.wall,
        )
        if start:
            await known.views.start(chain.head)
        return known

    return build


@pytest.fixture
async def known(make):
    return await make()


@pytest.fixture
async def views(known):
    return known.views


@pytest.fixture
def tell(chain):
    """Show views a new block with logs."""

    async def update(views, *logs, reorg=False):
        await views.on_update(HeadUpdate(chain.head, logs, reorg))

    return update


def asked(chain):
    return chain.rpc.calls.total()


async def test_start_reads_rounds_and_our_orchestrator(chain, views):
    assert (views.last_initialized_round, views.current_round) == (10, 10)
    assert views.round_initialized
    assert views.round_hash(10) == b"\x0a" * 32
    assert views.round_hash(7) == b"\x07" * 32
    assert views.round_hash(6) == views.round_hash(11) == bytes(32)
    assert (views.pool_size, views.ticket_validity_rounds, views.paused) == (2, 2, False)
    assert (views.l1_block, views.blocks_left_in_round) == (1005, 95)
    own = views.orchestrator
    assert own.registered
    assert own.active_in(10)
    assert (own.activation_round, own.deactivation_round) == (9, NEVER)
    assert set(chain.rpc.blocks) == {hex(1005)}  # every read names its block


async def test_nothing_is_answered_before_the_start(make):
    views = (await make(start=False)).views
    for name in ("head", "l1_block", "current_round", "pool_size", "orchestrator", "paused"):
        with pytest.raises(ChainError, match="yet"):
            getattr(views, name)


async def test_start_fails_where_the_chain_does(make, chain):
    views = (await make(start=False)).views
    chain.rpc.error = DOWN
    with pytest.raises(RpcUnavailable):
        await views.start(chain.head)


async def test_an_endpoint_that_lags_is_not_believed(make, chain):
    views = (await make(start=False)).views
    chain.rpc.newest = 1004
    with pytest.raises(RpcUnavailable, match="0x3ed"):
        await views.start(chain.head)


async def test_the_round_ends_without_asking(chain, views, tell):
    before = asked(chain)
    chain.mine(94)  # block 1099, the round's last
    await tell(views)
    assert (views.current_round, views.blocks_left_in_round) == (10, 1)
    assert views.round_locked
    chain.mine()
    await tell(views)
    assert (views.current_round, views.last_initialized_round) == (11, 10)
    assert not views.round_initialized
    assert not views.round_locked
    assert views.blocks_left_in_round == 100
    assert asked(chain) == before


async def test_the_lock_begins_with_its_first_block(chain, views, tell):
    chain.mine(84)
    await tell(views)
    assert not views.round_locked
    chain.mine()
    await tell(views)
    assert views.round_locked


async def test_a_new_round_is_read(chain, views, tell):
    chain.mine(250)  # round 11 is skipped
    chain.pool_size = 5
    await tell(views, chain.initialize_round())
    assert views.last_initialized_round == views.current_round == 12
    assert views.round_hash(12) == chain.hashes[12]
    assert views.round_hash(11) == bytes(32)
    assert views.round_hash(10) == b"\x0a" * 32
    assert views.pool_size == 5


async def test_a_new_round_is_known_although_nothing_can_be_read(chain, known, tell):
    chain.mine(100)
    event = chain.initialize_round()
    chain.rpc.error = DOWN
    await tell(known.views, event)
    assert known.views.last_initialized_round == 11
    assert known.views.round_hash(11) == chain.hashes[11]
    assert known.views.round_initialized
    assert {part for part, _ in known.problems} == {"rounds", "orchestrator"}
    assert len(known.views.protocol.hashes) == KEPT_ROUNDS


async def test_what_could_not_be_read_is_read_at_the_next_block(chain, known, tell):
    chain.pool_size = 9
    chain.rpc.error = DOWN
    activated = chain.own_log(BondingManager.activated, OTHER)
    await tell(known.views, activated)
    assert known.views.pool_size == 2
    known.now = 7
    assert known.views.stale_for_s == 7
    chain.rpc.error = None
    chain.mine()
    await tell(known.views)
    assert known.views.pool_size == 9
    assert known.views.stale_for_s == 0


async def test_pause_and_parameters(chain, views, tell):
    chain.paused = True
    await tell(views, chain.log(FAKE_CONTRACTS.controller, Controller.paused_event))
    assert views.paused
    chain.round_length = 50
    chain.initialized = 20
    parameter = chain.log(FAKE_CONTRACTS.rounds_manager, Controller.parameter_update)
    await tell(views, parameter)
    assert (views.current_round, views.blocks_left_in_round) == (20, 45)


async def test_logs_of_strangers_change_nothing(chain, views, tell):
    await views.sender(ALICE)
    before = asked(chain)
    strange = evolve(chain.sender_log(TicketBroker.deposit_funded, ALICE), address=OTHER)
    anonymous = evolve(strange, address=FAKE_CONTRACTS.ticket_broker, topics=())
    of_others = chain.own_log(BondingManager.reward, OTHER)
    await tell(views, strange, anonymous, of_others)
    assert asked(chain) == before


async def test_a_round_event_that_cannot_be_read_stops_nothing(chain, known, tell):
    bad = evolve(chain.initialize_round(), data=b"")
    chain.mine()
    await tell(known.views, bad)
    assert known.views.l1_block == 1006
    assert known.problems[0][0] == "rounds"


async def test_our_own_events_are_read(chain, views, tell):
    own = chain.orchestrators[US]
    own.fees = 77
    transfer = chain.sender_log(TicketBroker.ticket_transfer, ALICE, US)
    await tell(views, transfer)
    assert views.orchestrator.pending_fees == 77
    own.service_uri = "https://o.example:8935"
    await tell(views, chain.log(FAKE_CONTRACTS.service_registry, ServiceRegistry.updated, US))
    assert views.orchestrator.service_uri == "https://o.example:8935"
    own.transcoder = (10, *own.transcoder[1:])
    await tell(views, chain.own_log(BondingManager.reward, US))
    assert views.orchestrator.last_reward_round == 10


async def test_balances_change_without_an_event(chain, views):
    chain.rpc.balances[US] = 5
    assert views.orchestrator.eth_balance == 0
    assert (await views.refresh_orchestrator()).eth_balance == 5
    assert views.orchestrator.eth_balance == 5


async def test_locks_come_and_go(chain, views, tell):
    own = chain.orchestrators[US]
    assert views.locks == ()
    own.locks = {0: (10, 17), 1: (20, 18)}
    own.delegator = (*own.delegator[:6], 2)
    await tell(views, chain.own_log(BondingManager.unbonded, US, US))
    assert views.locks == (UnbondingLock(0, 10, 17), UnbondingLock(1, 20, 18))
    del own.locks[0]
    await tell(views, chain.own_log(BondingManager.stake_withdrawn, US))
    assert views.locks == (UnbondingLock(1, 20, 18),)
    chain.rpc.asked.clear()
    await tell(views, chain.own_log(BondingManager.reward, US))
    assert chain.rpc.asked["getDelegatorUnbondingLock"] == 1  # what is gone stays gone ...
    own.locks[0] = (10, 17)
    await tell(views, reorg=True)
    assert [lock.id for lock in views.locks] == [0, 1]  # ... unless the chain went back


async def test_active_set_from_memory(chain, views, tell):
    before = asked(chain)
    assert await views.is_active(US, 9)
    assert not await views.is_active(US, 8)
    assert asked(chain) == before
    own = chain.orchestrators[US]
    own.transcoder = (*own.transcoder[:5], 11, *own.transcoder[6:])
    await tell(views, chain.own_log(BondingManager.deactivated, US))
    assert await views.is_active(US, 10)
    assert not await views.is_active(US, 11)
    assert not await views.is_active(OTHER, 10)
    chain.activate(OTHER, 10)
    assert await views.is_active(OTHER, 10)


async def test_a_reorg_reads_everything_again(chain, views, tell):
    chain.mine(100)
    await tell(views, chain.initialize_round())
    await views.sender(ALICE)
    assert views.last_initialized_round == 11
    chain.rewind(50)
    chain.initialized, chain.pool_size = 10, 3
    chain.hashes[10] = b"\xee" * 32
    chain.senders[ALICE] = (1, 0, 2, 0)
    chain.orchestrators[US].fees = 5
    await tell(views, reorg=True)
    assert (views.last_initialized_round, views.current_round) == (10, 10)
    assert views.round_hash(10) == b"\xee" * 32
    assert views.round_hash(11) == bytes(32)
    assert views.pool_size == 3
    assert views.orchestrator.pending_fees == 5
    before = asked(chain)
    assert (await views.sender(ALICE)).deposit == 1
    assert asked(chain) == before


async def test_subscribers_wake_after_the_state_is_there(chain, views, tell):
    heard = []
    views.on_round(lambda: heard.append(("round", views.last_initialized_round, views.pool_size)))
    views.on_block(lambda: heard.append(("block", views.l1_block, views.pool_size)))
    chain.mine()
    await tell(views)
    assert heard == [("block", 1006, 2)]
    heard.clear()
    chain.mine(99)
    chain.pool_size = 4
    await tell(views, chain.initialize_round())
    assert heard == [("round", 11, 4), ("block", 1105, 4)]


async def test_a_round_that_begins_uninitialized_wakes_too(chain, views, tell):
    heard = []
    views.on_round(lambda: heard.append(views.round_initialized))
    chain.mine(95)
    await tell(views)
    assert heard == [False]
    await tell(views, chain.initialize_round())
    assert heard == [False, True]


async def test_silence_is_not_believed_for_ever(make, chain, tell):
    known = await make(max_silence_s=300)
    await known.views.sender(ALICE)
    known.now = 301
    with pytest.raises(RpcUnavailable, match="nothing was heard of the chain for 301 s"):
        await known.views.sender(ALICE)
    with pytest.raises(RpcUnavailable):
        await known.views.is_active(US, 10)
    known.views.heard()
    assert (await known.views.sender(ALICE)).deposit == 1000
    known.now = 700
    chain.mine()
    await tell(known.views)
    assert await known.views.is_active(US, 10)


async def test_an_endpoint_that_is_stuck_is_not_believed_though_it_answers(make, chain, tell):
    known = await make(max_silence_s=300, max_head_age_s=900)
    known.wall += 900
    known.views.heard()
    assert await known.views.sender(ALICE)
    known.wall += 1
    known.views.heard()
    with pytest.raises(RpcUnavailable, match="is 901 s old"):
        await known.views.sender(ALICE)
    with pytest.raises(RpcUnavailable):
        await known.views.is_active(US, 10)
    chain.mine()
    known.wall = float(chain.head.timestamp)
    await tell(known.views)
    assert await known.views.sender(ALICE)


async def test_rounds_out_of_date_for_too_long_fail_closed_and_heal(make, chain, tell):
    known = await make(grace_s=60)
    await known.views.sender(ALICE)
    chain.rpc.error = DOWN
    chain.pool_size = 7
    await tell(known.views, chain.own_log(BondingManager.activated, OTHER))
    known.now = 60
    assert await known.views.sender(ALICE)
    known.now = 61
    with pytest.raises(RpcUnavailable, match="no endpoint answers"):
        await known.views.sender(ALICE)
    assert await known.views.is_active(US, 10)  # ours has not changed
    chain.rpc.error = None
    assert await known.views.sender(ALICE)
    assert known.views.pool_size == 7


async def test_an_update_ends_in_time_though_the_chain_hangs(make, chain, tell):
    known = await make(update_timeout_s=0.02, read_timeout_s=60)
    chain.rpc.gate.clear()
    heard = []
    known.views.on_block(lambda: heard.append(known.views.l1_block))
    chain.mine()
    async with asyncio.timeout(5):
        await tell(known.views, chain.own_log(BondingManager.activated, US))
    assert heard == [1006]
    assert "not all was read" in known.problems[-1][1]
    chain.rpc.gate.set()


async def test_what_changes_all_the_time_is_as_old_as_its_last_read():
    clock = SimpleNamespace(now=0.0)
    values = iter(range(100))

    async def fetch():
        kept.mark()  # it changes while it is read, each time
        clock.now += 10
        return next(values)

    kept = Kept(fetch, lambda: clock.now, 60, "it")
    assert await kept.refresh() == 2
    assert not kept.fresh
    assert kept.stale_for_s == 10
    clock.now = 1000
    assert not kept.usable(60)
    assert await kept.refresh() == 5
    assert kept.usable(60)


def test_watches_what_it_needs():
    assert RoundsManager.new_round.topic in ChainViews.topics
    for event in (
        TicketBroker.deposit_funded,
        TicketBroker.reserve_funded,
        TicketBroker.withdrawal,
        TicketBroker.ticket_transfer,
        TicketBroker.unlocked,
        TicketBroker.unlock_cancelled,
        BondingManager.activated,
        BondingManager.deactivated,
        BondingManager.unbonded,
        BondingManager.rebonded,
        BondingManager.stake_withdrawn,
        ServiceRegistry.updated,
    ):
        assert event.topic in ChainViews.topics
