"""Whatever happens, in whatever order, the listener knows what the chain has."""

import asyncio
import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st
from podium.errors import ChainError, StoreError

small = st.integers(0, 6)
events = st.one_of(
    st.tuples(st.just("mine"), st.integers(1, 5), st.integers(0, 2)),
    st.tuples(st.just("reorg"), st.integers(1, 8), small, st.integers(0, 2)),
    st.tuples(st.just("step")),
    st.tuples(st.just("step")),
    st.tuples(st.just("restart")),
    st.tuples(st.just("fail"), small),
    st.tuples(st.just("reorg_meanwhile"), small, st.integers(1, 6), small, st.integers(0, 2)),
    st.tuples(st.just("lag"), st.integers(1, 4)),
    st.tuples(st.just("truncate"), st.integers(1, 4)),
    st.tuples(st.just("listener_fails")),
    st.tuples(st.just("store_fails")),
)


class Player:
    """Plays a script; each of its methods is an event."""

    def __init__(self, world):
        self.world = world
        self.chain = world.chain
        self.top = 0

    async def play(self, script):
        for name, *values in script:
            await getattr(self, name)(*values)
            self.top = max(self.top, self.chain.number)

    async def step(self):
        with contextlib.suppress(ChainError, StoreError):
            await self.world.step()

    async def mine(self, count, logs):
        self.chain.mine(count, logs)

    async def reorg(self, depth, count, logs):
        self.chain.reorg(depth, count, logs)

    async def restart(self):
        self.world.restart()
        self.world.listener.is_new = True

    async def fail(self, at):
        self.chain.failing = {len(self.chain.calls) + at}

    async def reorg_meanwhile(self, at, *reorg):
        self.chain.at_call = {len(self.chain.calls) + at: lambda: self.chain.reorg(*reorg)}

    async def lag(self, blocks):
        self.chain.hidden_above = max(1, self.chain.number - blocks)
        await self.step()
        self.chain.hidden_above = None

    async def truncate(self, blocks):
        self.chain.no_logs_above = max(0, self.chain.number - blocks)
        await self.step()
        self.chain.no_logs_above = None
        self.chain.failing, self.chain.at_call = set(), {}
        self.chain.mine()
        await self.step()  # the same block twice is not survived

    async def listener_fails(self):
        self.world.listener.failing = True
        await self.step()
        self.world.listener.failing = False

    async def store_fails(self):
        self.world.store.failing = True
        await self.step()
        self.world.store.failing = False


@settings(max_examples=300, deadline=None)
@given(st.lists(events, max_size=40), st.sampled_from([0.0, 1e9]))
def test_what_a_view_knows_in_the_end_is_what_the_chain_has(scripted, script, rewind_after_s):
    async def run():
        world = scripted.world(scripted.chain(), rewind_after_s=rewind_after_s)
        await world.step()
        player, chain = Player(world), world.chain
        await player.play(script)
        chain.failing, chain.at_call = set(), {}
        chain.mine(max(1, player.top + 1 - chain.number), logs=1)
        for _ in range(3):
            await player.step()
            chain.mine(logs=1)
        await world.step()
        assert world.follower.head.number == chain.number
        assert world.listener.view == chain.logs_to(chain.number)
        assert world.store.kept[-1].hash == chain.blocks[-1][0]

    asyncio.run(run())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 2), st.booleans()), max_size=30))
def test_without_reorgs_each_log_comes_once_and_in_order(scripted, script):
    async def run():
        world = scripted.world(scripted.chain())
        await world.step()
        told = []
        for count, logs, restart in script:
            world.chain.mine(count, logs)
            if restart:
                world.restart()
            for update in await world.step():
                assert not update.reorg
                told += [(log.block_number, log.index) for log in update.logs]
        expected = [
            (number, index)
            for number, (_, entries) in enumerate(world.chain.blocks)
            for index in range(len(entries))
        ]
        assert told == expected

    asyncio.run(run())
