import asyncio
import logging

import pytest
from podium.chain.follow import KEPT_HEADS
from podium.errors import ChainError, RpcError, RpcUnavailable, StoreError


def numbers(update):
    return [log.block_number for log in update.logs]


async def test_it_starts_at_the_head_without_history(scripted):
    chain = scripted.chain(l1=True)
    chain.mine(5, logs=1)
    world = scripted.world(chain)
    assert world.follower.head is None
    [update] = await world.step()
    assert update.reorg  # whatever was read before has to be read again
    assert update.logs == ()
    assert (update.head.number, update.head.l1_number, update.head.base_fee) == (7, 5000, 7)
    assert world.follower.head == update.head
    assert world.store.kept == [update.head]
    assert await world.step() == []


async def test_one_new_block_is_enough(scripted):
    world = scripted.world(scripted.chain())
    await world.step()
    world.chain.mine(logs=2)
    [update] = await world.step()
    assert (update.head.number, numbers(update), update.reorg) == (3, [3, 3], False)
    assert [log.index for log in update.logs] == [0, 1]
    world.chain.mine()
    [update] = await world.step()
    assert (update.head.number, update.logs, update.head.l1_number) == (4, (), 4)


async def test_a_gap_comes_whole_and_in_order_in_ranges_of_a_thousand(scripted):
    world = scripted.world(scripted.chain())
    await world.step()
    for _ in range(25):
        world.chain.mine(99)
        world.chain.mine(logs=1)
    [update] = await world.step()
    assert numbers(update) == [102 + 100 * i for i in range(25)]
    ranges = [p[0] for method, p in world.chain.calls if method == "eth_getLogs"]
    assert [int(r["toBlock"], 16) - int(r["fromBlock"], 16) + 1 for r in ranges] == [
        1000,
        1000,
        500,
    ]


async def test_a_block_with_too_many_logs_is_an_error_and_no_gap(scripted):
    chain = scripted.chain()
    world = scripted.world(chain)
    await world.step()
    chain.mine(logs=5)
    chain.max_logs = 4
    with pytest.raises(RpcError):
        await world.step()
    chain.max_logs = 5
    [update] = await world.step()
    assert numbers(update) == [3] * 5


@pytest.mark.parametrize("failing", range(4))
async def test_nothing_is_skipped_when_a_call_fails(scripted, failing):
    world = scripted.world(scripted.chain())
    await world.step()
    world.chain.mine(3, logs=1)
    world.chain.failing = {len(world.chain.calls) + failing}
    with pytest.raises(RpcUnavailable):
        await world.step()
    assert world.store.kept[-1].number == 2
    [update] = await world.step()
    assert numbers(update) == [3, 4, 5]


async def test_what_a_listener_did_not_take_comes_again(scripted):
    world = scripted.world(scripted.chain())
    await world.step()
    world.chain.mine(logs=1)
    world.listener.failing = True
    with pytest.raises(ChainError, match="a view could not be read"):
        await world.step()
    assert world.store.kept[-1].number == 2
    assert world.follower.head.number == 2
    world.listener.failing = False
    world.chain.mine(logs=1)
    [update] = await world.step()
    assert numbers(update) == [3, 4]


async def test_a_store_that_fails_makes_nothing_come_twice_until_a_restart(scripted):
    world = scripted.world(scripted.chain())
    await world.step()
    world.chain.mine(logs=1)
    world.store.failing = True
    with pytest.raises(StoreError):
        await world.step()
    assert [numbers(update) for update in world.listener.take()] == [[3]]
    world.store.failing = False
    world.chain.mine(logs=1)
    assert [numbers(update) for update in await world.step()] == [[4]]


async def test_a_restart_goes_on_where_it_was(scripted):
    world = scripted.world(scripted.chain())
    await world.step()
    world.chain.mine(3, logs=1)
    await world.step()
    world.restart()
    [update] = await world.step()  # nobody knows the head yet
    assert (update.head.number, update.logs, update.reorg) == (5, (), False)
    world.restart()
    world.chain.mine(3, logs=1)
    [update] = await world.step()
    assert (numbers(update), update.reorg) == ([6, 7, 8], False)


async def test_a_reorg_brings_the_logs_since_the_common_ancestor(scripted):
    world = scripted.world(scripted.chain())
    for _ in range(6):
        await world.step()
        world.chain.mine(logs=1)
    await world.step()
    world.chain.reorg(3, 4, logs=2)
    [update] = await world.step()
    assert update.reorg
    assert numbers(update) == [6, 6, 7, 7, 8, 8, 9, 9]
    assert [head.number for head in world.store.kept] == [2, 3, 4, 5, 9]
    world.chain.mine(logs=1)
    [update] = await world.step()
    assert (numbers(update), update.reorg) == ([10], False)


