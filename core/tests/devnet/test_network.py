"""The contracts on a local chain: real Anvil, real contracts."""

import pytest
from podium.chain.contracts import (
    BondingManager,
    PriceFeedContract,
    RoundsManager,
    ServiceRegistry,
    TicketBroker,
    Token,
)
from podium.devnet import ETHER, DevnetError, Reverted


def sender_info(devnet, name):
    return devnet.call("TicketBroker", TicketBroker.get_sender_info, devnet.account(name).address)


def test_rounds_advance_and_keep_their_block_hash(devnet):
    first = devnet.current_round
    assert devnet.round_initialized
    assert devnet.to_next_round() == first + 1
    assert not devnet.round_initialized
    assert devnet.block_number % 60 == 0
    devnet.initialize_round()
    devnet.initialize_round()  # changes nothing
    assert devnet.round_initialized
    stored = devnet.call("RoundsManager", RoundsManager.block_hash_for_round, first + 1)
    block = devnet.rpc.call("eth_getBlockByNumber", hex(devnet.block_number), False)
    assert "0x" + stored.hex() == block["parentHash"]
    assert devnet.next_round() == first + 2


def test_an_orchestrator_registers_and_is_active_in_the_next_round(devnet):
    account = devnet.account("orchestrator")
    devnet.register_orchestrator(account, 3000 * ETHER, 100_000, 50_000, "https://o:8935")
    active = (BondingManager.is_active, account.address)
    assert not devnet.call("BondingManager", *active)
    devnet.next_round()
    assert devnet.call("BondingManager", *active)
    uri = devnet.call("ServiceRegistry", ServiceRegistry.get_uri, account.address)
    assert uri == "https://o:8935"
    stake = devnet.call("BondingManager", BondingManager.total_stake, account.address)
    assert stake == 3000 * ETHER
    cuts = devnet.call("BondingManager", BondingManager.get_transcoder, account.address)[1:3]
    assert cuts == (100_000, 50_000)


def test_a_delegator_adds_to_an_orchestrators_stake_and_rewards_are_minted(devnet):
    account = devnet.account("orchestrator")
    devnet.register_orchestrator(account, 3000 * ETHER)
    devnet.bond("delegator", 1000 * ETHER, to="orchestrator")
    devnet.next_round()
    none = bytes(20)
    devnet.send(account, "BondingManager", BondingManager.reward_with_hint, none, none)
    stake = devnet.call("BondingManager", BondingManager.total_stake, account.address)
    assert stake > 4000 * ETHER
    with pytest.raises(Reverted, match="already called reward for the current round"):
        devnet.send(account, "BondingManager", BondingManager.reward_with_hint, none, none)


def test_a_gateway_is_funded(devnet):
    devnet.fund_gateway("gateway", 3 * ETHER, 2 * ETHER)
    devnet.fund_gateway("gateway", ETHER, 0)
    assert sender_info(devnet, "gateway") == ((4 * ETHER, 0), (2 * ETHER, 0))
    assert devnet.balance(devnet.addresses["Minter"]) == 6 * ETHER


def test_each_test_starts_from_the_same_chain(devnet):
    assert sender_info(devnet, "gateway") == ((0, 0), (0, 0))
    assert devnet.current_round == 1
    assert "extra" not in devnet.accounts


def test_another_account_has_what_it_was_given(devnet):
    extra = devnet.new_account("extra", ETHER, lptu=5)
    assert devnet.balance(extra) == ETHER
    assert devnet.call("LivepeerToken", Token.balance_of, extra.address) == 5
    with pytest.raises(DevnetError, match="no account nobody: deployer, orchestrator"):
        devnet.account("nobody")


def test_a_reorg_undoes_what_the_blocks_held(devnet):
    devnet.fund_gateway("gateway", ETHER, 0)
    height, orphan = devnet.block_number, devnet.rpc.call("eth_getBlockByNumber", "latest", False)
    devnet.reorg(1)
    block = devnet.rpc.call("eth_getBlockByNumber", "latest", False)
    assert devnet.block_number == height
    assert block["hash"] != orphan["hash"]
    assert sender_info(devnet, "gateway") == ((0, 0), (0, 0))


def test_snapshots_go_back_once(devnet):
    snapshot = devnet.snapshot()
    devnet.fund_gateway("gateway", ETHER, 0)
    devnet.revert(snapshot)
    assert sender_info(devnet, "gateway") == ((0, 0), (0, 0))
    with pytest.raises(DevnetError, match="no snapshot"):
        devnet.revert(snapshot)


def test_the_next_base_fee_and_pending_transactions_are_ours_to_set(devnet):
    devnet.set_automine(False)
    gateway = devnet.account("gateway")
    devnet.set_next_base_fee(500 * 10**9)
    devnet.fund_gateway(gateway, ETHER, 0)  # the devnet mines for itself
    block = devnet.rpc.call("eth_getBlockByNumber", "latest", False)
    assert int(block["baseFeePerGas"], 16) == 500 * 10**9
    devnet.drop_pending()
    assert devnet.rpc.call("txpool_status")["pending"] == "0x0"


def test_the_price_feed_says_what_it_is_told(devnet):
    assert devnet.call("PriceFeed", PriceFeedContract.description) == "ETH / USD"
    assert devnet.call("PriceFeed", PriceFeedContract.decimals) == 8
    devnet.set_price(2_500 * 10**8, updated_at=1_700_000_000)
    latest = devnet.call("PriceFeed", PriceFeedContract.latest)
    assert latest == (1, 2_500 * 10**8, 1_700_000_000, 1_700_000_000, 1)
    devnet.set_price(-1)
    devnet.mine()
    _, price, updated, _, _ = devnet.call("PriceFeed", PriceFeedContract.latest)
    now = devnet.rpc.call("eth_getBlockByNumber", "latest", False)["timestamp"]
    assert price == -1
    assert abs(updated - int(now, 16)) <= 2


def test_a_frozen_node_does_not_answer_and_goes_on(devnet):
    from podium.devnet.rpc import Rpc

    devnet.pause_process()
    hasty = Rpc(devnet.rpc_url, timeout_s=0.3)
    with pytest.raises(DevnetError, match="no answer from the devnet"):
        hasty.call("eth_blockNumber")
    devnet.resume_process()
    assert devnet.block_number > 0
