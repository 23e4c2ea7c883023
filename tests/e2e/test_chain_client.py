"""The chain client against a real chain with the real contracts."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from podium.chain.contracts import RoundsManager, TicketBroker
from podium.chain.follow import FollowLimits, HeadFollower
from podium.chain.gas import GasMonitor
from podium.chain.networks import find_network
from podium.chain.reader import Addresses, read
from podium.chain.rpc import RpcLimits, RpcPool
from podium.devnet import ETHER, GWEI
from podium.errors import Reverted, RpcError, RpcUnavailable

TOPICS = [
    TicketBroker.deposit_funded.topic,
    TicketBroker.reserve_funded.topic,
    RoundsManager.new_round.topic,
]


class Store:
    def __init__(self):
        self.kept = []

    async def heads(self):
        return self.kept

    async def keep_heads(self, heads):
        self.kept = list(heads)


class Followed:
    """A follower of a devnet, and what it has told."""

    def __init__(self, devnet, pool, store):
        self.updates = []
        self.follower = HeadFollower(
            pool,
            store,
            [devnet.addresses["TicketBroker"], devnet.addresses["RoundsManager"]],
            TOPICS,
            self.note,
            0.1,
            limits=FollowLimits(rewind_after_s=0.0),
        )

    async def note(self, update):
        self.updates.append(update)

    async def step(self):
        await self.follower.step()
        taken, self.updates = self.updates, []
        return taken


@asynccontextmanager
async def pool_of(devnet, *urls, **limits):
    network = find_network("devnet", devnet.controller)
    pool = RpcPool([*urls, devnet.rpc_url], chain_id=network.chain_id, limits=RpcLimits(**limits))
    try:
        yield pool
    finally:
        await pool.aclose()


async def test_contracts_reverts_and_unknown_blocks(devnet):
    async with pool_of(devnet, "http://127.0.0.1:1/") as pool:
        addresses = await Addresses.load(pool, devnet.controller)
        assert addresses.ticket_broker == devnet.addresses["TicketBroker"]
        newest = int(await pool.call("eth_blockNumber"), 16)
        manager = addresses.rounds_manager
        assert await read(pool, manager, RoundsManager.initialized, block=newest)
        with pytest.raises(Reverted) as raised:
            await read(pool, manager, RoundsManager.initialize)
        assert raised.value.reason == "round already initialized"
        with pytest.raises(Reverted) as raised:
            await read(pool, addresses.ticket_broker, TicketBroker.unlock)
        assert raised.value.reason
        with pytest.raises(RpcUnavailable, match="BlockOutOfRange"):
            await read(pool, manager, RoundsManager.initialized, block=newest + 1000)
        assert await pool.call("eth_getBlockByNumber", hex(newest + 1000), False) is None


async def test_refused_transactions_have_their_kind(devnet):
    async with pool_of(devnet) as pool:
        devnet.transfer("gateway", b"\1" * 20, 1)
        block = await pool.call("eth_getBlockByNumber", "latest", True)
        sent = block["transactions"][0]
        raw = await pool.call("eth_getRawTransactionByHash", sent["hash"])
        with pytest.raises(RpcError) as raised:
            await pool.broadcast(bytes.fromhex(raw[2:]))
        assert raised.value.kind in {"nonce_too_low", "already_known"}


async def test_logs_are_followed_over_a_reorg_and_a_rewind(devnet):
    async with pool_of(devnet) as pool:
        store = Store()
        followed = Followed(devnet, pool, store)
        [update] = await followed.step()
        assert update.head.number == devnet.block_number

        devnet.fund_gateway("gateway", ETHER, ETHER)
        [update] = await followed.step()
        assert [log.topics[0] for log in update.logs] == [TOPICS[1], TOPICS[0]]
        event = TicketBroker.deposit_funded.decode(update.logs[1])
        assert event == {"sender": devnet.account("gateway").address, "amount": ETHER}

        devnet.reorg(1)
        [update] = await followed.step()
        assert update.reorg
        assert update.logs == ()  # its funds never came

        snapshot = devnet.snapshot()
        devnet.mine(5)
        devnet.fund_gateway("gateway", ETHER, ETHER)
        [update] = await followed.step()
        assert len(update.logs) == 2
        devnet.revert(snapshot)
        [update] = await followed.step()
        assert update.reorg
        assert update.head.number == devnet.block_number

        followed = Followed(devnet, pool, store)  # a restart, and a long absence
        devnet.mine(1100)
        devnet.to_next_round()
        devnet.initialize_round()
        [update] = await followed.step()
        assert [log.topics[0] for log in update.logs] == [TOPICS[2]]
        assert not update.reorg


async def test_a_node_that_hangs_loses_nothing(devnet):
    async with pool_of(devnet, timeout_s=0.3, deadline_s=0.6) as pool:
        followed = Followed(devnet, pool, Store())
        task = asyncio.create_task(followed.follower.run())
        try:
            await _until(lambda: followed.updates)
            devnet.fund_gateway("gateway", ETHER, ETHER)
            devnet.pause_process()
            await asyncio.sleep(1.5)
            devnet.resume_process()
            await _until(lambda: sum(len(update.logs) for update in followed.updates) == 2)
            assert followed.follower.head.number == devnet.block_number
        finally:
            task.cancel()


async def test_gas_spikes_are_seen_and_smoothed(devnet):
    async with pool_of(devnet) as pool:
        devnet.mine(60)
        gas = GasMonitor(pool)
        await gas.refresh()
        before = gas.wei
        assert before
        devnet.set_next_base_fee(500 * GWEI)
        devnet.mine()
        await gas.refresh()
        assert gas.current_wei > 400 * GWEI
        assert gas.wei == before


async def _until(condition):
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110 it waits for what has no event
            await asyncio.sleep(0.01)
