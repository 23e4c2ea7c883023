"""One endpoint among several lies, or talks nonsense: how far that can take us."""

import json
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from podium.chain.reader import Addresses
from podium.chain.rpc import RpcLimits, RpcPool
from podium.chain.together import Together
from podium.crypto import keccak256
from podium.errors import RpcError, RpcUnavailable

ARBITRUM = 42161
RAW = b"signed"
FAST = RpcLimits(timeout_s=0.3, deadline_s=1.5, probe_interval_s=60)


class Endpoint:
    """Answers each method with what a test says, or leaves without an answer."""

    def __init__(self, chain_id=31337, head=100, l1=None, **answers):
        self.chain_id, self.head, self.l1 = chain_id, head, l1
        self.answers = answers
        self.asked = []

    async def handle(self, request):
        body = await request.json()
        method = body["method"]
        self.asked.append(method)
        found = self.answers.get(method, getattr(self, method, None))
        if callable(found):
            found = found()
        if isinstance(found, Exception):
            request.transport.abort()
            return web.Response()
        key = "error" if isinstance(found, dict) and "code" in found else "result"
        return web.Response(text=json.dumps({"jsonrpc": "2.0", "id": body["id"], key: found}))

    def eth_chainId(self):
        return hex(self.chain_id)

    def eth_getBlockByNumber(self):
        block = {
            "number": hex(self.head),
            "hash": "0x" + keccak256(b"%d" % self.head).hex(),
            "parentHash": "0x" + bytes(32).hex(),
            "timestamp": hex(1_700_000_000 + self.head),
        }
        return block | ({} if self.l1 is None else {"l1BlockNumber": hex(self.l1)})


@asynccontextmanager
async def pool_of(*endpoints, chain_id=31337):
    runners, urls = [], []
    for endpoint in endpoints:
        app = web.Application()
        app.router.add_post("/", endpoint.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.05)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        runners.append(runner)
        urls.append(f"http://127.0.0.1:{runner.addresses[0][1]}/")
    pool = RpcPool(urls, chain_id=chain_id, limits=FAST)
    try:
        yield pool
    finally:
        await pool.aclose()
        for runner in runners:
            await runner.cleanup()


async def test_on_arbitrum_a_block_without_its_l1_number_is_no_answer():
    """Taken for one, its own number counts as L1's, and every ticket seems expired."""
    proxy = Endpoint(ARBITRUM)
    whole = Endpoint(ARBITRUM, l1=22_000_000)
    async with pool_of(proxy, whole, chain_id=ARBITRUM) as pool:
        block = await pool.call("eth_getBlockByNumber", "latest", False)
        assert block["l1BlockNumber"] == hex(22_000_000)
        block = await pool.call("eth_getBlockByNumber", hex(100), False)
        assert block["l1BlockNumber"] == hex(22_000_000)
    async with pool_of(Endpoint(ARBITRUM), chain_id=ARBITRUM) as pool:
        with pytest.raises(RpcUnavailable, match="l1BlockNumber"):
            await pool.call("eth_getBlockByNumber", "latest", False)


@pytest.mark.parametrize(
    ("method", "nonsense"),
    [
        ("eth_call", None),
        ("eth_call", "nonsense"),
        ("eth_call", "0x123"),
        ("eth_call", {"output": "0x"}),
        ("eth_getBalance", None),
        ("eth_getBalance", "zero"),
        ("eth_estimateGas", 21000),
        ("eth_gasPrice", []),
        ("eth_getTransactionCount", None),
        ("eth_getCode", None),
    ],
)
async def test_nonsense_is_no_answer_and_another_endpoint_is_asked(method, nonsense):
    bad = Endpoint(**{method: nonsense})
    good = Endpoint(**{method: "0x12"})
    async with pool_of(bad, good) as pool:
        assert await pool.call(method, {}, "latest") == "0x12"


@pytest.mark.parametrize("method", ["eth_getTransactionReceipt", "eth_getTransactionByHash"])
async def test_what_one_endpoint_does_not_know_another_may(method):
    """An endpoint that lags knows no receipt; believed, the transaction is sent a second time."""
    behind = Endpoint(**{method: None})
    good = Endpoint(**{method: {"status": "0x1"}})
    async with pool_of(behind, good) as pool:
        assert await pool.call(method, "0x00") == {"status": "0x1"}
    async with pool_of(behind, Endpoint(**{method: None})) as pool:
        assert await pool.call(method, "0x00") is None


async def test_a_nonce_that_is_used_after_an_answer_was_lost_may_be_used_by_us():
    """The endpoint took it, its answer was lost, and Arbitrum mined it before the second try."""
    used = {"code": -32000, "message": "nonce too low: address 0x00, tx: 5 state: 6"}
    answers = iter([ConnectionError(), used])
    async with pool_of(Endpoint(eth_sendRawTransaction=lambda: next(answers))) as pool:
        with pytest.raises(RpcUnavailable):
            await pool.broadcast(RAW)
    async with pool_of(Endpoint(eth_sendRawTransaction=used)) as pool:
        with pytest.raises(RpcError) as caught:
            await pool.broadcast(RAW)
        assert caught.value.kind == "nonce_too_low"


def word(data):
    return "0x" + data.rjust(32, b"\0").hex()


async def test_one_endpoint_alone_does_not_decide_what_the_contracts_are():
    """It could name a contract of its own, and LPT would be allowed to that."""
    code = {"eth_getCode": "0x6000"}
    honest = Endpoint(eth_call=word(b"\x01" * 20), **code)
    liar = Endpoint(eth_call=word(b"\x66" * 20), **code)
    for order in ((liar, honest), (honest, liar)):
        async with pool_of(*order) as pool:
            with pytest.raises(RpcUnavailable, match="contradict each other about eth_call"):
                await Addresses.load(Together(pool), b"\xcc" * 20)


async def test_an_endpoint_that_does_not_answer_contradicts_nobody():
    honest = Endpoint(eth_call=word(b"\x01"))
    refusing = {"code": -32000, "message": "internal error"}
    behind = {"code": -32000, "message": "header not found"}
    for other in (ConnectionError(), refusing, behind):
        async with pool_of(honest, Endpoint(eth_call=other), honest) as pool:
            assert await Together(pool).call("eth_call", {}, "0x64") == word(b"\x01")
    async with pool_of(Endpoint(eth_call=ConnectionError())) as pool:
        with pytest.raises(RpcUnavailable):
            await Together(pool).call("eth_call", {}, "0x64")


async def test_an_endpoint_that_is_about_to_have_the_block_is_waited_for():
    answers = iter([{"code": -32000, "message": "header not found"}, word(b"\x02")])
    liar = Endpoint(eth_call=word(b"\x01"))
    async with pool_of(liar, Endpoint(eth_call=lambda: next(answers))) as pool:
        with pytest.raises(RpcUnavailable, match="contradict"):
            await Together(pool).call("eth_call", {}, "0x64", timeout_s=2)
