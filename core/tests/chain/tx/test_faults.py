"""Faults in the middle: nothing is forgotten, and nothing is sent twice."""

import asyncio

import pytest
from podium.errors import StoreError


async def test_a_replacement_that_could_not_be_stored_is_not_sent(
    chain, key, contract, once, open_manager, store, kit
):
    """Sent all the same, it might be mined, and after a crash nobody would know it."""
    chain.set_automine(False)
    manager = open_manager(replace_after_s=0.2, rebroadcast_s=0.05)
    sending = asyncio.create_task(manager.send(once(1)))
    await kit.until(lambda: "sent" in kit.kinds(manager))

    async def full(what):
        raise StoreError("the disk is full")

    store.before = kit.only_at("put", do=full)
    await kit.until(lambda: kit.kinds(manager).count("trouble") >= 2)
    await asyncio.sleep(0.3)
    known = {"0x" + each.hex() for tx in store.kept.values() for each in tx.hashes}
    pending = chain.rpc.call("eth_getBlockByNumber", "pending", True)["transactions"]
    assert {tx["hash"] for tx in pending} <= known
    store.before = None
    await kit.until(lambda: "replaced" in kit.kinds(manager))
    chain.set_automine(True)
    chain.mine(1)
    await sending
    assert kit.is_set(chain, contract, 1)


async def test_after_a_fault_of_ours_the_same_transaction_is_seen_through(
    chain, key, contract, once, open_manager, store, kit
):
    """A listener that fails must not make us send a second one."""
    chain.set_automine(False)
    manager = open_manager(confirmations=1)
    faults = [RuntimeError("a listener failed")]

    def hear(event):
        manager.events.append(event)
        if event.kind == "mined" and faults:
            raise faults.pop()

    manager._outbox.on_event = hear
    sending = asyncio.create_task(manager.send(once(1)))
    await kit.until(lambda: "sent" in kit.kinds(manager))
    chain.mine(1)
    with pytest.raises(RuntimeError):
        await sending
    again = asyncio.create_task(manager.send(once(1)))
    await asyncio.sleep(0.1)
    chain.mine(3)
    receipt = await again
    assert kit.sent_by(chain, key) == 1
    assert kit.sent_by(chain, key, "pending") == 1
    assert receipt.tx_hash
    assert not store.kept


async def test_a_count_that_is_far_too_high_does_not_empty_the_account(
    chain, key, once, open_manager, wire, kit
):
    """One false answer, and every nonce up to it was filled with a paid transaction."""
    wire.answers["eth_getTransactionCount"] = lambda *_: hex(1_000_000)
    manager = open_manager(replace_after_s=0.1)
    sending = asyncio.create_task(manager.send(once(1)))
    await kit.until(lambda: "sent" in kit.kinds(manager))
    del wire.answers["eth_getTransactionCount"]
    await asyncio.sleep(1)
    assert kit.sent_by(chain, key) == 0
    await manager.send(once(2))
    assert kit.sent_by(chain, key) == 1
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
