import asyncio
import json
import logging
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from podium.chain.rpc import RpcLimits, RpcPool
from podium.crypto import keccak256
from podium.errors import ChainError, Reverted, RpcError, RpcUnavailable, WrongChain

SECRET = "0123456789abcdef0123"


class Failure(Exception):
    def __init__(self, code, message, data=None):
        self.error = {"code": code, "message": message} | ({"data": data} if data else {})


class Node:
    """A JSON-RPC endpoint on loopback whose every answer a test commands."""

    def __init__(self, chain_id=31337, head=100):
        self.chain_id = chain_id
        self.head = head
        self.seconds_a_block = 1
        self.methods = {}
        self.respond = None  # instead of JSON-RPC
        self.asked = Counter()
        self.sent = []
        self.port = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v3/{SECRET}"

    @property
    def name(self):
        return f"127.0.0.1:{self.port}"

    async def start(self):
        app = web.Application()
        app.router.add_post("/{tail:.*}", self._handle)
        self.runner = web.AppRunner(app, shutdown_timeout=0.05)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self.runner.addresses[0][1]
        return self

    async def stop(self):
        await self.runner.cleanup()

    async def _handle(self, request):
        body = json.loads(await request.read())
        self.asked[body["method"]] += 1
        if self.respond is not None:
            response = await self.respond(request, body)
            if response is not None:
                return response
        try:
            answer = {"result": self._result(body["method"], body["params"])}
        except Failure as failure:
            answer = {"error": failure.error}
        return web.json_response({"jsonrpc": "2.0", "id": body["id"]} | answer)

    def block(self, number):
        return {
            "number": hex(number),
            "hash": "0x" + keccak256(b"%d" % number).hex(),
            "parentHash": "0x" + keccak256(b"%d" % (number - 1)).hex(),
            "timestamp": hex(1_700_000_000 + number * self.seconds_a_block),
        }

    def _result(self, method, params):
        if method in self.methods:
            answer = self.methods[method]
            if isinstance(answer, Failure):
                raise answer
            return answer(*params) if callable(answer) else answer
        if method == "eth_chainId":
            return hex(self.chain_id)
        if method == "eth_blockNumber":
            return hex(self.head)
        if method == "eth_getBlockByNumber":
            number = self.head if params[0] == "latest" else int(params[0], 16)
            return self.block(number) if number <= self.head else None
        if method == "eth_getLogs":
            return []
        if method == "eth_sendRawTransaction":
            self.sent.append(params[0])
            return "0x" + keccak256(bytes.fromhex(params[0][2:])).hex()
        if method == "who":
            return self.port
        raise Failure(-32601, f"the method {method} does not exist/is not available")


FAST = RpcLimits(timeout_s=0.3, deadline_s=1.5, max_answer_bytes=100_000, probe_interval_s=0.1)


@asynccontextmanager
async def world(*nodes, limits=FAST, **more):
    for node in nodes:
        await node.start()
    pool = RpcPool([node.url for node in nodes], chain_id=31337, limits=limits, **more)
    try:
        yield pool
    finally:
        await pool.aclose()
        for node in nodes:
            await node.stop()


def canned(**response):
    """Return an endpoint that answers this, whatever it is asked."""

    async def answer(request, body):
        return web.Response(**response)

    return answer


status_429 = canned(status=429, headers={"Retry-After": "30"})
status_502 = canned(status=502, text="bad gateway")
redirect = canned(status=307, headers={"Location": "http://127.0.0.1:1/"})
garbage = canned(text="<html>welcome</html>")
nested = canned(text="[" * 90_000)


async def hang(request, body):
    await asyncio.sleep(5)


async def cut_off(request, body):
    request.transport.abort()


async def huge(request, body):
    return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": "f" * 200_000})


async def other_id(request, body):
    return web.json_response({"jsonrpc": "2.0", "id": 987654, "result": "0x1"})


