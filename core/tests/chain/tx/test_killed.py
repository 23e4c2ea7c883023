"""Transactions over failing endpoints and kills: each is sent once, none is lost."""

import asyncio
import random

import pytest
from podium.errors import (
    ChainError,
    Reverted,
    RpcUnavailable,
    StoreError,
    TxTimeout,
)

# ---------------------------------------------------------------- the endpoint


async def test_a_node_that_hangs_is_waited_for(kit, open_manager, once, chain, key):
    manager = open_manager()
    chain.set_automine(False)
    task = asyncio.create_task(manager.send(once(1)))
    await kit.until(lambda: "sent" in kit.kinds(manager))
    chain.pause_process()
    await asyncio.sleep(0.5)
    chain.resume_process()
    chain.mine()
    await task
    assert kit.sent_by(chain, key) == 1


async def test_an_answer_that_is_none_is_asked_for_again(kit, open_manager, once, chain, key, wire):
    manager = open_manager()
    wire.answers["eth_estimateGas"] = lambda *_: None
    with pytest.raises(ChainError, match="instead of a number"):
        await manager.send(once(1))
    del wire.answers["eth_estimateGas"]
    for method in ("eth_getTransactionReceipt", "eth_getTransactionCount"):
        wire.answers[method] = lambda *_: {}
    with pytest.raises(ChainError, match="instead of a number"):
        await manager.send(once(1))
    del wire.answers["eth_getTransactionCount"]
    task = asyncio.create_task(manager.send(once(1)))
    await kit.until(lambda: "trouble" in kit.kinds(manager))
    assert "instead of a receipt" in manager.events[-1].detail
    wire.answers.clear()
    await task
    assert kit.sent_by(chain, key) == 1


async def test_a_fault_of_ours_reaches_who_waits(open_manager, once, wire):
    def fault(*_):
        raise KeyError("ours")

    manager = open_manager()
    for method in ("eth_estimateGas", "eth_getTransactionReceipt"):
        wire.answers = {method: fault}
        with pytest.raises(KeyError, match="ours"):
            await manager.send(once(1))


async def test_trouble_with_the_endpoint_is_told_and_passes(
    kit, open_manager, once, chain, key, wire
):
    manager = open_manager()
    chain.set_automine(False)
    task = asyncio.create_task(manager.send(once(1)))
    await kit.until(lambda: "sent" in kit.kinds(manager))

    async def fail(what):
        raise RpcUnavailable("no endpoint")

    wire.before = fail
    await kit.until(lambda: "trouble" in kit.kinds(manager))
    chain.mine()
    with pytest.raises(RpcUnavailable):
        await manager.send(once(2))
    wire.before = None
    await task
    assert kit.sent_by(chain, key) == 1


async def test_a_broadcast_without_an_answer_is_repeated_not_doubled(
    kit, open_manager, once, chain, key, wire
):
    manager = open_manager(rebroadcast_s=0.1)
    failures = [True, True]

    def flaky(raw):
        if failures:
            failures.pop()
            raise RpcUnavailable("no endpoint answered")
        return chain.rpc.call("eth_sendRawTransaction", "0x" + raw.hex())

    wire.answers["broadcast"] = flaky
    await manager.send(once(1))
    assert kit.kinds(manager)[:2] == ["trouble", "sent"]
    assert kit.sent_by(chain, key) == 1


async def test_a_store_that_fails_in_the_end_is_asked_again(
    kit, open_manager, once, chain, key, store
):
    manager = open_manager()
    failures = [True]

    async def fail(what):
        if failures:
            failures.pop()
            raise StoreError("disk full")

    store.before = kit.only_at("remove", do=fail)
    await manager.send(once(1))
    assert "trouble" in kit.kinds(manager)
    assert store.kept == {}


# ---------------------------------------------------------------- killed


