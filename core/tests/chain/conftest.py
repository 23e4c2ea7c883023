"""A chain whose every block a test commands, and a follower of it."""

import pytest
from podium.chain.answers import EndpointLags
from podium.chain.follow import FollowLimits, HeadFollower
from podium.crypto import checksum_address, keccak256
from podium.errors import ChainError, RpcError, RpcUnavailable, StoreError

CONTRACT = b"\xcc" * 20
TOPIC = keccak256(b"event")


class Chain:
    """A chain of blocks in memory, which answers like an endpoint."""

    def __init__(self, blocks=3, l1=False):
        self.l1 = l1
        self.salt = 0
        self.blocks = []
        self.calls = []
        self.failing = set()  # numbers of calls that fail, counted from now
        self.at_call = {}  # number of a call: what happens before it
        self.latest = None  # an endpoint that lags, while another answers for numbers
        self.hidden_above = None  # an endpoint that lags: nothing above this block
        self.no_logs_above = None  # the same, and it does not say so
        self.max_blocks = 10**9
        self.max_logs = 10**9
        self.mine(blocks)

    def mine(self, count=1, logs=0):
        for _ in range(count):
            self.salt += 1
            number = len(self.blocks)
            block_hash = keccak256(b"%d %d" % (number, self.salt))
            entries = [self._log(number, block_hash, index) for index in range(logs)]
            self.blocks.append((block_hash, entries))

    def reorg(self, depth, count, logs=0):
        """Replace the newest blocks with others."""
        keep = max(1, len(self.blocks) - depth)
        del self.blocks[keep:]
        self.mine(count, logs)

    @property
    def number(self):
        return len(self.blocks) - 1

    def logs_to(self, number):
        return {
            (entry["blockHash"], entry["logIndex"])
            for _, entries in self.blocks[: number + 1]
            for entry in entries
        }

    def _log(self, number, block_hash, index):
        return {
            "address": checksum_address(CONTRACT),
            "topics": ["0x" + TOPIC.hex()],
            "data": "0x01",
            "blockNumber": hex(number),
            "blockHash": "0x" + block_hash.hex(),
            "transactionHash": "0x" + keccak256(block_hash).hex(),
            "logIndex": hex(index),
        }

    def block(self, number):
        if not 0 <= number <= min(self.number, self.hidden_above or self.number):
            return None
        block = {
            "number": hex(number),
            "hash": "0x" + self.blocks[number][0].hex(),
            "parentHash": "0x" + (self.blocks[number - 1][0] if number else bytes(32)).hex(),
            "timestamp": hex(1_700_000_000 + number),
            "baseFeePerGas": "0x7",
        }
        return block | ({"l1BlockNumber": hex(5000 + number // 10)} if self.l1 else {})

    async def call(self, method, *params, timeout_s=None):
        count = len(self.calls)
        self.calls.append((method, params))
        if count in self.at_call:
            self.at_call.pop(count)()
        if count in self.failing:
            raise RpcUnavailable("no endpoint answered")
        newest = min(self.number, self.hidden_above or self.number)
        if method == "eth_getBlockByNumber":
            if params[0] == "latest":
                return self.block(newest if self.latest is None else self.latest)
            return self.block(int(params[0], 16))
        assert method == "eth_getLogs"
        return self._logs(params[0], newest)

    def _logs(self, query, newest):
        first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        assert first <= last
        assert query["address"] == [checksum_address(CONTRACT)]
        assert query["topics"] == [["0x" + TOPIC.hex()]]
        if last > newest:
            raise EndpointLags("header not found")
        if last - first + 1 > self.max_blocks:
            raise RpcError("range too large", -32000, "range")
        if self.no_logs_above is not None:
            last = min(last, self.no_logs_above)
        found = [entry for _, entries in self.blocks[first : last + 1] for entry in entries]
        if len(found) > self.max_logs:
            raise RpcError("query returned more than 10000 results", -32005, "range")
        return found


class Store:
    """Keeps heads in memory."""

    def __init__(self):
        self.kept = []
        self.failing = False

    async def heads(self):
        return list(self.kept)

    async def keep_heads(self, heads):
        if self.failing:
            raise StoreError("the disk is full")
        self.kept = list(heads)


class Listener:
    """Notes what it is told; keeps what a view would: a reread after a reorg, else the sum."""

    def __init__(self, chain):
        self.chain = chain
        self.updates = []
        self.view = set()
        self.is_new = True
        self.failing = False

    async def __call__(self, update):
        if self.failing:
            raise ChainError("a view could not be read")
        self.updates.append(update)
        if update.reorg or self.is_new:
            self.is_new = False
            self.view = self.chain.logs_to(update.head.number)  # read at the head
        else:
            self.view |= {("0x" + log.block_hash.hex(), hex(log.index)) for log in update.logs}

    def take(self):
        taken, self.updates = self.updates, []
        return taken


class World:
    """A follower of a chain that a test commands."""

    def __init__(self, chain, **limits):
        self.chain = chain
        self.store = Store()
        self.listener = Listener(chain)
        self.limits = FollowLimits(**limits)
        self.time = 0.0
        self.idle_looks = 0
        self.restart()

    def idle(self):
        self.idle_looks += 1

    def restart(self):
        self.follower = HeadFollower(
            self.chain,
            self.store,
            [CONTRACT],
            [TOPIC],
            self.listener,
            0.01,
            limits=self.limits,
            on_no_news=self.idle,
            clock=lambda: self.time,
            wall_clock=lambda: 1_700_000_000 + self.chain.number,
        )

    async def step(self):
        await self.follower.step()
        return self.listener.take()


@pytest.fixture(scope="session")
def scripted():
    """The classes, for tests that build their own world."""

    class Scripted:
        chain = Chain
        world = World
        contract = CONTRACT
        topic = TOPIC

    return Scripted
