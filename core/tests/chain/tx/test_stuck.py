"""Transactions that wait: replaced, told again, and left alone where other programs are at work."""

import asyncio
import itertools

import pytest
from eth_abi.abi import encode
from podium.crypto import keccak256
from podium.errors import (
    Reverted,
    TxTimeout,
)

# ---------------------------------------------------------------- stuck


async def test_a_stuck_one_is_replaced(kit, open_manager, once, chain, key, store):
    manager = open_manager(replace_after_s=0.3, max_replacements=2)
    chain.set_automine(False)
    task = asyncio.create_task(manager.send(once(1)))
    await kit.until(lambda: kit.kinds(manager).count("replaced") == 2)
    (stored,) = store.kept.values()
    assert len(stored.raws) == len(set(stored.hashes)) == 3
    offers = [event.fees for event in manager.events if event.kind in ("sent", "replaced")]
    for old, new in itertools.pairwise(offers):
        assert new.cap * 8 >= old.cap * 9
        assert new.tip * 8 >= old.tip * 9
    await asyncio.sleep(0.7)  # no further replacement
    assert kit.kinds(manager).count("replaced") == 2
    chain.mine()
    receipt = await task
    assert receipt.tx_hash == stored.hashes[-1]
    assert kit.sent_by(chain, key) == 1


async def test_an_older_form_may_be_the_one_that_is_mined(
    kit, open_manager, once, chain, key, store, wire
):
    manager = open_manager(replace_after_s=0.2, max_replacements=1)
    chain.set_automine(False)
    task = asyncio.create_task(manager.send(once(1)))
    await kit.until(lambda: "sent" in kit.kinds(manager))
    wire.answers["broadcast"] = keccak256  # the replacement gets lost on its way
    await kit.until(lambda: "replaced" in kit.kinds(manager))
    (stored,) = store.kept.values()
    chain.mine()
    assert (await task).tx_hash == stored.hashes[0]


async def test_fees_never_rise_above_the_maximum(kit, open_manager, once, chain, store):
    chain.mine(60)  # empty blocks: the base fee falls
    base = int(chain.rpc.call("eth_getBlockByNumber", "latest", False)["baseFeePerGas"], 16)
    manager = open_manager(max_fee=base + 2, replace_after_s=0.2)
    chain.set_automine(False)
    task = asyncio.create_task(manager.send(once(1)))
    await kit.until(lambda: kit.kinds(manager).count("capped") >= 2)
    (stored,) = store.kept.values()
    assert len(stored.raws) == 1
    assert manager.events[-1].fees.cap <= base + 2
    chain.mine()
    await task


async def test_only_the_first_in_line_is_replaced(kit, open_manager, once, chain, store):
    manager = open_manager(replace_after_s=0.3, max_replacements=1)
    chain.set_automine(False)
    tasks = [asyncio.create_task(manager.send(once(slot))) for slot in range(3)]
    await kit.until(lambda: "replaced" in kit.kinds(manager))
    await asyncio.sleep(0.5)
    by_nonce = sorted(store.kept.values(), key=lambda tx: tx.nonce)
    assert [len(tx.raws) for tx in by_nonce] == [2, 1, 1]
    chain.mine()
    await asyncio.gather(*tasks)


async def test_a_node_that_forgets_is_told_again(kit, open_manager, once, chain, key):
    manager = open_manager(rebroadcast_s=0.2)
    chain.set_automine(False)
    task = asyncio.create_task(manager.send(once(1)))
    await kit.until(lambda: "sent" in kit.kinds(manager))
    chain.drop_pending()
    await asyncio.sleep(0.5)
    chain.mine()
    await task
    assert kit.sent_by(chain, key) == 1


async def test_time_up_leaves_it_under_way(kit, open_manager, once, chain, key, store):
    manager = open_manager()
    chain.set_automine(False)
    with pytest.raises(
        TxTimeout, match=r"timed out waiting for transaction receipt txHash=0x\w{64}"
    ):
        await manager.send(once(1), timeout_s=0.3)
    task = asyncio.create_task(manager.send(once(1)))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(store.kept) == 1
    chain.mine()
    await kit.until(lambda: "confirmed" in kit.kinds(manager))
    assert (await manager.send(once(1))).block_number == chain.block_number
    assert kit.sent_by(chain, key) == 1
    with pytest.raises(Reverted):  # its outcome was given out: this is a new one
        await manager.send(once(1))


# ---------------------------------------------------------------- reorgs and other hands


