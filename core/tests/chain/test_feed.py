"""Prices in a currency, by a Chainlink feed."""

from fractions import Fraction
from types import SimpleNamespace

import pytest
from podium.chain.contracts import PriceFeedContract
from podium.chain.feed import PriceFeed
from podium.errors import ChainError, PriceFeedError, RpcUnavailable
from podium.testing.rpc import FakeRpc

ADDRESS = b"\xfe" * 20
DOWN = RpcUnavailable("no endpoint answers")
HOUR = 3600


class Stop(Exception):
    """Ends a loop without an end."""


@pytest.fixture
def world():
    """A feed of 3000.12 USD for an ETH, and a clock that sleeping moves."""
    world = SimpleNamespace(
        rpc=FakeRpc(),
        description="ETH / USD",
        decimals=8,
        answer=3000_12 * 10**6,
        updated_at=10 * HOUR,
        now=10 * HOUR + 100.0,
        slept=[],
        problems=[],
        when_asleep=lambda: None,
    )
    on = world.rpc.on
    on(ADDRESS, PriceFeedContract.description, lambda: world.description)
    on(ADDRESS, PriceFeedContract.decimals, lambda: world.decimals)
    on(ADDRESS, PriceFeedContract.latest, lambda: (1, world.answer, 0, world.updated_at, 1))

    async def sleep(seconds):
        world.slept.append(seconds)
        world.now += seconds
        world.when_asleep()

    world.feed = PriceFeed(
        world.rpc,
        ADDRESS,
        on_problem=world.problems.append,
        now=lambda: world.now,
        sleep=sleep,
    )
    return world


async def test_eth_first(world):
    await world.feed.start("usd")
    assert world.feed.wei(Fraction(1, 10**6), "usd") == Fraction(10**12 * 100, 3000_12)
    assert world.feed.wei(Fraction(300012, 100), "USD") == 10**18


async def test_eth_second(world):
    world.description, world.decimals, world.answer = "usd/eth", 18, 5 * 10**14
    await world.feed.start("USD")
    assert world.feed.wei(Fraction(3), "USD") == 3 * 5 * 10**14


async def test_some_currencies_need_no_feed(world):
    assert world.feed.wei(Fraction(7, 3), "") == Fraction(7, 3)
    assert world.feed.wei(Fraction(7, 3), "wei") == Fraction(7, 3)
    assert world.feed.wei(Fraction(7, 3), "Eth") == Fraction(7 * 10**18, 3)
    assert not world.rpc.calls


async def test_never_read_never_priced(world):
    with pytest.raises(PriceFeedError, match=r"^PriceFeedWatcher is not initialized$"):
        world.feed.wei(Fraction(1), "usd")
    world.rpc.error = DOWN
    with pytest.raises(ChainError):
        await world.feed.start()
    with pytest.raises(PriceFeedError, match="not initialized"):
        world.feed.wei(Fraction(1), "usd")
    assert world.feed.answer is None
    assert world.feed.age_s is None
    assert world.feed.stale


@pytest.mark.parametrize(
    ("description", "currency", "text"),
    [
        ("BTC / USD", "USD", "price feed does not have ETH as a currency (BTC/USD)"),
        ("ETH / USD", "eur", "price feed does not have EUR as a currency (ETH/USD)"),
        (
            "ETHUSD",
            "USD",
            "aggregator description must be in the format 'FROM / TO' but got: ETHUSD",
        ),
        (
            "A / B / C",
            "USD",
            "aggregator description must be in the format 'FROM / TO' but got: A / B / C",
        ),
        (
            " / USD",
            "USD",
            "aggregator description must be in the format 'FROM / TO' but got:  / USD",
        ),
    ],
)
async def test_another_feed_is_refused_at_the_start(world, description, currency, text):
    world.description = description
    with pytest.raises(PriceFeedError) as refused:
        await world.feed.start(currency)
    assert str(refused.value) == text
    assert refused.value.code == "price_feed"


@pytest.mark.parametrize("answer", [0, -1])
async def test_what_is_no_price_is_not_taken(world, answer):
    world.answer = answer
    with pytest.raises(PriceFeedError, match="which is no price"):
        await world.feed.start()
    assert world.feed.answer is None


async def test_an_address_without_a_contract(world):
    world.feed.address = bytes(20)
    with pytest.raises(ChainError):
        await world.feed.start()


async def test_only_what_is_newer_counts(world):
    await world.feed.start()
    world.answer = 1
    assert not await world.feed.refresh()
    assert world.feed.answer.price == Fraction(300012, 100)
    world.updated_at -= 1
    assert not await world.feed.refresh()
    world.updated_at += 2
    assert await world.feed.refresh()
    assert world.feed.answer.price == Fraction(1, 10**8)
    assert world.problems == []


async def test_a_refresh_tries_five_times(world):
    await world.feed.start()
    world.rpc.calls.clear()
    world.rpc.error = DOWN
    assert not await world.feed.refresh()
    assert world.slept == [30, 60, 120, 240]
    assert world.rpc.calls["eth_call"] == 5
    assert world.problems == ["the price feed could not be read: no endpoint answers"]
    assert world.feed.wei(Fraction(300012, 100), "usd") == 10**18  # the old price holds


async def test_it_comes_through_in_the_middle(world):
    await world.feed.start()
    world.rpc.error = DOWN

    def heal():
        world.rpc.error = None
        world.updated_at, world.answer = 11 * HOUR, 2500 * 10**8

    world.when_asleep = heal
    assert await world.feed.refresh()
    assert world.slept == [30]
    assert world.feed.answer.price == 2500


async def test_each_full_hour(world):
    await world.feed.start()
    reads = []

    def count():
        reads.append((world.now, world.rpc.asked["latestRoundData"]))
        world.updated_at = int(world.now)
        if len(reads) == 3:
            raise Stop

    world.when_asleep = count
    world.updated_at += 1
    with pytest.raises(Stop):
        await world.feed.run()
    assert [now for now, _ in reads] == [11 * HOUR, 12 * HOUR, 13 * HOUR]
    assert [number for _, number in reads] == [1, 2, 3]
    assert world.feed.age_s == HOUR


async def test_an_old_price_warns_the_operator_and_holds(world):
    await world.feed.start()
    hours = []

    def pass_time():
        hours.append(world.now)
        if world.now > 45 * HOUR:
            raise Stop

    world.when_asleep = pass_time
    with pytest.raises(Stop):
        await world.feed.run()
    assert world.feed.stale
    assert world.problems[0] == "the price feed's price is 25 hours old"
    assert len(world.problems) > 5
    assert world.feed.wei(Fraction(300012, 100), "usd") == 10**18


async def test_the_devnets_feed(devnet):
    from podium.chain.rpc import RpcPool

    pool = RpcPool([devnet.rpc_url])
    try:
        feed = PriceFeed(pool, devnet.addresses["PriceFeed"])
        devnet.set_price(2_000 * 10**8, updated_at=1_000)
        await feed.start("USD")
        assert feed.wei(Fraction(2), "usd") == 10**15
        devnet.set_price(4_000 * 10**8, updated_at=1_001)
        assert await feed.refresh()
        assert feed.wei(Fraction(2), "usd") == 5 * 10**14
        assert feed.stale
    finally:
        await pool.aclose()
