"""A real chain, a store and a wire that tests of transactions can stop at any point."""

import asyncio
import time
from types import SimpleNamespace

import pytest
from attrs import evolve
from eth_abi.abi import encode
from podium.chain.fees import Fees
from podium.chain.outbox import TxOptions
from podium.chain.rpc import RpcPool
from podium.chain.signer import LocalSigner, TxFields
from podium.chain.tx import TransactionManager
from podium.chain.values import TxRequest
from podium.crypto import checksum_address, keccak256
from podium.devnet import CHAIN_ID, ETHER, GWEI, DevnetOptions, start_devnet

ONCE = (
    "600035" "8054" "600d57" "6001905500" "5b"
    "7f08c379a0" + "00" * 28 + "600052" "6020600452" "600e602452"
    "7f" + b"ticket is used".ljust(32, b"\0").hex() + "604452" "60646000fd"
)  # fmt: skip
"""A contract that sets the slot it is given, and refuses to do it again: an effect that counts."""

QUICK = TxOptions(confirmations=0, poll_s=0.02, replace_after_s=30, rebroadcast_s=30, timeout_s=20)


@pytest.fixture(scope="module")
def devnet():
    with start_devnet(DevnetOptions(round_length=1000)) as devnet:
        yield devnet


@pytest.fixture
def chain(devnet):
    """The node, mining with each transaction; each test has an account and a contract of its own."""
    devnet.drop_pending()
    devnet.set_automine(True)
    yield devnet
    devnet.drop_pending()
    devnet.set_automine(True)


@pytest.fixture
def contract(chain):
    address = keccak256(str(time.time_ns()).encode())[:20]
    chain.rpc.call("anvil_setCode", checksum_address(address), "0x" + ONCE)
    return address


@pytest.fixture
def key(chain):
    signer = LocalSigner(keccak256(b"key" + str(time.time_ns()).encode()))
    chain.set_balance(signer.address, 100 * ETHER)
    return signer


class Store:
    """Keeps transactions as the database does; each call can be made to fail or to hang."""

    def __init__(self):
        self.kept = {}
        self.before = None
        self.after = None

    async def put(self, tx):
        await self._at(self.before, "put")
        self.kept[tx.key] = tx
        await self._at(self.after, "put")

    async def remove(self, key):
        await self._at(self.before, "remove")
        self.kept.pop(key, None)
        await self._at(self.after, "remove")

    async def under_way(self, account):
        return sorted(
            (tx for tx in self.kept.values() if tx.account == account), key=lambda tx: tx.nonce
        )

    @staticmethod
    async def _at(hook, what):
        await asyncio.sleep(0)
        if hook is not None:
            await hook(what)


class Wire:
    """An RPC client whose calls and broadcasts a test can stop, before or after they were made."""

    def __init__(self, pool):
        self.pool = pool
        self.before = None
        self.after = None
        self.answers = {}

    async def call(self, method, *params, timeout_s=None):
        if self.before is not None:
            await self.before(method)
        if method in self.answers:
            return self.answers[method](*params)
        return await self.pool.call(method, *params, timeout_s=timeout_s)

    async def broadcast(self, raw):
        if self.before is not None:
            await self.before("broadcast")
        if "broadcast" in self.answers:
            return self.answers["broadcast"](raw)
        found = await self.pool.broadcast(raw)
        if self.after is not None:
            await self.after("broadcast")
        return found


@pytest.fixture
async def wire(chain):
    pool = RpcPool([chain.rpc.url], chain_id=CHAIN_ID)
    yield Wire(pool)
    await pool.aclose()


@pytest.fixture
def store():
    return Store()


@pytest.fixture
async def open_manager(wire, key, store):
    """Start a manager, as after a restart: ``open_manager(confirmations=2)``."""
    managers = []

    def start(**options):
        events = []
        manager = TransactionManager(
            wire, key, store, CHAIN_ID, options=evolve(QUICK, **options), on_event=events.append
        )
        manager.events = events
        managers.append(manager)
        return manager

    yield start
    for manager in managers:
        await manager.close()


@pytest.fixture
def once(contract):
    """A request whose effect can happen once: ``once(3)``."""

    def make(slot, key=None, **more):
        data = encode(["uint256"], [slot])
        return TxRequest(contract, data, "test", key or f"once:{slot}", **more)

    return make


async def until(condition, timeout_s=10):
    """Wait until a condition holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the chain tells nobody
            await asyncio.sleep(0.01)


def kinds(manager):
    return [event.kind for event in manager.events]


def sent_by(chain, key, block="latest"):
    return chain.rpc.number("eth_getTransactionCount", checksum_address(key.address), block)


def is_set(chain, contract, slot):
    return chain.rpc.number("eth_getStorageAt", checksum_address(contract), hex(slot), "latest")


def send_by_hand(chain, key, to, nonce, data=b""):
    """Send as another program with the same key would; return the hash."""
    fees = Fees(20 * GWEI, 10 * GWEI)
    raw = key.sign_fields(TxFields(CHAIN_ID, nonce, to, data, 0, 100_000, fees))
    return chain.rpc.call("eth_sendRawTransaction", "0x" + raw.hex())


async def hang(what):
    del what
    await asyncio.Event().wait()


def only_at(*names, do=hang):
    """A hook that acts on some calls only."""

    async def hook(what):
        if what in names:
            await do(what)

    return hook


@pytest.fixture(scope="session")
def kit():
    """The functions of this file, for tests."""
    return SimpleNamespace(
        until=until,
        kinds=kinds,
        sent_by=sent_by,
        is_set=is_set,
        send_by_hand=send_by_hand,
        only_at=only_at,
        hang=hang,
    )