async def test_a_reorg_that_drops_it_is_undone(kit, open_manager, once, chain, key, contract):
    manager = open_manager(confirmations=2)
    task = asyncio.create_task(manager.send(once(1)))
    await kit.until(lambda: "mined" in kit.kinds(manager))
    first = chain.block_number
    chain.reorg(1)
    assert not kit.is_set(chain, contract, 1)
    await kit.until(lambda: "dropped" in kit.kinds(manager))
    await kit.until(lambda: kit.kinds(manager).count("mined") == 2)
    chain.mine(2)
    receipt = await task
    assert receipt.block_number >= first
    assert kit.is_set(chain, contract, 1)
    assert kit.sent_by(chain, key) == 1


async def test_a_nonce_that_another_program_used_is_replaced_by_a_new_one(
    kit, open_manager, once, chain, key, contract, store
):
    manager = open_manager()
    chain.set_automine(False)
    task = asyncio.create_task(manager.send(once(1)))
    await kit.until(lambda: "sent" in kit.kinds(manager))
    chain.drop_pending()
    kit.send_by_hand(chain, key, b"\x01" * 20, 0)
    chain.set_automine(True)
    chain.mine()
    receipt = await task
    assert "foreign" in kit.kinds(manager)
    assert kit.is_set(chain, contract, 1)
    assert (
        int(chain.rpc.call("eth_getTransactionByHash", "0x" + receipt.tx_hash.hex())["nonce"], 16)
        == 1
    )
    assert store.kept == {}


async def test_what_another_program_did_already_is_not_done_again(
    kit, open_manager, once, chain, key, contract, store
):
    manager = open_manager()
    chain.set_automine(False)
    task = asyncio.create_task(manager.send(once(1)))
    await kit.until(lambda: "sent" in kit.kinds(manager))
    chain.drop_pending()
    kit.send_by_hand(chain, key, contract, 0, encode(["uint256"], [1]))
    chain.mine()
    with pytest.raises(Reverted) as raised:
        await task
    assert raised.value.reason == "ticket is used"
    assert kit.sent_by(chain, key, "pending") == 1
    assert store.kept == {}


async def test_a_foreign_nonce_counts_only_once_no_reorg_can_bring_ours_back(
    kit, open_manager, once, chain, key
):
    manager = open_manager(confirmations=2)
    chain.set_automine(False)
    task = asyncio.create_task(manager.send(once(1)))
    await kit.until(lambda: "sent" in kit.kinds(manager))
    chain.drop_pending()
    kit.send_by_hand(chain, key, b"\x01" * 20, 0)
    chain.mine()
    await asyncio.sleep(0.3)
    assert "foreign" not in kit.kinds(manager)
    chain.mine(3)
    await kit.until(lambda: kit.kinds(manager).count("sent") == 2)
    chain.mine(3)
    await task


async def test_a_count_that_lags_behind_is_repaired(kit, open_manager, once, chain, key, wire):
    manager = open_manager()
    await manager.send(once(1))
    kit.send_by_hand(chain, key, b"\x01" * 20, 1)
    counts = ["0x0"]

    def behind(address, block):
        if block == "pending" and counts:
            return counts.pop()
        return hex(kit.sent_by(chain, key, block))

    wire.answers["eth_getTransactionCount"] = behind
    await manager.send(once(2))
    assert "refused" in kit.kinds(manager)
    assert kit.sent_by(chain, key) == 3


async def test_a_gap_that_another_program_leaves_is_filled(
    kit, open_manager, once, chain, key, store
):
    manager = open_manager(replace_after_s=0.3, rebroadcast_s=0.2)
    chain.set_automine(False)
    foreign = kit.send_by_hand(chain, key, b"\x01" * 20, 0)
    task = asyncio.create_task(manager.send(once(1)))
    await kit.until(lambda: "sent" in kit.kinds(manager))
    assert [tx.nonce for tx in manager.under_way()] == [1]
    chain.rpc.call("anvil_dropTransaction", foreign)
    await kit.until(lambda: [tx.nonce for tx in manager.under_way()] == [0, 1])
    await kit.until(lambda: kit.kinds(manager).count("sent") == 2)
    chain.mine()
    await task
    await kit.until(lambda: not store.kept)
    assert kit.sent_by(chain, key) == 2


async def test_another_program_s_waiting_transaction_is_left_alone(
    kit, open_manager, once, chain, key
):
    manager = open_manager(replace_after_s=0.2, max_replacements=0)
    chain.set_automine(False)
    foreign = kit.send_by_hand(chain, key, b"\x01" * 20, 0)
    task = asyncio.create_task(manager.send(once(1)))
    await kit.until(lambda: "sent" in kit.kinds(manager))
    await asyncio.sleep(0.6)
    assert [tx.nonce for tx in manager.under_way()] == [1]
    chain.mine()
    await task
    assert chain.rpc.call("eth_getTransactionReceipt", foreign)["status"] == "0x1"