@pytest.mark.parametrize(
    ("where", "method", "stored"),
    [
        ("store.before", "put", 0),
        ("store.after", "put", 1),
        ("wire.before", "broadcast", 1),
        ("wire.after", "broadcast", 1),
        ("wire.before", "eth_getTransactionReceipt", 1),
        ("store.before", "remove", 1),
    ],
)
async def test_killed_at_any_point_it_is_sent_once(
    kit, open_manager, once, chain, key, contract, store, wire, where, method, stored
):
    name, _, moment = where.partition(".")
    place = {"store": store, "wire": wire}[name]
    first = open_manager()
    setattr(place, moment, kit.only_at(method))
    task = asyncio.create_task(first.send(once(1)))
    await asyncio.sleep(0.4)
    assert not task.done()
    await first.close()
    with pytest.raises((TxTimeout, asyncio.CancelledError)):
        await task
    assert len(store.kept) == stored
    setattr(place, moment, None)

    second = open_manager()
    assert await second.resume() == stored
    receipt = await second.send(once(1))
    assert kit.is_set(chain, contract, 1)
    assert kit.sent_by(chain, key) == 1
    assert (
        chain.rpc.call("eth_getTransactionReceipt", "0x" + receipt.tx_hash.hex())["status"] == "0x1"
    )
    assert store.kept == {}


async def test_what_ended_before_anybody_asked_is_not_lost(
    kit, open_manager, once, chain, key, store, wire
):
    first = open_manager()
    wire.after = kit.only_at("broadcast")
    task = asyncio.create_task(first.send(once(1)))
    await kit.until(lambda: kit.sent_by(chain, key) == 1)
    await first.close()
    with pytest.raises(TxTimeout, match="stays under way"):
        await task
    wire.after = None
    second = open_manager()
    await second.resume()
    await kit.until(lambda: "confirmed" in kit.kinds(second))
    assert store.kept == {}
    receipt = await second.send(once(1))
    assert receipt.tx_hash
    assert kit.sent_by(chain, key) == 1


async def test_a_stuck_one_from_before_a_restart_is_replaced(
    kit, open_manager, once, chain, key, store
):
    chain.set_automine(False)
    first = open_manager()
    task = asyncio.create_task(first.send(once(1)))
    await kit.until(lambda: "sent" in kit.kinds(first))
    await first.close()
    await asyncio.gather(task, return_exceptions=True)
    second = open_manager(replace_after_s=0.2, max_replacements=1)
    task = asyncio.create_task(second.send(once(1)))
    await kit.until(lambda: "replaced" in kit.kinds(second))
    chain.mine()
    receipt = await task
    assert kit.kinds(second)[0] == "resumed"
    mined = chain.rpc.call("eth_getTransactionByHash", "0x" + receipt.tx_hash.hex())
    assert int(mined["maxFeePerGas"], 16) > second.events[0].fees.cap


async def test_killed_at_random_everything_happens_exactly_once(
    kit, open_manager, once, chain, key, contract, store, wire
):
    """Twenty effects, killed until all are there: each transaction is sent once, none is lost."""
    chance = random.Random(7)
    done, reasons = set(), set()

    async def slow(what):
        await asyncio.sleep(chance.random() * 0.03)

    wire.before = wire.after = store.before = store.after = slow
    kills = 0
    while len(done) < 20:
        manager = open_manager()

        async def work(slot, manager=manager):
            try:
                await manager.send(once(slot))
            except Reverted as error:  # done, and killed before we were told
                reasons.add(error.reason)
            except TxTimeout:
                return
            done.add(slot)

        open_slots = [slot for slot in range(20) if slot not in done]
        tasks = [asyncio.create_task(work(slot)) for slot in open_slots]
        life_s = 0.05 + chance.random() * (0.3 + 0.1 * kills)
        await asyncio.wait(tasks, timeout=life_s)
        await manager.close()
        await asyncio.gather(*tasks)
        kills += 1
    assert kills > 3
    assert reasons <= {"ticket is used"}
    assert all(kit.is_set(chain, contract, slot) for slot in range(20))
    assert kit.sent_by(chain, key) == 20
    assert store.kept == {}
