"""A connection to the configured chain, the keys, and the account they act for."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from podium.chain.keystore import find_key
from podium.chain.networks import Network, find_network, settle_chain_id
from podium.chain.outbox import TxOptions
from podium.chain.reader import Addresses
from podium.chain.rpc import RpcPool
from podium.chain.signer import LocalSigner
from podium.chain.together import Together
from podium.chain.tx import TransactionManager
from podium.crypto import KeySigner, checksum_address
from podium.errors import AccountError, ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from podium.chain.flight import TxEvent
    from podium.chain.ports import HeadStore, StoredTx, TxStore
    from podium.chain.values import Head
    from podium.config.account import KeySettings
    from podium.config.settings import Settings

PATIENCE_S = 6.0
"""Whoever waits at a terminal is told soon that nobody answers."""

MAX_REBROADCAST_S = 20.0
REBROADCAST_POLLS = 6
"""So soon a transaction without a block is sent again. A node forgets some: Anvil drops those
behind one that a block has no room for."""

REPLACEMENT_MARGIN = 2
"""Beyond all its replacements a transaction gets as long again, before the wait for it ends."""


@frozen
class Chain:
    """A connection.

    Attributes:
        network: Which network.
        rpc: Its endpoints.
        addresses: The protocol's contracts.
        chain_id: As the endpoints say.
    """

    network: Network
    rpc: RpcPool
    addresses: Addresses
    chain_id: int


@frozen
class Orchestrator:
    """Who is registered, and whose key acts for it.

    Attributes:
        address: 20 bytes.
        keys: The settings of its own key; None where these settings do not have it.
        section: Where they are: ``account``.
        other: 20 bytes, whose key there is instead; None: none at all.
    """

    address: bytes
    keys: KeySettings | None = field(default=None, repr=False)
    section: str = "account"
    other: bytes | None = None

    def own_keys(self) -> KeySettings:
        """Return the settings of its own key: nobody else may act for its stake.

        Raises:
            AccountError: these settings do not have it.
        """
        if self.keys is not None:
            return self.keys
        own = checksum_address(self.address)
        if self.other is None:
            msg = f"this needs the key of {own}: give account.keystore or account.private_key"
        else:
            msg = (
                f"this needs the key of the orchestrator itself, {own}, but account is the key of"
                f" {checksum_address(self.other)}: give it as account.rewarder, or run this where"
                " it is kept"
            )
        raise AccountError(msg)


@define
class MemoryStore:
    """Keeps transactions and remembered values for as long as the process lives."""

    _transactions: dict[str, StoredTx] = field(factory=dict)
    _values: dict[str, str] = field(factory=dict)

    async def put(self, tx: StoredTx) -> None:
        """Insert a transaction, or replace the one with its key."""
        self._transactions[tx.key] = tx

    async def remove(self, key: str) -> None:
        """Forget a transaction that has ended."""
        self._transactions.pop(key, None)

    async def under_way(self, account: bytes) -> list[StoredTx]:
        """Return an account's transactions that have not ended, by nonce."""
        found = (tx for tx in self._transactions.values() if tx.account == account)
        return sorted(found, key=lambda tx: tx.nonce)

    async def heads(self) -> list[Head]:
        """Return nothing: heads are not kept."""
        return []

    async def keep_heads(self, heads: Sequence[Head]) -> None:
        """Keep nothing."""

    async def get(self, name: str) -> str | None:
        """Return a remembered value."""
        return self._values.get(name)

    async def put_value(self, name: str, value: str) -> None:
        """Remember a value."""
        self._values[name] = value


@asynccontextmanager
async def connected(
    settings: Settings, store: HeadStore | None = None, *, patience_s: float = PATIENCE_S
) -> AsyncIterator[Chain]:
    """Connect to the configured chain and find the contracts.

    Args:
        settings: Checked.
        store: Where the chain's id is remembered; None: it is not.
        patience_s: For the first answer of any endpoint.

    Raises:
        ConfigInvalid: no chain is configured, or its Controller is not known.
        WrongChain: it is another chain, or the Controller is not there.
        ChainError: it cannot be asked.
    """
    chain = settings.chain
    if not chain.on_chain:
        problem = 'chain.network: is "offchain"; this needs a chain, as "arbitrum-one-mainnet"'
        raise ConfigInvalid([problem])
    network = find_network(chain.network, chain.controller_bytes)
    assert network.controller is not None
    rpc = RpcPool(chain.rpc_urls, chain_id=network.chain_id)
    try:
        await rpc.call("eth_chainId", timeout_s=patience_s)
        chain_id = await settle_chain_id(rpc, store or MemoryStore(), network)
        addresses = await Addresses.load(Together(rpc), network.controller)
        yield Chain(network, rpc, addresses, chain_id)
    finally:
        await rpc.aclose()


