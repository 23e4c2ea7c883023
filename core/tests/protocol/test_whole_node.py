"""Rewards with the real transaction manager, RPC pool and views, on a chain that makes blocks."""

import asyncio
import contextlib
import random
from contextlib import asynccontextmanager

import pytest
from podium.chain.contracts import BondingManager
from podium.chain.outbox import TxOptions
from podium.chain.reader import Addresses
from podium.chain.rpc import RpcLimits, RpcPool
from podium.chain.signer import LocalSigner
from podium.chain.tx import TransactionManager
from podium.devnet import ETHER
from podium.errors import ChainError
from podium.onchain.connect import MemoryStore
from podium.protocol.actions import Activate, execute, prepare
from podium.protocol.keeper import Pace
from podium.protocol.rewards import RewardService
from podium.protocol.rounds import RoundInitializer
from podium.protocol.state import read_account

PACE = Pace(check_s=0.05, verify_s=60, retry_s=0.05, max_retry_s=0.2, attempt_s=30)
QUICK = TxOptions(confirmations=1, poll_s=0.02, replace_after_s=0.5, timeout_s=20)
HURRY = RpcLimits(timeout_s=0.3, deadline_s=0.6)


class Miner:
    """Makes a block every 0.1 s while ``on``, whatever state the node's process is in."""

    def __init__(self, url):
        self.pool = RpcPool([url], limits=HURRY)
        self.on = True

    async def run(self):
        while True:
            await asyncio.sleep(0.1)
            with contextlib.suppress(ChainError):
                if self.on:
                    await self.pool.call("evm_mine")


@pytest.fixture
async def miner(devnet):
    made = Miner(devnet.rpc_url)
    devnet.set_automine(False)
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await made.pool.aclose()


@pytest.fixture
def active(devnet):
    """Two orchestrators, active."""
    devnet.register_orchestrator("orchestrator")
    devnet.bond("orchestrator2", 4000 * ETHER)
    devnet.next_round()


@pytest.fixture
def chain(active, devnet, miner):
    return devnet


def last_reward(devnet):
    account = devnet.account("orchestrator").address
    return devnet.call("BondingManager", BondingManager.get_transcoder, account)[0]


