"""An orchestrator's surroundings on a real chain, whose endpoint can be told to misbehave."""

import asyncio
from types import SimpleNamespace

import pytest
from podium.chain.blocks import head_of_block
from podium.chain.market import Market
from podium.chain.reader import Addresses
from podium.chain.receipts import Mined
from podium.chain.rpc import RpcPool
from podium.chain.signer import LocalSigner, TxFields
from podium.chain.values import HeadUpdate
from podium.chain.views import ChainViews
from podium.crypto import checksum_address
from podium.errors import InsufficientFunds, RpcError, RpcUnavailable, TxTimeout
from podium.protocol.state import read_account


class Line:
    """An Rpc that can be cut, and that counts.

    Attributes:
        broken: None; "down": every call fails; "hangs": none is answered; or a set of methods
            that fail.
        sent: Transactions that went out.
    """

    def __init__(self, rpc):
        self.rpc = rpc
        self.broken = None
        self.sent = []
        self.calls = 0

    async def _pass(self, method):
        self.calls += 1
        if self.broken == "hangs":
            await asyncio.sleep(0.05)
            raise RpcUnavailable("no answer in time")
        if self.broken == "down" or (isinstance(self.broken, set) and method in self.broken):
            raise RpcUnavailable("connection refused")

    async def call(self, method, *params, timeout_s=None):
        await self._pass(method)
        return await self.rpc.call(method, *params, timeout_s=timeout_s)

    async def broadcast(self, raw):
        await self._pass("eth_sendRawTransaction")
        self.sent.append(raw)
        return await self.rpc.broadcast(raw)


class PlainTransactor:
    """The Transactor port at its simplest: dry run, send, wait for the receipt.

    What is under way is waited for by its key, as the port says.
    """

    def __init__(self, rpc, key, chain_id, timeout_s=5.0):
        self.rpc, self.signer, self.chain_id = rpc, LocalSigner(key), chain_id
        self.timeout_s = timeout_s
        self.requests = []
        self.receipts = []
        self.under_way = {}

    @property
    def address(self):
        return self.signer.address

    async def send(self, request, *, timeout_s=None):
        if request.key not in self.under_way:
            self.under_way[request.key] = await self._launch(request)
            self.requests.append(request)
        try:
            async with asyncio.timeout(timeout_s or self.timeout_s):
                receipt = await self._receipt(self.under_way[request.key])
        except TimeoutError:
            raise TxTimeout("not mined in time") from None
        del self.under_way[request.key]
        self.receipts.append(receipt)
        return receipt

    async def _launch(self, request):
        me = checksum_address(self.address)
        call = {"from": me, "to": checksum_address(request.to), "data": "0x" + request.data.hex()}
        gas = int(await self.rpc.call("eth_estimateGas", call), 16) * 5 // 4
        nonce = int(await self.rpc.call("eth_getTransactionCount", me, "pending"), 16)
        fees = (await Market.read(self.rpc)).fees(0)
        fields = TxFields(self.chain_id, nonce, request.to, request.data, 0, gas, fees)
        try:
            return await self.rpc.broadcast(await self.signer.sign_transaction(fields))
        except RpcError as error:
            if error.kind == "funds":
                raise InsufficientFunds(str(error)) from error
            raise

    async def _receipt(self, tx_hash):
        while True:
            found = await self.rpc.call("eth_getTransactionReceipt", "0x" + tx_hash.hex())
            if found is not None:
                mined = Mined.parse(found)
                assert int(found["status"], 16) == 1, found
                return mined.receipt
            await asyncio.sleep(0.02)


@pytest.fixture
async def line(devnet):
    pool = RpcPool([devnet.rpc_url])
    yield Line(pool)
    await pool.aclose()


@pytest.fixture
async def contracts(devnet, line):
    return await Addresses.load(line, devnet.controller)


@pytest.fixture
def transactor_of(devnet, line):
    """A transactor of a named account."""
    return lambda name, **options: PlainTransactor(
        line, devnet.account(name).key, devnet.chain_id, **options
    )


@pytest.fixture
def orchestrator(transactor_of):
    return transactor_of("orchestrator")


@pytest.fixture
def state_of(line, contracts):
    """Read the state of an account, given by its address or a transactor."""

    async def read(account):
        return await read_account(line, contracts, getattr(account, "address", account))

    return read


@pytest.fixture
async def views(devnet, line, contracts):
    """The real views of the orchestrator, and a way to show them the newest block."""
    known = ChainViews(line.rpc, contracts, devnet.account("orchestrator").address)

    async def head():
        block = await line.rpc.call("eth_getBlockByNumber", "latest", False)
        return head_of_block(block)

    async def look():
        await known.on_update(HeadUpdate(await head(), reorg=True))

    await known.start(await head())
    return SimpleNamespace(known=known, look=look)