async def test_a_reorg_of_the_newest_block_alone(scripted):
    world = scripted.world(scripted.chain())
    await world.step()
    world.chain.mine(logs=1)
    await world.step()
    world.chain.reorg(1, 1, logs=1)
    [update] = await world.step()
    assert (update.head.number, numbers(update), update.reorg) == (3, [3], True)


async def test_a_reorg_while_the_node_was_down(scripted):
    world = scripted.world(scripted.chain())
    for _ in range(3):
        await world.step()
        world.chain.mine(logs=1)
    await world.step()
    world.restart()
    world.chain.reorg(2, 5, logs=1)
    [update] = await world.step()
    assert (numbers(update), update.reorg) == ([4, 5, 6, 7, 8], True)


async def test_a_reorg_between_head_and_logs_delivers_nothing_of_either(scripted):
    world = scripted.world(scripted.chain())
    await world.step()
    world.chain.mine(2, logs=1)
    # latest, the last head, the logs, and then the check of the head
    world.chain.at_call = {len(world.chain.calls) + 2: lambda: world.chain.reorg(1, 2, logs=1)}
    with pytest.raises(ChainError, match="block 4 changed while its logs were read"):
        await world.step()
    assert world.listener.take() == []
    [update] = await world.step()
    assert numbers(update) == [3, 4, 5]


async def test_a_reorg_deeper_than_what_is_kept_reads_everything_anew(scripted):
    world = scripted.world(scripted.chain())
    for _ in range(KEPT_HEADS + 10):
        await world.step()
        world.chain.mine(logs=1)
    await world.step()
    assert len(world.store.kept) == KEPT_HEADS
    world.chain.reorg(KEPT_HEADS + 5, KEPT_HEADS + 8, logs=1)
    [update] = await world.step()
    assert (update.head.number, update.logs, update.reorg) == (world.chain.number, (), True)


async def test_a_backlog_that_is_too_long_reads_everything_anew(scripted):
    world = scripted.world(scripted.chain(), max_backlog_blocks=50)
    await world.step()
    world.chain.mine(50, logs=1)
    [update] = await world.step()
    assert (len(update.logs), update.reorg) == (50, False)
    world.chain.mine(51, logs=1)
    [update] = await world.step()
    assert (update.logs, update.reorg) == ((), True)


async def test_an_endpoint_that_lags_is_no_reorg(scripted):
    world = scripted.world(scripted.chain())
    for _ in range(3):
        await world.step()
        world.chain.mine(2, logs=1)
    await world.step()
    world.chain.hidden_above = 5
    for _ in range(3):
        world.time += 4
        assert await world.step() == []
    world.chain.hidden_above = None
    world.chain.mine(logs=1)
    [update] = await world.step()
    assert (numbers(update), update.reorg) == ([9], False)


async def test_an_older_newest_block_is_no_news_and_hides_no_reorg(scripted):
    world = scripted.world(scripted.chain())
    for _ in range(3):
        await world.step()
        world.chain.mine(2, logs=1)
    await world.step()
    world.chain.latest = 7
    assert await world.step() == []
    world.chain.reorg(1, 1, logs=1)
    [update] = await world.step()
    assert (update.head.number, update.reorg) == (7, True)
    world.chain.latest = None
    [update] = await world.step()
    assert (numbers(update), update.reorg) == ([8], False)


async def test_short_lags_do_not_add_up(scripted):
    world = scripted.world(scripted.chain())
    await world.step()
    world.chain.mine(4)
    await world.step()
    for _ in range(4):
        world.chain.hidden_above = 4
        assert await world.step() == []
        world.time += 10
        world.chain.hidden_above = None
        world.chain.mine()
        [update] = await world.step()
        assert not update.reorg


async def test_a_chain_that_stays_shorter_was_rewound(scripted):
    world = scripted.world(scripted.chain())
    for _ in range(3):
        await world.step()
        world.chain.mine(2, logs=1)
    await world.step()
    world.chain.reorg(3, 0)
    assert await world.step() == []
    world.time += 16
    [update] = await world.step()
    assert (update.head.number, update.reorg) == (5, True)
    world.chain.mine(logs=1)
    [update] = await world.step()
    assert (numbers(update), update.reorg) == ([6], False)


