"""The senders that views hold: read once, kept current, bounded."""

import asyncio
import contextlib
import random
from types import SimpleNamespace

import pytest
from podium.chain.contracts import TicketBroker
from podium.chain.values import HeadUpdate
from podium.chain.views import ChainViews, SenderState, ViewSettings
from podium.crypto import checksum_address
from podium.errors import ChainError, RpcUnavailable
from podium.testing.rpc import FAKE_CONTRACTS, FakeProtocol

US = b"\x11" * 20
ALICE, BOB, CAROL = b"\xa1" * 20, b"\xb0" * 20, b"\xca" * 20
DOWN = RpcUnavailable("no endpoint answers")


@pytest.fixture
def chain():
    chain = FakeProtocol()
    chain.activate(US, 9)
    chain.senders = {ALICE: (1000, 0, 500, 0), BOB: (2000, 0, 0, 0)}
    return chain


@pytest.fixture
def make(chain):
    async def build(keep_sender=lambda _sender: False, **settings):
        known = SimpleNamespace(now=0.0, problems=[])
        known.views = ChainViews(
            chain.rpc,
            FAKE_CONTRACTS,
            US,
            settings=ViewSettings(**settings),
            keep_sender=keep_sender,
            on_problem=lambda part, error: known.problems.append((part, str(error))),
            now=lambda: known.now,
        )
        await known.views.start(chain.head)
        chain.rpc.calls.clear()
        chain.rpc.asked.clear()
        return known

    return build


@pytest.fixture
async def views(make):
    return (await make()).views


@pytest.fixture
def tell(chain):
    async def update(views, *logs, reorg=False):
        await views.on_update(HeadUpdate(chain.head, logs, reorg))

    return update


@pytest.fixture
def reads(chain):
    """How often a sender was read."""
    return lambda: chain.rpc.asked["getSenderInfo"]


def funded(chain, sender=ALICE):
    return chain.sender_log(TicketBroker.deposit_funded, sender)


async def test_a_sender_is_read_once(chain, views, reads):
    chain.senders[ALICE] = (1000, 12, 500, 30)
    chain.claimed[ALICE, US] = 20
    for _ in range(1000):
        assert await views.sender(ALICE) == SenderState(1000, 12, 500, 30, 20)
    assert reads() == 1
    assert chain.rpc.calls == {"eth_call": 2}


async def test_many_at_once_share_one_read(chain, views, reads):
    states = await asyncio.gather(*(views.sender(ALICE) for _ in range(100)))
    assert {state.deposit for state in states} == {1000}
    assert reads() == 1


