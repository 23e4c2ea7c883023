"""Transactions on a real chain: sent once each, refused before they cost anything."""

import asyncio

import pytest
from eth_abi.abi import encode
from podium.chain.values import TxRequest
from podium.crypto import checksum_address
from podium.devnet import ETHER, GWEI
from podium.errors import (
    AccountError,
    GasPriceTooHigh,
    InsufficientFunds,
    Reverted,
    RpcError,
    StoreError,
    TxFailed,
    TxTimeout,
)

# ---------------------------------------------------------------- as it should be


async def test_a_transaction_is_sent_and_forgotten_when_it_is_done(
    kit, open_manager, once, chain, key, store, contract
):
    manager = open_manager()
    receipt = await manager.send(once(1))
    assert kit.is_set(chain, contract, 1)
    assert receipt.gas_used > 21_000
    assert receipt.gas_price > 0
    assert receipt.cost == receipt.gas_used * receipt.gas_price
    assert kit.kinds(manager) == ["sent", "mined", "confirmed"]
    assert manager.events[-1].receipt == receipt
    assert (store.kept, manager.under_way()) == ({}, [])
    assert manager.address == key.address
    raw = chain.rpc.call("eth_getTransactionByHash", "0x" + receipt.tx_hash.hex())
    estimate = chain.rpc.number(
        "eth_estimateGas",
        {
            "from": checksum_address(key.address),
            "to": checksum_address(contract),
            "data": "0x" + encode(["uint256"], [2]).hex(),
        },
    )
    assert raw["type"] == "0x2"
    assert int(raw["gas"], 16) == estimate * 120 // 100


async def test_many_at_once_take_one_nonce_each(kit, open_manager, once, chain, key, store):
    manager = open_manager()
    chain.set_automine(False)
    sends = [asyncio.create_task(manager.send(once(slot))) for slot in range(40)]
    await kit.until(lambda: len(manager.under_way()) == 40)
    await kit.until(lambda: kit.kinds(manager).count("sent") == 40)
    assert [tx.nonce for tx in manager.under_way()] == list(range(40))
    chain.mine()
    receipts = await asyncio.gather(*sends)
    assert len({receipt.tx_hash for receipt in receipts}) == 40
    assert {receipt.block_number for receipt in receipts} == {chain.block_number}
    assert kit.sent_by(chain, key) == 40
    assert store.kept == {}


async def test_a_second_request_of_a_key_waits_for_the_first(kit, open_manager, once, chain, key):
    manager = open_manager()
    first, second = await asyncio.gather(manager.send(once(1)), manager.send(once(1)))
    assert first == second
    assert kit.sent_by(chain, key) == 1


async def test_an_outcome_is_told_once_a_later_request_is_a_new_one(kit, open_manager, chain, key):
    manager = open_manager()
    pay = TxRequest(b"\x01" * 20, b"", "pay", "pay", value=1)
    first = await manager.send(pay)
    second = await manager.send(pay)
    assert first.tx_hash != second.tx_hash
    assert kit.sent_by(chain, key) == 2


async def test_it_counts_when_enough_blocks_have_followed(kit, open_manager, once, chain):
    manager = open_manager(confirmations=3)
    task = asyncio.create_task(manager.send(once(1)))
    await kit.until(lambda: "mined" in kit.kinds(manager))
    chain.mine(2)
    await asyncio.sleep(0.2)
    assert not task.done()
    chain.mine()
    assert (await task).block_number == chain.block_number - 3


# ---------------------------------------------------------------- refused before anything is sent


async def test_a_revert_costs_nothing(kit, open_manager, once, chain, key, store):
    manager = open_manager()
    await manager.send(once(1))
    balance = chain.balance(key.address)
    for request in (once(1, key="again"), once(1, key="fixed", gas_limit=200_000)):
        with pytest.raises(Reverted) as raised:
            await manager.send(request)
        assert raised.value.reason == "ticket is used"
    assert kit.sent_by(chain, key) == 1
    assert chain.balance(key.address) == balance
    assert store.kept == {}
    assert kit.kinds(manager)[-1] == "given_up"