async def test_another_chain_under_the_same_data_is_noticed_at_once(scripted):
    world = scripted.world(scripted.chain(2))
    for _ in range(5):
        await world.step()
        world.chain.mine(3, logs=1)
    await world.step()
    world.chain.reorg(10**6, 0)
    world.chain.blocks.clear()
    world.chain.mine(4, logs=1)
    world.restart()
    [update] = await world.step()
    assert (update.head.number, update.reorg) == (3, True)


async def test_logs_that_one_machine_did_not_have_yet_come_with_the_next_look(scripted):
    world = scripted.world(scripted.chain())
    await world.step()
    world.chain.mine(4, logs=1)
    world.chain.no_logs_above = 4
    assert [numbers(update) for update in await world.step()] == [[3, 4]]
    world.chain.no_logs_above = None
    world.chain.mine(logs=1)
    [update] = await world.step()
    assert (numbers(update), update.reorg) == ([5, 6, 7], False)
    world.chain.mine(logs=1)
    assert [numbers(update) for update in await world.step()] == [[8]]


async def test_logs_that_are_gone_at_the_next_look_are_a_reorg(scripted):
    world = scripted.world(scripted.chain())
    await world.step()
    world.chain.mine(3, logs=1)
    await world.step()
    world.chain.blocks[4] = (world.chain.blocks[4][0], [])
    world.chain.mine(logs=1)
    [update] = await world.step()
    assert (numbers(update), update.reorg) == ([3, 5, 6], True)


async def test_lag_is_told_by_the_heads_time_and_by_the_last_good_look(scripted):
    chain = scripted.chain()
    world = scripted.world(chain)
    world.time = 5
    assert world.follower.lag_s == 5
    await world.step()
    assert world.follower.lag_s == 0
    chain.hidden_above = 2
    chain.mine(30)
    assert world.follower.lag_s == 30
    world.time = 100
    assert world.follower.lag_s == 95


async def test_it_runs_on_through_trouble_and_says_so_once(scripted, caplog):
    caplog.set_level(logging.INFO, "podium.chain")
    world = scripted.world(scripted.chain())
    task = asyncio.create_task(world.follower.run())
    try:
        await _until(lambda: world.listener.updates)
        world.chain.failing = set(range(len(world.chain.calls), len(world.chain.calls) + 3))
        world.chain.mine(logs=1)
        await _until(lambda: len(world.listener.updates) == 2)
        assert numbers(world.listener.updates[1]) == [3]
        assert [record.getMessage() for record in caplog.records] == [
            "the chain is not followed for now: no endpoint answered",
            "the chain is followed again, after 3 failures",
        ]
    finally:
        task.cancel()


async def test_it_survives_a_listener_with_a_defect(scripted, caplog):
    world = scripted.world(scripted.chain())
    told = []

    async def listener(update):
        told.append(update)
        if len(told) == 1:
            raise KeyError("a defect")

    world.listener = listener
    world.restart()
    task = asyncio.create_task(world.follower.run())
    try:
        await _until(lambda: len(told) == 2)
        assert "KeyError in a listener" in caplog.text
        assert told[0] == told[1]
    finally:
        task.cancel()


async def test_a_backlog_that_takes_too_long_is_given_up(scripted):
    world = scripted.world(scripted.chain(), step_timeout_s=0.05)
    await world.step()
    world.chain.mine(3, logs=1)

    async def call(method, *params):
        if method == "eth_getLogs":
            await asyncio.sleep(1)
        return await scripted.chain.call(world.chain, method, *params)

    world.chain.call = call
    task = asyncio.create_task(world.follower.run())
    try:
        world.listener.take()
        await _until(lambda: world.listener.updates)
        [update] = world.listener.take()
        assert (update.reorg, update.head.number) == (True, 5)
    finally:
        task.cancel()


async def _until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 it waits for what has no event
            await asyncio.sleep(0.005)


async def test_an_idle_chain_is_word_of_it_too(scripted):
    world = scripted.world(scripted.chain())
    await world.step()
    assert world.idle_looks == 0
    await world.step()
    await world.step()
    assert world.idle_looks == 2
    world.chain.mine()
    await world.step()
    assert world.idle_looks == 2  # that was news
    world.chain.failing.add(len(world.chain.calls))
    with pytest.raises(RpcUnavailable):
        await world.step()
    assert world.idle_looks == 2  # and that was no word at all