async def test_one_who_gives_up_does_not_take_the_read_away(chain, views, reads):
    chain.rpc.gate.clear()
    first, second = (asyncio.create_task(views.sender(ALICE)) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first
    chain.rpc.gate.set()
    assert (await second).deposit == 1000
    assert (await views.sender(ALICE)).deposit == 1000
    assert reads() == 1


async def test_nobody_is_a_sender_with_nothing(views):
    assert await views.sender(CAROL) == SenderState(0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "event",
    [
        TicketBroker.deposit_funded,
        TicketBroker.reserve_funded,
        TicketBroker.withdrawal,
        TicketBroker.unlocked,
        TicketBroker.unlock_cancelled,
        TicketBroker.ticket_transfer,
        TicketBroker.reserve_claimed,
    ],
)
async def test_an_event_brings_a_read_of_that_sender(chain, views, tell, reads, event):
    await views.sender(ALICE)
    await views.sender(BOB)
    chain.senders[ALICE] = (7, 13, 8, 9)
    await tell(views, chain.sender_log(event, ALICE), chain.sender_log(event, ALICE))
    assert reads() == 3  # two events, one read
    calls = chain.rpc.calls.total()
    assert await views.sender(ALICE) == SenderState(7, 13, 8, 9, 0)
    assert chain.rpc.calls.total() == calls


async def test_events_of_unknown_senders_cost_nothing(chain, views, tell):
    await tell(views, funded(chain, CAROL))
    assert not chain.rpc.calls


async def test_an_event_during_a_read_brings_another(chain, views, tell, reads):
    chain.rpc.gate.clear()
    asking = asyncio.create_task(views.sender(ALICE))
    await asyncio.sleep(0.01)
    chain.mine()
    telling = asyncio.create_task(tell(views, funded(chain)))
    await asyncio.sleep(0.01)
    chain.senders[ALICE] = (5000, 0, 500, 0)
    chain.rpc.gate.set()
    assert (await asking).deposit == 5000
    await telling
    assert reads() == 2
    assert chain.rpc.blocks[-2:] == [hex(1006)] * 2  # at the event's block


async def test_a_sender_out_of_date_answers_for_a_while_then_fails_then_heals(make, chain, tell):
    known = await make(grace_s=60)
    await known.views.sender(ALICE)
    chain.senders[ALICE] = (0, 0, 0, 0)
    chain.rpc.error = DOWN
    await tell(known.views, funded(chain))
    assert known.problems[0][0] == f"sender {checksum_address(ALICE)}"
    known.now = 60
    assert (await known.views.sender(ALICE)).deposit == 1000
    known.now = 60.5
    with pytest.raises(RpcUnavailable):
        await known.views.sender(ALICE)
    chain.rpc.error = None
    assert (await known.views.sender(ALICE)).deposit == 0


async def test_it_is_read_again_at_the_next_block(make, chain, tell, reads):
    known = await make()
    await known.views.sender(ALICE)
    chain.rpc.error = DOWN
    await tell(known.views, funded(chain))
    chain.rpc.error = None
    chain.senders[ALICE] = (3, 0, 0, 0)
    chain.mine()
    await tell(known.views)
    before = reads()
    assert (await known.views.sender(ALICE)).deposit == 3
    chain.mine()
    await tell(known.views)
    assert reads() == before  # and only once


async def test_one_that_cannot_be_read_holds_up_no_other(make, chain, tell):
    known = await make(parallel_senders=1)
    for sender in (ALICE, BOB):
        await known.views.sender(sender)
    info = {BOB: (1, 0, 0, 0)}

    def answer(sender):
        deposit, *_, last = info[sender]  # ALICE: an answer that is none
        return (deposit, 0), (0, last)

    def refuse(sender):
        if sender == ALICE:
            raise RpcUnavailable("this one not")
        return answer(sender)

    chain.rpc.on(FAKE_CONTRACTS.ticket_broker, TicketBroker.get_sender_info, refuse)
    await tell(known.views, funded(chain, ALICE), funded(chain, BOB))
    assert (await known.views.sender(BOB)).deposit == 1
    assert len(known.problems) == 1


async def test_an_unknown_sender_fails_when_it_cannot_be_read_and_is_not_remembered(chain, views):
    chain.rpc.error = DOWN
    with pytest.raises(RpcUnavailable):
        await views.sender(ALICE)
    assert ALICE not in views._senders
    chain.rpc.error = None
    assert (await views.sender(ALICE)).deposit == 1000
    assert ALICE in views._senders


async def test_an_unknown_sender_is_not_waited_for_long(make, chain):
    known = await make(read_timeout_s=0.02)
    chain.rpc.gate.clear()
    with pytest.raises(RpcUnavailable, match=r"funds of 0xA1.* could not be read within 0.02 s"):
        await known.views.sender(ALICE)


async def test_unknown_senders_are_bounded(make, chain):
    known = await make(waiting_senders=3, parallel_senders=2, read_timeout_s=5)
    await known.views.sender(ALICE)
    chain.rpc.gate.clear()
    tasks = [asyncio.create_task(known.views.sender(bytes([n]) * 20)) for n in range(3)]
    await asyncio.sleep(0.01)
    assert chain.rpc.calls["eth_call"] == 2 + 2 * 2  # two at once
    with pytest.raises(ChainError, match="3 unknown senders"):
        await known.views.sender(BOB)
    assert (await known.views.sender(ALICE)).deposit == 1000  # the known ones do not notice
    chain.rpc.gate.set()
    await asyncio.gather(*tasks)
    assert (await known.views.sender(BOB)).deposit == 2000


async def test_invented_senders_do_not_use_up_the_endpoint(make, chain):
    known = await make(unknown_burst=3, unknown_per_s=2.0)
    for n in range(3):
        await known.views.sender(bytes([n]) * 20)
    with pytest.raises(RpcUnavailable, match="too many unknown senders"):
        await known.views.sender(ALICE)
    assert chain.rpc.calls["eth_call"] == 3 * 2
    known.now += 0.5
    assert (await known.views.sender(ALICE)).deposit == 1000
    assert (await known.views.sender(ALICE)).deposit == 1000, "the known ones do not count"
    with pytest.raises(RpcUnavailable, match="too many unknown senders"):
        await known.views.sender(BOB)


async def test_claims_begin_anew_when_a_round_ends(chain, views, tell, reads):
    chain.senders[ALICE] = (0, 0, 300, 200)
    chain.claimed[ALICE, US] = 200
    for sender in (ALICE, BOB):
        await views.sender(sender)
    chain.mine(95)  # the next round's first block; it is not initialized
    chain.senders[ALICE], chain.claimed = (0, 0, 300, 0), {}
    await tell(views)
    assert reads() == 3  # BOB's reserve was not touched
    assert await views.sender(ALICE) == SenderState(0, 0, 300, 0, 0)


async def test_a_new_round_checks_all_in_the_course_of_time(make, chain, tell, reads):
    known = await make(checks_per_update=2)
    senders = [bytes([n]) * 20 for n in range(5)]
    for sender in senders:
        await known.views.sender(sender)
    chain.mine(100)
    chain.senders = {sender: (1, 0, 0, 0) for sender in senders}  # and nobody told
    await tell(known.views, chain.initialize_round())
    seen = [reads()]
    for _ in range(3):
        chain.mine()
        await tell(known.views)
        seen.append(reads())
    assert seen == [7, 9, 10, 10]
    assert {(await known.views.sender(sender)).deposit for sender in senders} == {1}


async def test_the_least_recently_used_goes(make, chain, reads):
    known = await make(max_senders=2)
    for sender in (ALICE, BOB, ALICE, CAROL):  # BOB goes
        await known.views.sender(sender)
    assert reads() == 3
    await known.views.sender(ALICE)
    assert reads() == 3
    await known.views.sender(BOB)
    assert reads() == 4


async def test_who_has_something_pending_stays(make, chain, reads):
    known = await make(max_senders=1, keep_sender={ALICE}.__contains__)
    for sender in (ALICE, BOB, CAROL, ALICE):
        await known.views.sender(sender)
    assert reads() == 3


async def test_unused_senders_are_dropped(make, chain, tell, reads):
    known = await make(unused_s=100, keep_sender={BOB}.__contains__)
    for sender in (ALICE, BOB, CAROL):
        await known.views.sender(sender)
    known.now = 60
    await known.views.sender(CAROL)
    known.now = 120
    chain.mine()
    await tell(known.views)
    await known.views.sender(CAROL)
    await known.views.sender(BOB)
    assert reads() == 3
    await known.views.sender(ALICE)
    assert reads() == 4


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_happens_in_whatever_order_memory_ends_up_as_the_chain(
    make, chain, tell, seed
):
    luck = random.Random(seed)
    known = await make(grace_s=10**9, checks_per_update=1, max_senders=6, parallel_senders=2)
    senders = [bytes([n]) * 20 for n in range(1, 9)]

    async def ask():
        for _ in range(60):
            with contextlib.suppress(ChainError):
                await known.views.sender(luck.choice(senders))
            await asyncio.sleep(0)

    asking = [asyncio.create_task(ask()) for _ in range(3)]
    for _ in range(60):
        chain.rpc.error = DOWN if luck.random() < 0.2 else None
        (chain.rpc.gate.clear if luck.random() < 0.1 else chain.rpc.gate.set)()
        logs = []
        chain.mine(luck.choice([1, 1, 1, 30]))
        for sender in luck.sample(senders, luck.randrange(3)):
            chain.senders[sender] = tuple(luck.randrange(100) for _ in range(4))
            logs.append(funded(chain, sender))
        telling = asyncio.create_task(tell(known.views, *logs))
        for _ in range(luck.randrange(5)):
            await asyncio.sleep(0)
        chain.rpc.gate.set()
        await telling
    chain.rpc.error = None
    await asyncio.gather(*asking)
    chain.mine()
    await tell(known.views)
    before = chain.rpc.calls.total()
    held = [sender for sender in senders if sender in known.views._senders]
    assert held
    for sender in held:
        assert await known.views.sender(sender) == await known.views._read_sender(sender)
    assert chain.rpc.calls.total() == before + 2 * len(held)
