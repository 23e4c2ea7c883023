"""Predicted places in the pool hold against the contract's own rule, and against the contract."""

from hypothesis import given
from hypothesis import strategies as st
from podium.chain.contracts import BondingManager
from podium.devnet import ETHER
from podium.protocol.hints import NO_HINTS, Hints, Pool, predict_reward, read_pool
from podium.protocol.reading import BlockReader

NOBODY = bytes(20)


def address(number):
    return number.to_bytes(20, "big")


def pool_of(*stakes, max_size=100):
    return Pool([(address(n), stake) for n, stake in enumerate(stakes, 1)], max_size)


stakes = st.lists(st.integers(0, 12), max_size=8).map(lambda s: sorted(s, reverse=True))


@st.composite
def changes(draw):
    """A pool, one that is in it or comes new, and the stake it will have."""
    members = draw(stakes)
    size = draw(st.integers(max(1, len(members)), len(members) + 2))
    who = draw(st.integers(1, len(members) + 1))
    return pool_of(*members, max_size=size), address(who), draw(st.integers(0, 13))


def contract_accepts(pool, who, stake, hints):
    """SortedDoublyLL.validInsertPosition, once the contract has taken out who moves or gives way.

    Where the contract would not insert at all, no hint is the right one.
    """
    nodes = [member for member in pool.members if member[0] != who]
    if who not in pool and len(pool.members) >= pool.max_size:
        if stake <= pool.members[-1][1]:
            return hints == NO_HINTS
        nodes = nodes[:-1]
    keys = dict(nodes)
    order = [node for node, _ in nodes]
    previous, following = hints.previous, hints.following
    if previous == following == NOBODY:
        return not nodes
    if previous == NOBODY:
        return order[0] == following and stake >= keys[following]
    if following == NOBODY:
        return order[-1] == previous and stake <= keys[previous]
    adjacent = order.index(following) == order.index(previous) + 1
    return adjacent and keys[previous] >= stake >= keys[following]


@given(changes())
def test_the_contract_accepts_what_is_predicted(change):
    pool, who, stake = change
    assert contract_accepts(pool, who, stake, pool.hints(who, stake))


@given(changes())
def test_nobody_is_their_own_neighbour(change):
    pool, who, stake = change
    hints = pool.hints(who, stake)
    assert who not in (hints.previous, hints.following)


def test_who_stands_alone_or_finds_no_place_has_no_hints():
    assert pool_of().hints(address(1), 5) == NO_HINTS
    assert pool_of(5).hints(address(1), 9) == NO_HINTS
    assert pool_of(5, 4, max_size=2).hints(address(3), 4) == NO_HINTS
    assert pool_of(5, 4, max_size=2).hints(address(3), 5) == Hints(address(1), NOBODY)
    assert pool_of(5, 4, max_size=2).hints(address(2), 4) == Hints(address(1), NOBODY)


def test_the_least_stake_counts_only_when_there_is_no_place_left():
    assert pool_of(5, 4).least_stake == 0
    assert pool_of(5, 4, max_size=2).least_stake == 4
    assert Pool().least_stake == 0


def test_rewards_round_down_as_the_contract_does():
    # Round 3 of the recording: 1000 of 1500 LPT, 2414.5 LPT to mint.
    mintable = 24145 * 10**17
    assert predict_reward(mintable, 1000 * ETHER, 1500 * ETHER) == 1609666665057000000000
    assert predict_reward(mintable, 500 * ETHER, 1500 * ETHER) == 804833332528500000000
    assert predict_reward(mintable, 1, 0) == 0
    assert predict_reward(10**9, 1, 1, 10**26) == 9 * 10**8


async def test_the_pool_is_read_as_it_was_at_a_block(devnet, line, contracts):
    devnet.new_account("third", lptu=50 * ETHER)
    for name, stake in (("orchestrator", 20), ("orchestrator2", 30), ("third", 19)):
        devnet.bond(name, stake * ETHER)
    block = devnet.block_number
    devnet.bond("third", 5 * ETHER)
    names = {devnet.account(n).address: n for n in ("orchestrator", "orchestrator2", "third")}

    async def read(number):
        pool = await read_pool(BlockReader(line, number), contracts.bonding_manager)
        assert pool.max_size == 100
        return [(names[member], stake // ETHER) for member, stake in pool.members]

    assert await read(block) == [("orchestrator2", 30), ("orchestrator", 20), ("third", 19)]
    assert await read(devnet.block_number) == [
        ("orchestrator2", 30), ("third", 24), ("orchestrator", 20),
    ]  # fmt: skip


async def test_a_pool_without_end_is_not_walked_for_ever(line, contracts):
    class Endless:
        async def __call__(self, contract, function, *arguments):
            if function is BondingManager.pool_max_size:
                return 3
            return address(arguments[0][-1] + 1 if arguments else 1)

        async def each(self, calls):
            return [0 for _ in calls]

    pool = await read_pool(Endless(), contracts.bonding_manager)
    assert len(pool.members) == 3