def key_address(keys: KeySettings) -> bytes | None:
    """Return the 20 bytes of a key's address without unlocking it; None where there is no key.

    Raises:
        AccountError: the keystore does not say it.
    """
    if keys.key_bytes is not None:
        return KeySigner(keys.key_bytes).address
    if keys.keystore is None:
        return None
    return find_key(keys.keystore, keys.address_bytes).address


def orchestrator(settings: Settings) -> Orchestrator:
    """Return the orchestrator that the settings name, and its key if they have it.

    Raises:
        AccountError: there is no account at all, or a keystore cannot be read.
    """
    account = settings.account
    own = key_address(account)
    recipient = account.recipient_bytes
    if recipient is None and own is None:
        msg = "no account: give account.keystore (podium account create makes one)"
        raise AccountError(msg)
    if recipient in {None, own}:
        return Orchestrator(own or b"", account)
    assert recipient is not None
    if key_address(account.rewarder) == recipient:
        return Orchestrator(recipient, account.rewarder, "account.rewarder")
    return Orchestrator(recipient, other=own)


def unlock(keys: KeySettings, what: str, ask: Callable[[str], str] | None = None) -> LocalSigner:
    """Return the signer of a key; a key is never made here.

    Args:
        keys: Where it is.
        what: Its section, for errors: ``account``.
        ask: Asks for a password, with a prompt; None: there is nobody to ask.

    Raises:
        AccountError: there is no such key, or the password is not its own.
    """
    if keys.key_bytes is not None:
        return LocalSigner(keys.key_bytes)
    if keys.keystore is None:
        msg = f"no key: give {what}.keystore or {what}.private_key"
        raise AccountError(msg)
    found = find_key(keys.keystore, keys.address_bytes)
    password = keys.password.reveal if keys.password is not None else None
    if password is None:
        if ask is None:
            msg = f"{what}.password: must be given, there is no terminal to ask for it on"
            raise AccountError(msg)
        password = ask(f"Password of {checksum_address(found.address)}")
    return found.signer(password)


def tx_options(network: Network, settings: Settings) -> TxOptions:
    """Return how transactions are sent on a network."""
    chain = settings.chain
    waits = 1 + chain.max_replacements + REPLACEMENT_MARGIN
    poll_s = chain.poll_interval_s or network.poll_interval_s
    return TxOptions(
        max_fee=chain.max_gas_price_wei,
        confirmations=chain.confirmations or network.confirmations,
        replace_after_s=chain.transaction_timeout_s,
        max_replacements=chain.max_replacements,
        timeout_s=chain.transaction_timeout_s * waits,
        poll_s=poll_s,
        rebroadcast_s=min(MAX_REBROADCAST_S, REBROADCAST_POLLS * poll_s),
    )


@asynccontextmanager
async def transactor(
    chain: Chain,
    signer: LocalSigner,
    settings: Settings,
    store: TxStore | None = None,
    on_event: Callable[[TxEvent], None] | None = None,
) -> AsyncIterator[TransactionManager]:
    """Send transactions of an account.

    ``resume`` takes up those that the store has under way; the first ``send`` does so too.

    Args:
        chain: Where.
        signer: Whose.
        settings: Checked.
        store: Where they are kept; None: in memory, for tests and for what may be sent again.
        on_event: Hears what happens to them.
    """
    manager = TransactionManager(
        chain.rpc,
        signer,
        MemoryStore() if store is None else store,
        chain.chain_id,
        options=tx_options(chain.network, settings),
        on_event=on_event or _unheard,
    )
    try:
        yield manager
    finally:
        await manager.close()


def _unheard(event: TxEvent) -> None:
    del event
