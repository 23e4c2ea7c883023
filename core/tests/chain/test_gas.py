import asyncio
import logging

import pytest
from podium.chain.gas import GasMonitor
from podium.errors import ChainError, RpcError, RpcUnavailable

GWEI = 10**9


class Market:
    """Answers about gas; the last base fee is the next block's."""

    def __init__(self, price=12, base_fees=(10,)):
        self.price = price
        self.base_fees = list(base_fees)
        self.history_error = None
        self.error = None
        self.asked = []

    async def call(self, method, *params, timeout_s=None):
        self.asked.append((method, params))
        if self.error:
            raise self.error
        if method == "eth_gasPrice":
            return hex(self.price) if isinstance(self.price, int) else self.price
        assert method == "eth_feeHistory"
        if self.history_error:
            raise self.history_error
        blocks, newest, percentiles = params
        assert (newest, percentiles) == ("latest", [])
        count = int(blocks, 16)
        fees = (self.base_fees * count)[-count:] if len(self.base_fees) < count else self.base_fees
        fees = fees[-count:]
        return {"oldestBlock": "0x1", "baseFeePerGas": [hex(f) for f in [*fees, fees[-1]]]}


class Watch:
    now = 0.0

    def __call__(self):
        return self.now


def monitor(market, **more):
    watch = Watch()
    return GasMonitor(market, clock=watch, **more), watch


async def test_nothing_is_known_before_the_first_look():
    gas, _ = monitor(Market(), min_wei=5, max_wei=1)
    assert (gas.wei, gas.current_wei, gas.age_s, gas.is_too_high) == (0, 0, None, False)


async def test_the_price_is_base_fee_and_tip():
    gas, watch = monitor(Market(price=12, base_fees=[10]))
    await gas.refresh()
    assert (gas.wei, gas.current_wei) == (12, 12)
    watch.now = 3
    assert gas.age_s == 3


async def test_the_minimum_is_a_floor_for_both():
    gas, _ = monitor(Market(), min_wei=50)
    await gas.refresh()
    assert (gas.wei, gas.current_wei) == (50, 50)
    gas.min_wei = 0
    assert (gas.wei, gas.current_wei) == (12, 12)


async def test_the_maximum_is_told_and_changes_no_price():
    gas, _ = monitor(Market(price=100, base_fees=[100]), max_wei=99)
    await gas.refresh()
    assert gas.is_too_high
    assert (gas.wei, gas.current_wei) == (100, 100)
    gas.max_wei = 100
    assert not gas.is_too_high
    gas.max_wei = 0
    assert not gas.is_too_high


async def test_a_spike_is_seen_now_and_does_not_move_the_smoothed_price():
    market = Market(price=10 * GWEI, base_fees=[10 * GWEI])
    gas, watch = monitor(market)
    await gas.refresh()
    for _ in range(60):  # an hour ago to now
        watch.now += 30
        await gas.refresh()
    market.price, market.base_fees = 500 * GWEI, [500 * GWEI]
    for _ in range(29):  # most of a quarter of an hour
        watch.now += 30
        await gas.refresh()
        assert gas.current_wei == 500 * GWEI
        assert gas.wei == 10 * GWEI


async def test_a_price_that_lasts_becomes_the_smoothed_price():
    market = Market(price=10 * GWEI, base_fees=[10 * GWEI])
    gas, watch = monitor(market)
    await gas.refresh()
    market.price, market.base_fees = 500 * GWEI, [500 * GWEI]
    for _ in range(62):
        watch.now += 30
        await gas.refresh()
    assert gas.wei == 500 * GWEI
    market.price, market.base_fees = GWEI, [GWEI]
    for _ in range(62):
        watch.now += 30
        await gas.refresh()
    assert gas.wei == GWEI


async def test_a_start_in_a_spike_knows_what_was_before():
    market = Market(price=500, base_fees=[10] * 900 + [500] * 100)
    gas, watch = monitor(market)
    await gas.refresh()
    assert gas.current_wei == 500
    assert gas.wei == 10
    for _ in range(5):
        watch.now += 5
        await gas.refresh()
    assert gas.wei == 10


async def test_only_the_first_look_asks_for_a_long_history():
    market = Market()
    gas, _ = monitor(market)
    await gas.refresh()
    await gas.refresh()
    asked = [params[0] for method, params in market.asked if method == "eth_feeHistory"]
    assert asked == [hex(1000), hex(100)]


@pytest.mark.parametrize(
    "answer", [None, {}, {"baseFeePerGas": []}, {"baseFeePerGas": ["0x0", "0x0"]}, "0x1"]
)
async def test_without_base_fees_the_price_is_what_counts(answer):
    class Legacy(Market):
        async def call(self, method, *params, timeout_s=None):
            return hex(self.price) if method == "eth_gasPrice" else answer

    market = Legacy(price=7)
    gas, _ = monitor(market)
    await gas.refresh()
    assert (gas.wei, gas.current_wei) == (7, 7)


async def test_an_endpoint_without_history_gives_prices():
    market = Market(price=7)
    market.history_error = RpcError("the method does not exist", -32601)
    gas, watch = monitor(market)
    for price in (7, 7, 900, 7, 7):
        market.price = price
        watch.now += 5
        await gas.refresh()
    assert (gas.wei, gas.current_wei) == (7, 7)


async def test_what_was_known_stays_when_the_chain_cannot_be_asked():
    market = Market()
    gas, watch = monitor(market)
    await gas.refresh()
    market.error = RpcUnavailable("no endpoint answered")
    watch.now = 60
    with pytest.raises(RpcUnavailable):
        await gas.refresh()
    assert (gas.wei, gas.current_wei, gas.age_s) == (12, 12, 60)


async def test_a_price_that_is_no_number_is_an_error():
    market = Market(price="a lot")
    gas, _ = monitor(market)
    with pytest.raises(ChainError, match="'a lot' instead of a number"):
        await gas.refresh()
    assert gas.wei == 0


async def test_it_runs_on_through_trouble_and_says_so_once(caplog):
    caplog.set_level(logging.INFO, "podium.chain")
    market = Market()
    market.error = RpcUnavailable("no endpoint answered")
    gas, _ = monitor(market, poll_interval_s=0.01)
    task = asyncio.create_task(gas.run())
    try:
        async with asyncio.timeout(5):
            while len(market.asked) < 6:  # noqa: ASYNC110 it waits for what has no event
                await asyncio.sleep(0.005)
            market.error = None
            while not gas.wei:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert len(caplog.records) == 1
        assert "no endpoint answered" in caplog.text
    finally:
        task.cancel()