async def test_an_account_without_funds_is_told_what_it_needs(
    open_manager, once, chain, key, store
):
    chain.set_balance(key.address, 1000)
    manager = open_manager()
    with pytest.raises(InsufficientFunds, match=r"has 0\.000000000000001 ETH, .* cost 0\.0\d+"):
        await manager.send(once(1))
    with pytest.raises(InsufficientFunds):
        await manager.send(TxRequest(b"\x01" * 20, b"", "pay", "pay", value=2000))
    assert store.kept == {}
    chain.set_balance(key.address, ETHER)
    await manager.send(once(1))


async def test_gas_beyond_the_operator_s_maximum_is_not_paid(open_manager, once, chain, key, store):
    chain.set_next_base_fee(50 * GWEI)
    chain.mine()
    manager = open_manager(max_fee=10 * GWEI)
    with pytest.raises(GasPriceTooHigh, match="max=10 GWei current=50 GWei"):
        await manager.send(once(1))
    assert store.kept == {}
    manager.max_fee = 100 * GWEI
    await manager.send(once(1))
    assert manager.events[-1].fees.cap <= 100 * GWEI


async def test_what_cannot_be_stored_is_not_sent(kit, open_manager, once, chain, key, store):
    manager = open_manager()

    async def fail(what):
        raise StoreError("disk full")

    store.before = kit.only_at("put", do=fail)
    with pytest.raises(StoreError):
        await manager.send(once(1))
    store.before = None
    assert kit.sent_by(chain, key, "pending") == 0
    await manager.send(once(1))
    assert kit.sent_by(chain, key) == 1


async def test_what_the_chain_refuses_leaves_no_gap(
    kit, open_manager, once, chain, key, store, wire
):
    manager = open_manager()

    def refuse(raw):
        raise RpcError("tx type not supported")

    wire.answers["broadcast"] = refuse
    with pytest.raises(RpcError, match="not supported"):
        await manager.send(once(1))
    assert store.kept == {}
    del wire.answers["broadcast"]
    await manager.send(once(1))
    assert kit.sent_by(chain, key) == 1


async def test_one_that_was_taken_without_an_answer_is_seen_through(
    kit, open_manager, once, chain, key, wire
):
    """One endpoint took it and hung, another refused it."""
    manager = open_manager()

    def taken(raw):
        chain.rpc.call("eth_sendRawTransaction", "0x" + raw.hex())
        raise RpcError("nonce too high", kind="nonce_too_high")

    wire.answers["broadcast"] = taken
    await manager.send(once(1))
    assert kit.sent_by(chain, key) == 1


async def test_a_signer_that_does_not_answer_is_given_up(
    kit, open_manager, once, chain, key, store, monkeypatch
):
    manager = open_manager(sign_timeout_s=0.05)
    monkeypatch.setattr(key, "sign_transaction", kit.hang)
    with pytest.raises(AccountError, match=r"no answer in 0\.05 s"):
        await manager.send(once(1))
    monkeypatch.undo()
    await manager.send(once(1))
    assert kit.sent_by(chain, key) == 1


async def test_a_caller_who_leaves_early_has_sent_nothing(
    kit, open_manager, once, chain, key, store, wire
):
    manager = open_manager()
    wire.before = kit.only_at("eth_estimateGas")
    with pytest.raises(TxTimeout, match="could not be sent in time"):
        await manager.send(once(1), timeout_s=0.1)
    task = asyncio.create_task(manager.send(once(1)))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    wire.before = None
    await asyncio.sleep(0.1)
    assert (kit.sent_by(chain, key, "pending"), store.kept) == (0, {})
    await manager.send(once(1))


# ---------------------------------------------------------------- mined and failed


async def test_one_that_reverts_when_it_is_mined_says_why(
    kit, open_manager, once, chain, key, store
):
    manager = open_manager()
    chain.set_automine(False)
    rivals = [
        asyncio.create_task(manager.send(once(1, key=name, gas_limit=100_000)))
        for name in ("first", "second")
    ]
    await kit.until(lambda: kit.kinds(manager).count("sent") == 2)
    chain.mine()
    outcomes = await asyncio.gather(*rivals, return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, TxFailed)]
    assert len(failures) == 1
    assert failures[0].reason == "ticket is used"
    assert f"transaction failed txHash=0x{failures[0].tx_hash.hex()}" in str(failures[0])
    assert store.kept == {}
    (failed,) = [event for event in manager.events if event.kind == "failed"]
    assert failed.detail == "ticket is used"
    assert failed.receipt.gas_used > 21_000