def rewards(devnet, since):
    """The rounds of all rewards there are, by their logs."""
    topic = "0x" + BondingManager.reward.topic.hex()
    query = {"fromBlock": hex(since), "toBlock": "latest", "topics": [topic]}
    return [int(log["blockNumber"], 16) // 60 for log in devnet.rpc.call("eth_getLogs", query)]


def pending(devnet):
    """Transactions that wait for a block, by sender."""
    return devnet.rpc.call("txpool_content")["pending"]


@asynccontextmanager
async def node(devnet, views, store, *services):
    """What a node runs for this, from start to kill."""
    pool = RpcPool([devnet.rpc_url], limits=HURRY)
    contracts = Addresses(
        *(devnet.addresses[n] for n in (
            "Controller", "BondingManager", "TicketBroker", "RoundsManager", "ServiceRegistry",
            "Minter", "LivepeerToken",
        ))
    )  # fmt: skip
    signer = LocalSigner(devnet.account("orchestrator").key)
    manager = TransactionManager(pool, signer, store, devnet.chain_id, options=QUICK)
    made = RewardService(pool, contracts, manager, views.known, lambda _event: None, pace=PACE)
    keepers = [made]
    if "rounds" in services:
        keepers.append(
            RoundInitializer(pool, contracts, manager, views.known, max_delay_s=0.1, pace=PACE)
        )

    async def follow():
        while True:
            try:
                async with asyncio.timeout(1):
                    await views.look()
            except Exception:  # noqa: BLE001 - the chain is away
                await asyncio.sleep(0.05)
            for keeper in keepers:
                keeper.wake()
            await asyncio.sleep(0.1)

    tasks = [asyncio.create_task(each) for each in (follow(), *(k.run() for k in keepers))]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await manager.close()
        await pool.aclose()


async def until(condition, timeout_s=20):
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  # a chain has no event to wait for
            await asyncio.sleep(0.05)


async def test_nonces_are_not_spent_twice_when_the_endpoint_hangs_in_mid_reward(
    chain, views, miner
):
    number, block = chain.current_round, chain.block_number
    me = chain.account("orchestrator")
    nonce = chain.rpc.number("eth_getTransactionCount", me.text, "latest")
    miner.on = False  # the transaction goes out, and no block comes
    async with node(chain, views, MemoryStore()) as service:
        await until(lambda: pending(chain))
        chain.pause_process()
        await asyncio.sleep(1.5)
        chain.resume_process()
        miner.on = True
        await until(lambda: last_reward(chain) == number)
        await until(lambda: service.situation == "rewarded")
    assert len(rewards(chain, block)) == 1
    assert chain.rpc.number("eth_getTransactionCount", me.text, "latest") == nonce + 1


async def test_a_reward_that_was_under_way_at_a_crash_is_not_sent_twice(chain, views, miner):
    number, block, store = chain.current_round, chain.block_number, MemoryStore()
    miner.on = False
    async with node(chain, views, store):
        await until(lambda: pending(chain))
    assert len(await store.under_way(chain.account("orchestrator").address)) == 1
    async with node(chain, views, store) as service:
        miner.on = True
        await until(lambda: last_reward(chain) == number)
        await until(lambda: service.situation == "rewarded")
    assert len(rewards(chain, block)) == 1


async def test_a_reward_that_is_stuck_below_the_base_fee_is_replaced(chain, views, miner):
    number, block = chain.current_round, chain.block_number
    miner.on = False
    async with node(chain, views, MemoryStore()) as service:
        await until(lambda: pending(chain))
        ((first,),) = (each.values() for each in pending(chain).values())
        chain.set_next_base_fee(50 * 10**9)
        miner.on = True
        await until(lambda: last_reward(chain) == number)
        await until(lambda: service.situation == "rewarded")
    assert len(rewards(chain, block)) == 1
    assert pending(chain) == {}
    # Another one of the same nonce was mined in its place.
    assert chain.rpc.call("eth_getTransactionReceipt", first["hash"]) is None


async def test_a_reward_that_a_reorg_drops_is_called_again(chain, views):
    number = chain.current_round
    async with node(chain, views, MemoryStore()) as service:
        await until(lambda: last_reward(chain) == number)
        await until(lambda: service.situation == "rewarded")
        chain.reorg(min(8, chain.block_number % 60 - 1))
        chain.drop_pending()
        await until(lambda: last_reward(chain) == number)


@pytest.mark.parametrize("seed", range(3))
async def test_no_round_stays_unrewarded_in_which_the_node_ran(chain, views, seed):
    """Kills, late starts and an endpoint that comes and goes; some rounds begin uninitialized."""
    chance = random.Random(seed)
    store, lived, block = MemoryStore(), set(), chain.block_number
    for _ in range(4):
        chain.mine(chance.randrange(20, 55))
        async with node(chain, views, store, "rounds"):
            lived.add(chain.current_round)
            for _ in range(chance.randrange(3)):
                chain.pause_process()
                await asyncio.sleep(chance.uniform(0.1, 0.8))
                chain.resume_process()
                await asyncio.sleep(chance.uniform(0.0, 0.2))
            await until(lambda: last_reward(chain) == chain.current_round)
    rewarded = rewards(chain, block)
    assert lived <= set(rewarded)
    assert len(rewarded) == len(set(rewarded))


async def test_activation_step_by_step_with_real_transactions(devnet, miner):
    pool = RpcPool([devnet.rpc_url])
    contracts = await Addresses.load(pool, devnet.controller)
    signer = LocalSigner(devnet.account("orchestrator").key)
    manager = TransactionManager(pool, signer, MemoryStore(), devnet.chain_id, options=QUICK)
    wanted = Activate(ETHER, 0, 0, "https://o.example:8935")
    plan = await prepare(pool, contracts, signer.address, wanted)

    async def refresh():
        return await read_account(pool, contracts, signer.address)

    receipts = await execute(plan, manager, refresh)
    assert len(receipts) == 4
    assert (await refresh()).transcoder.registered
    await manager.close()
    await pool.aclose()
