"""A chain behind an RPC client, in memory: contracts whose every answer a test sets."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field
from eth_abi.abi import encode

from podium.chain.contracts import (
    NEVER,
    BondingManager,
    Controller,
    RoundsManager,
    ServiceRegistry,
    TicketBroker,
    Token,
)
from podium.chain.reader import Addresses
from podium.chain.values import Head, Log
from podium.crypto import keccak256
from podium.errors import ChainError, RpcUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium.chain.abi import Event, Function

FAKE_CONTRACTS = Addresses(*(bytes([0xC0, n]) + bytes(18) for n in range(7)))
"""Where the contracts of :class:`FakeProtocol` are."""


def _plain(value: Any) -> Any:
    """Turn addresses into what eth_abi encodes."""
    is_address = isinstance(value, bytes) and len(value) == 20
    return "0x" + value.hex() if is_address else value


@define(eq=False)
class FakeRpc:
    """Answers ``eth_call`` by contract and function; implements ``podium.chain.ports.Rpc``.

    Attributes:
        newest: Blocks after this one are unknown, as to an endpoint that lags; None: all known.
        error: Raised for each call while it is set.
        gate: Calls wait until it is set: clear it to let them hang.
        calls: How often each method was called.
        asked: How often each contract function was called, by name.
        blocks: The blocks that ``eth_call`` named.
        balances: Wei by 20-byte address.
        sent: What was broadcast.
    """

    newest: int | None = None
    error: ChainError | None = None
    gate: asyncio.Event = field(factory=asyncio.Event)
    calls: Counter[str] = field(factory=Counter)
    asked: Counter[str] = field(factory=Counter)
    blocks: list[str] = field(factory=list)
    balances: dict[bytes, int] = field(factory=dict)
    sent: list[bytes] = field(factory=list)
    _functions: dict[tuple[bytes, bytes], tuple[Function, Callable[..., Any]]] = field(
        factory=dict, init=False
    )

    def __attrs_post_init__(self) -> None:
        self.gate.set()

    def on(self, contract: bytes, function: Function, answer: Callable[..., Any]) -> None:
        """Answer a contract's function with what a callable makes of its arguments."""
        self._functions[contract, function.selector] = function, answer

    async def call(self, method: str, *params: Any, timeout_s: float | None = None) -> Any:
        """See :class:`podium.chain.ports.Rpc`."""
        self.calls[method] += 1
        await asyncio.sleep(0)  # as every real one, it lets others run
        async with asyncio.timeout(timeout_s):
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        if method == "eth_call":
            return self._contract(*params)
        if method == "eth_getBalance":
            return hex(self.balances.get(bytes.fromhex(params[0][2:]), 0))
        msg = f"the fake chain has no {method}"
        raise RpcUnavailable(msg)

    async def broadcast(self, raw: bytes) -> bytes:
        """See :class:`podium.chain.ports.Rpc`."""
        if self.error is not None:
            raise self.error
        self.sent.append(raw)
        return keccak256(raw)

    def _contract(self, call: dict[str, str], block: str) -> str:
        self.blocks.append(block)
        if self.newest is not None and block != "latest" and int(block, 16) > self.newest:
            msg = f"block {block} is not known yet"
            raise RpcUnavailable(msg)
        data = bytes.fromhex(call["data"][2:])
        key = bytes.fromhex(call["to"][2:]), data[:4]
        if key not in self._functions:
            return "0x"  # as an address without a contract
        function, answer = self._functions[key]
        self.asked[function.name] += 1
        found = answer(*function.decode_input(data))
        values = found if len(function.outputs) > 1 else (found,)
        return "0x" + encode(function.outputs, [_plain(value) for value in values]).hex()


@define
class FakeOrchestrator:
    """What the BondingManager and others know of an orchestrator."""

    transcoder: tuple[int, ...] = (0,) * 10
    delegator: tuple[Any, ...] = (0, 0, bytes(20), 0, 0, 0, 0)
    locks: dict[int, tuple[int, int]] = field(factory=dict)
    stake: int = 0
    fees: int = 0
    service_uri: str = ""
    tokens: int = 0


