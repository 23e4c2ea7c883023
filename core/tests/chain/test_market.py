"""What gas costs, on chains of each kind."""

import pytest
from podium.chain.fees import Fees
from podium.chain.market import Market
from podium.errors import ChainError, RpcError

BLOCK = {
    "number": "0x7",
    "hash": "0x" + "11" * 32,
    "parentHash": "0x" + "22" * 32,
    "timestamp": "0x5",
    "gasLimit": "0x1c9c380",
}


class Chain:
    """Answers as told; what it was not told about, it does not know."""

    def __init__(self, **answers):
        self.answers = answers

    async def call(self, method, *params, timeout_s=None):
        if method not in self.answers:
            raise RpcError("the method does not exist", -32601)
        return self.answers[method]


async def test_a_chain_with_a_base_fee_suggests_a_tip():
    chain = Chain(
        eth_getBlockByNumber={**BLOCK, "baseFeePerGas": "0x64"}, eth_maxPriorityFeePerGas="0x0"
    )
    market = await Market.read(chain)
    assert market == Market(base_fee=100, tip=0, gas_limit=30_000_000)
    assert market.fees(0) == Fees(200, 0)
    assert market.fees(150) == Fees(150, 0)


@pytest.mark.parametrize(("price", "tip"), [("0x6e", 10), ("0x5a", 0)])
async def test_one_that_suggests_none_has_a_price(price, tip):
    chain = Chain(eth_getBlockByNumber={**BLOCK, "baseFeePerGas": "0x64"}, eth_gasPrice=price)
    assert (await Market.read(chain)).tip == tip


async def test_one_without_base_fee_has_only_a_price():
    chain = Chain(eth_getBlockByNumber=BLOCK, eth_gasPrice="0x14")
    market = await Market.read(chain)
    assert market == Market(None, 20, 30_000_000)
    assert market.fees(0) == Fees(20)


async def test_what_is_no_block_is_said_so():
    with pytest.raises(ChainError, match="instead of a block"):
        await Market.read(Chain(eth_getBlockByNumber=None, eth_maxPriorityFeePerGas="0x0"))