@pytest.fixture(autouse=True)
def recursion_limit():
    """Python's own: some library for Ethereum raises it to where nested JSON kills a process."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(before)


async def test_the_first_endpoint_is_asked_and_the_connection_is_kept():
    first, second = Node(), Node()
    ports = set()

    async def note(request, body):
        if body["method"] == "who":
            ports.add(request.transport.get_extra_info("peername"))

    first.respond = note
    async with world(first, second) as pool:
        for _ in range(5):
            assert await pool.call("who") == first.port
        assert pool.calls["who"] == 5
        assert len(ports) <= 2  # the first call and the first probe meet
        assert second.asked["who"] == 0


@pytest.mark.parametrize(
    "fault", [hang, cut_off, garbage, other_id, status_429, status_502, redirect, nested]
)
async def test_another_answers_where_one_fails(fault):
    bad, good = Node(), Node()
    async with world(bad, good) as pool:
        assert await pool.call("who") == bad.port
        bad.respond = fault
        assert await pool.call("who") == good.port
        before = bad.asked["who"]
        for _ in range(20):
            assert await pool.call("who") == good.port
        assert bad.asked["who"] == before
        [status, other] = pool.status()
        assert not status.ok
        assert status.failures
        assert status.last_error
        assert other.ok


async def test_a_dead_endpoint_is_used_again_once_it_lives():
    first, second = Node(), Node()
    async with world(first, second) as pool:
        await pool.call("who")
        await first.stop()
        assert await pool.call("who") == second.port
        await first.start()
        deadline = time.monotonic() + 5
        while await pool.call("who") != first.port:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert [status.ok for status in pool.status()] == [True, True]


async def test_two_hanging_endpoints_leave_time_for_the_third():
    nodes = Node(), Node(), Node()
    nodes[0].respond = nodes[1].respond = hang
    limits = RpcLimits(timeout_s=10, deadline_s=1.5)
    async with world(*nodes, limits=limits) as pool:
        pool.chain_id = None
        assert await pool.call("who") == nodes[2].port


async def test_a_call_waits_for_the_only_endpoint_until_its_deadline():
    node = Node()
    async with world(node) as pool:
        await pool.call("who")
        await node.stop()
        asyncio.get_running_loop().call_later(
            0.4, lambda: setattr(node, "again", asyncio.ensure_future(node.start()))
        )
        assert await pool.call("who", timeout_s=3) == node.port
        await node.stop()
        started = time.monotonic()
        with pytest.raises(RpcUnavailable, match=rf"who \({node.name}: cannot connect"):
            await pool.call("who", timeout_s=0.5)
        assert time.monotonic() - started < 1


async def test_the_reasons_of_all_endpoints_are_named_and_no_key_of_a_url():
    first, second = Node(), Node()
    first.respond, second.respond = garbage, status_429
    async with world(first, second) as pool:
        with pytest.raises(RpcUnavailable) as raised:
            await pool.call("eth_call")
        text = str(raised.value)
        assert f"{first.name}: the answer is not JSON-RPC" in text
        assert f"{second.name}: limits our requests (HTTP 429)" in text
        assert SECRET not in text + repr(pool.status())


async def test_what_an_endpoint_says_is_cleaned_of_keys():
    node = Node()
    node.methods["eth_call"] = Failure(-32000, f"project {SECRET} is not paid")
    async with world(node) as pool:
        with pytest.raises(RpcError, match=r"^project \.\.\. is not paid$"):
            await pool.call("eth_call")


async def test_retry_after_is_honoured_and_back_off_is_not_counted_per_request():
    node = Node()
    async with world(node) as pool:
        await pool.call("who")
        node.respond = status_429
        answers = await asyncio.gather(
            *(pool.call("who") for _ in range(20)), return_exceptions=True
        )
        assert {type(answer) for answer in answers} == {RpcUnavailable}
        [status] = pool.status()
        assert status.failures == 1
        assert 28 < status.retry_in_s <= 30
        before = node.asked["who"]
        with pytest.raises(RpcUnavailable, match="429"):
            await pool.call("who")
        assert node.asked["who"] == before


@pytest.mark.parametrize("number", [-32005, -32029, 429])
async def test_rate_limits_in_the_answer_are_rate_limits(number):
    first, second = Node(), Node()
    first.methods["who"] = Failure(number, "please slow down")
    async with world(first, second) as pool:
        assert await pool.call("who") == second.port
        assert pool.status()[0].failures == 1


async def test_a_huge_answer_is_cut_off_and_says_that_less_should_be_asked():
    node = Node()
    async with world(node) as pool:
        await pool.call("who")
        node.respond = huge
        with pytest.raises(RpcError, match="exceeds 100000 bytes") as raised:
            await pool.call("eth_getLogs", {"toBlock": "0x1"})
        assert raised.value.kind == "range"


async def test_another_chain_is_excluded_with_its_reason(caplog):
    wrong, right = Node(chain_id=1), Node()
    async with world(wrong, right) as pool:
        assert await pool.call("who") == right.port
        await pool.probe()
        assert wrong.asked["eth_chainId"] == 1
        assert wrong.asked["who"] == 0
        [status, _] = pool.status()
        assert not status.ok
        assert status.last_error == "serves chain 1, not 31337"
        assert f"RPC endpoint {wrong.name} serves chain 1, not 31337" in caplog.text
    async with world(Node(chain_id=1)) as pool:
        with pytest.raises(WrongChain, match=r"serves chain 1, not 31337: check chain\.network"):
            await pool.call("who")
        with pytest.raises(WrongChain):
            await pool.broadcast(b"\2raw")


async def test_without_a_chain_id_the_first_answer_is_what_the_others_must_serve():
    first, second = Node(chain_id=7), Node(chain_id=8)
    async with world(first, second) as pool:
        pool.chain_id = None
        assert await pool.call("who") == first.port
        await pool.probe()
        assert pool.chain_id == 7
        assert "serves chain 8, not 7" in pool.status()[1].last_error


async def test_no_endpoint_at_all():
    pool = RpcPool([])
    with pytest.raises(RpcUnavailable, match=r"chain\.rpc_urls"):
        await pool.call("who")
    with pytest.raises(ChainError, match="http"):
        RpcPool(["ws://127.0.0.1:1"])


# Heads


async def test_an_endpoint_with_a_stale_head_is_not_read_from_until_it_catches_up():
    stale, fresh = Node(head=100), Node(head=100)
    async with world(stale, fresh) as pool:
        await pool.probe()
        assert await pool.call("who") == stale.port
        fresh.head = 500
        await pool.probe()
        await pool.probe()
        assert await pool.call("who") == fresh.port
        assert pool.status()[0].lag_blocks == 400
        assert not pool.status()[0].ok
        block = await pool.call("eth_getBlockByNumber", "latest", False)
        assert block["number"] == hex(500)
        await fresh.stop()
        before = stale.asked["who"]
        with pytest.raises(RpcUnavailable, match=f"{stale.name}: is 400 blocks behind"):
            await pool.call("who", timeout_s=1)
        assert stale.asked["who"] == before
        stale.head = 500
        await asyncio.sleep(0.5)
        assert await pool.call("who") == stale.port


async def test_slow_blocks_count_by_their_time():
    stale, fresh = Node(head=100), Node(head=103)
    stale.seconds_a_block = fresh.seconds_a_block = 12
    async with world(stale, fresh) as pool:
        await pool.probe()
        await pool.probe()
        assert pool.status()[0].lag_blocks == 3
        assert await pool.call("who") == fresh.port


async def test_a_newest_block_that_is_stale_is_no_answer():
    stale, fresh = Node(head=500), Node(head=500)
    async with world(stale, fresh) as pool:
        await pool.probe()
        stale.head, fresh.head = 400, 500
        assert await pool.call("who") == stale.port
        block = await pool.call("eth_getBlockByNumber", "latest", False)
        assert block["number"] == hex(500)


async def test_a_single_endpoint_may_go_back():
    node = Node(head=500)
    async with world(node) as pool:
        assert await pool.call("eth_blockNumber") == hex(500)
        node.head = 100
        assert await pool.call("eth_blockNumber") == hex(100)
        assert await pool.call("who") == node.port


@pytest.mark.parametrize(
    "text",
    [
        "header not found",
        "unknown block",
        "unsupported block number 700",
        "missing trie node 1234 (path )",
        "BlockOutOfRangeError: block height is 0 but requested was 629145",
    ],
)
async def test_a_numbered_block_that_one_lacks_is_asked_of_another(text):
    behind, ahead = Node(), Node()
    behind.methods["eth_call"] = Failure(-32000, text)
    ahead.methods["eth_call"] = "0x07"
    async with world(behind, ahead) as pool:
        assert await pool.call("eth_call", {}, "0x64") == "0x07"
        assert pool.status()[0].failures == 0
    async with world(behind) as pool:
        with pytest.raises(RpcUnavailable, match=text[:12]):
            await pool.call("eth_call", {}, "0x64", timeout_s=0.7)


async def test_a_block_that_is_about_to_arrive_is_waited_for():
    node = Node()
    answers = iter([Failure(-32000, "header not found"), "0x07"])

    def eth_call(*params):
        answer = next(answers)
        if isinstance(answer, Failure):
            raise answer
        return answer

    node.methods["eth_call"] = eth_call
    async with world(node) as pool:
        assert await pool.call("eth_call", {}, "0x64") == "0x07"


async def test_an_unknown_block_is_none_only_if_no_endpoint_has_it():
    behind, ahead = Node(head=100), Node(head=110)
    async with world(behind, ahead) as pool:
        block = await pool.call("eth_getBlockByNumber", hex(105), False)
        assert block["number"] == hex(105)
        assert await pool.call("eth_getBlockByNumber", hex(200), False) is None


async def test_logs_never_come_from_an_endpoint_that_lacks_the_blocks():
    behind, ahead = Node(head=100), Node(head=105)
    ahead.methods["eth_getLogs"] = ["log"]
    async with world(behind, ahead) as pool:
        query = {"fromBlock": hex(90), "toBlock": hex(105)}
        assert await pool.call("eth_getLogs", query) == ["log"]
        assert behind.asked["eth_getLogs"] == 0
        await ahead.stop()
        with pytest.raises(RpcUnavailable, match="does not have block 105 yet"):
            await pool.call("eth_getLogs", query, timeout_s=1)
        assert behind.asked["eth_getLogs"] == 0
        behind.head = 105
        assert await pool.call("eth_getLogs", query) == []


# Errors


async def test_of_a_revert_nobody_else_is_asked():
    first, second = Node(), Node()
    first.methods["eth_call"] = Failure(3, "execution reverted: ticket is expired", "0x")
    async with world(first, second) as pool:
        with pytest.raises(Reverted) as raised:
            await pool.call("eth_call")
        assert raised.value.reason == "ticket is expired"
        assert second.asked["eth_call"] == 0
        assert pool.status()[0].failures == 0


async def test_what_every_endpoint_would_answer_is_asked_of_one():
    first, second = Node(), Node()
    first.methods["eth_call"] = Failure(-32602, "invalid argument")
    first.methods["eth_getLogs"] = Failure(-32005, "query returned more than 10000 results")
    async with world(first, second) as pool:
        for method in ("eth_call", "eth_getLogs"):
            with pytest.raises(RpcError):
                await pool.call(method)
            assert second.asked[method] == 0


async def test_redirects_are_not_followed():
    first, second = Node(), Node()
    await second.start()
    first.respond = canned(status=307, headers={"Location": second.url})
    async with world(first) as pool:
        with pytest.raises(RpcUnavailable, match="HTTP 307"):
            await pool.broadcast(RAW)
    assert second.asked.total() == 0
    await second.stop()


async def test_a_method_that_one_does_not_have_is_asked_of_another():
    first, second = Node(), Node()
    second.methods["eth_new"] = "0x1"
    async with world(first, second) as pool:
        assert await pool.call("eth_new") == "0x1"
        with pytest.raises(RpcError, match="eth_newer does not exist") as raised:
            await pool.call("eth_newer")
        assert raised.value.number == -32601


async def test_an_error_with_an_http_status_is_the_error():
    node = Node()

    async def refuse(request, body):
        error = {"code": 3, "message": "execution reverted: no"}
        if body["method"] == "eth_call":
            return web.json_response({"id": body["id"], "error": error}, status=400)

    node.respond = refuse
    async with world(node) as pool:
        with pytest.raises(Reverted, match="no"):
            await pool.call("eth_call")


# Transactions

RAW = b"\2transaction"


async def test_a_transaction_goes_through_every_endpoint():
    nodes = Node(), Node(), Node()
    async with world(*nodes) as pool:
        assert await pool.broadcast(RAW) == keccak256(RAW)
        await asyncio.sleep(0.1)
        assert [node.sent for node in nodes] == [["0x" + RAW.hex()]] * 3


async def test_one_that_takes_it_is_enough():
    takes, hangs, refuses = Node(), Node(), Node()
    hangs.respond = hang
    refuses.methods["eth_sendRawTransaction"] = Failure(-32000, "nonce too low")
    async with world(takes, hangs, refuses) as pool:
        started = time.monotonic()
        assert await pool.broadcast(RAW) == keccak256(RAW)
        assert time.monotonic() - started < 0.25


async def test_one_that_knows_it_has_taken_it():
    node = Node()
    node.methods["eth_sendRawTransaction"] = Failure(-32000, "already known")
    async with world(node) as pool:
        assert await pool.broadcast(RAW) == keccak256(RAW)


async def test_a_refusal_says_why_the_most_telling_first():
    first, second, third = Node(), Node(), Node()
    first.methods["eth_sendRawTransaction"] = Failure(-32000, "transaction underpriced")
    second.methods["eth_sendRawTransaction"] = Failure(-32000, "nonce too low")
    third.respond = status_429

    async def late(request, body):
        if body["method"] == "eth_sendRawTransaction":
            await asyncio.sleep(0.1)

    first.respond = late
    async with world(first, second, third) as pool:
        with pytest.raises(RpcError) as raised:
            await pool.broadcast(RAW)
        assert raised.value.kind == "nonce_too_low"


async def test_a_transaction_that_nobody_takes():
    first, second = Node(), Node()
    first.respond, second.respond = cut_off, status_429
    async with world(first, second) as pool:
        with pytest.raises(RpcUnavailable, match="eth_sendRawTransaction"):
            await pool.broadcast(RAW)


# Under load


async def test_nothing_is_lost_while_endpoints_come_and_go():
    nodes = [Node(), Node(), Node()]
    limits = RpcLimits(timeout_s=0.2, deadline_s=10, probe_interval_s=0.05)
    async with world(*nodes, limits=limits) as pool:
        for node in nodes:
            node.methods["echo"] = lambda value: value
        stopping = asyncio.Event()

        async def disturb():
            faults = [hang, cut_off, garbage, status_502]
            turn = 0
            while not stopping.is_set():
                nodes[turn % 3].respond = faults[turn % 4]
                await asyncio.sleep(0.06)
                nodes[turn % 3].respond = None
                turn += 1

        task = asyncio.create_task(disturb())
        for batch in range(20):
            values = list(range(batch * 50, batch * 50 + 50))
            assert await asyncio.gather(*(pool.call("echo", v) for v in values)) == values
            await asyncio.sleep(0.02)
        stopping.set()
        await task


async def test_outages_are_logged_once(caplog):
    caplog.set_level(logging.INFO, "podium.chain")
    node = Node()
    async with world(node) as pool:
        await pool.call("who")
        node.respond = status_502
        for _ in range(3):
            with pytest.raises(RpcUnavailable):
                await pool.call("who", timeout_s=0.4)
        node.respond = None
        await pool.call("who", timeout_s=5)
        assert [record.getMessage() for record in caplog.records] == [
            f"RPC endpoint {node.name}: HTTP 502",
            f"RPC endpoint {node.name} answers again",
        ]