@define(eq=False)
class FakeProtocol:
    """The contracts that views read, over a :class:`FakeRpc`; blocks are L1 blocks too.

    Attributes:
        head: The newest block; :meth:`mine` makes another.
        round_length: Blocks in a round; round ``n`` begins at block ``n * round_length``.
        initialized: The last initialized round.
        hashes: Block hash by round.
        senders: ``(deposit, withdraw round, reserve remaining, reserve claimed)`` by address.
        claimed: What each claimant took, by sender and claimant.
        orchestrators: By address.
    """

    rpc: FakeRpc = field(factory=FakeRpc)
    head: Head = field(factory=lambda: Head(1005, b"\x01" * 32, bytes(32), 0, 1005))
    round_length: int = 100
    initialized: int = 10
    hashes: dict[int, bytes] = field(factory=lambda: {n: bytes([n]) * 32 for n in range(1, 11)})
    pool_size: int = 2
    paused: bool = False
    senders: dict[bytes, tuple[int, int, int, int]] = field(factory=dict)
    claimed: dict[tuple[bytes, bytes], int] = field(factory=dict)
    orchestrators: dict[bytes, FakeOrchestrator] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self._serve_rounds()
        self._serve_broker()
        self._serve_orchestrators()
        self.rpc.on(FAKE_CONTRACTS.controller, Controller.paused, lambda: self.paused)

    @property
    def current_round(self) -> int:
        """The newest block's round."""
        return self.head.l1_number // self.round_length

    def mine(self, blocks: int = 1) -> Head:
        """Make blocks."""
        number = self.head.number + blocks
        self.head = Head(number, number.to_bytes(32, "big"), self.head.hash, 0, number)
        return self.head

    def initialize_round(self) -> Log:
        """Initialize the current round; returns its event."""
        number = self.initialized = self.current_round
        self.hashes[number] = keccak256(number.to_bytes(32, "big"))
        return self.log(
            FAKE_CONTRACTS.rounds_manager,
            RoundsManager.new_round,
            number.to_bytes(32, "big"),
            data=self.hashes[number],
        )

    def log(self, contract: bytes, event: Event, *topics: bytes, data: bytes = b"") -> Log:
        """Make a log in the newest block; topics are padded to 32 bytes."""
        padded = (event.topic, *(topic.rjust(32, b"\0") for topic in topics))
        return Log(contract, padded, data, self.head.number, self.head.hash, bytes(32))

    def sender_log(self, event: Event, sender: bytes, *topics: bytes) -> Log:
        """Make a log of the TicketBroker."""
        return self.log(FAKE_CONTRACTS.ticket_broker, event, sender, *topics)

    def own_log(self, event: Event, *topics: bytes) -> Log:
        """Make a log of the BondingManager."""
        return self.log(FAKE_CONTRACTS.bonding_manager, event, *topics)

    def activate(self, address: bytes, from_round: int) -> FakeOrchestrator:
        """Put an orchestrator into the active set."""
        coder = (0, 100_000, 50_000, from_round, from_round, NEVER, 0, 0, 0, 0)
        stake = 5 * 10**18
        found = FakeOrchestrator(coder, (stake, 0, address, stake, from_round, 0, 0), stake=stake)
        self.orchestrators[address] = found
        return found

    def _orchestrator(self, address: bytes) -> FakeOrchestrator:
        return self.orchestrators.get(address, FakeOrchestrator())

    def _serve_rounds(self) -> None:
        on, to = self.rpc.on, FAKE_CONTRACTS.rounds_manager
        on(to, RoundsManager.last_initialized, lambda: self.initialized)
        on(to, RoundsManager.current_round, lambda: self.current_round)
        on(to, RoundsManager.start_block, lambda: self.current_round * self.round_length)
        on(to, RoundsManager.round_length, lambda: self.round_length)
        on(to, RoundsManager.lock_amount, lambda: 100_000)
        on(to, RoundsManager.block_hash_for_round, lambda n: self.hashes.get(n, bytes(32)))

    def _serve_broker(self) -> None:
        on, to = self.rpc.on, FAKE_CONTRACTS.ticket_broker
        on(to, TicketBroker.get_sender_info, self._sender_info)
        on(to, TicketBroker.claimed_reserve, lambda *both: self.claimed.get(both, 0))
        on(to, TicketBroker.ticket_validity_period, lambda: 2)
        on(to, TicketBroker.unlock_period, lambda: 2)

    def _sender_info(self, sender: bytes) -> tuple[tuple[int, int], tuple[int, int]]:
        deposit, withdraw_round, remaining, claimed = self.senders.get(sender, (0, 0, 0, 0))
        return (deposit, withdraw_round), (remaining, claimed)

    def _serve_orchestrators(self) -> None:
        on, to, of = self.rpc.on, FAKE_CONTRACTS.bonding_manager, self._orchestrator
        on(to, BondingManager.pool_size, lambda: self.pool_size)
        on(to, BondingManager.pool_max_size, lambda: 100)
        on(to, BondingManager.unbonding_period, lambda: 7)
        on(to, BondingManager.get_transcoder, lambda who: of(who).transcoder)
        on(to, BondingManager.get_delegator, lambda who: of(who).delegator)
        on(to, BondingManager.unbonding_lock, lambda who, n: of(who).locks.get(n, (0, 0)))
        on(to, BondingManager.pending_stake, lambda who, _: of(who).stake)
        on(to, BondingManager.pending_fees, lambda who, _: of(who).fees)
        on(FAKE_CONTRACTS.service_registry, ServiceRegistry.get_uri, lambda w: of(w).service_uri)
        on(FAKE_CONTRACTS.livepeer_token, Token.balance_of, lambda who: of(who).tokens)

    def rewind(self, blocks: int) -> Head:
        """Replace the newest blocks by another one."""
        number = self.head.number - blocks + 1
        self.head = evolve(self.head, number=number, l1_number=number, hash=b"\xff" * 32)
        return self.head
