"""Sends an account's transactions: dry run, nonce, signature, store, broadcast, replacement."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen, validators

from podium.chain.blocks import quantity
from podium.chain.fees import bump, highest
from podium.chain.flight import Flight, TxEvent, TxEventKind
from podium.chain.market import Market
from podium.chain.nonces import Nonces
from podium.chain.signer import TxFields
from podium.crypto import checksum_address
from podium.errors import (
    AccountError,
    ChainError,
    GasPriceTooHigh,
    InsufficientFunds,
    RpcError,
    RpcUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium.chain.fees import Fees
    from podium.chain.ports import Rpc, TxStore
    from podium.chain.signer import TxSigner
    from podium.chain.values import Receipt, TxRequest

NONCE_TRIES = 8
GAS_MARGIN_PERCENT = 120


@frozen(kw_only=True)
class TxOptions:
    """How transactions are sent.

    Attributes:
        max_fee: Wei for one unit of gas that is never passed; 0: no maximum.
        confirmations: Blocks that must follow a transaction's own before it counts as done.
        replace_after_s: How long one waits for a block before its fees are raised, and before a
            gap in the nonces is filled.
        max_replacements: How often its fees are raised.
        rebroadcast_s: How long one waits before the same bytes are sent again: nodes forget.
        timeout_s: How long a caller waits, unless it says otherwise.
        poll_s: Seconds between two looks at the chain while something is under way.
        sign_timeout_s: How long a signer may take.
    """

    max_fee: int = field(default=0, validator=validators.ge(0))
    confirmations: int = field(default=1, validator=validators.ge(0))
    replace_after_s: float = field(default=60.0, validator=validators.gt(0))
    max_replacements: int = field(default=8, validator=validators.ge(0))
    rebroadcast_s: float = field(default=20.0, validator=validators.gt(0))
    timeout_s: float = field(default=600.0, validator=validators.gt(0))
    poll_s: float = field(default=1.0, validator=validators.gt(0))
    sign_timeout_s: float = field(default=30.0, validator=validators.gt(0))


@define(eq=False)
class Outbox:
    """What is shared by all transactions of one account.

    Attributes:
        rpc: The chain.
        signer: The account.
        store: Keeps what is under way.
        chain_id: Of the chain.
        options: How to send.
        on_event: Hears what happens.
        max_fee: The operator's maximum; may change while the node runs.
        nonces: Those that are held.
    """

    rpc: Rpc
    signer: TxSigner
    store: TxStore
    chain_id: int
    options: TxOptions
    on_event: Callable[[TxEvent], None]
    now: Callable[[], float] = time.time
    nonces: Nonces = field(factory=Nonces)
    max_fee: int = 0
    _lock: asyncio.Lock = field(factory=asyncio.Lock)

    def tell(
        self, kind: TxEventKind, flight: Flight, detail: str = "", receipt: Receipt | None = None
    ) -> None:
        """Report what happened to a transaction."""
        nonce = None if flight.stored is None else flight.nonce
        tx_hash = flight.tx_hash if receipt is None else receipt.tx_hash
        request, account = flight.request, self.signer.address
        self.on_event(
            TxEvent(
                kind,
                account,
                request.purpose,
                request.key,
                nonce,
                tx_hash,
                flight.fees,
                detail,
                receipt,
            )
        )

    async def dispatch(self, flight: Flight, nonce: int | None = None) -> None:
        """Dry-run, sign, store and broadcast; also a second time, with a new nonce.

        When it returns, the transaction is under way, if maybe not known to the chain yet. When
        it raises, nothing was sent and nothing is stored, except for ``RpcUnavailable``, which
        leaves all as it was.

        Args:
            flight: What to send.
            nonce: The only one it is good for; None: the next free one.
        """
        for _ in range(NONCE_TRIES):
            await self._prepare(flight)
            if await self._launch(flight, nonce):
                return
            if nonce is not None:
                break
        msg = f"the chain counts more transactions of {checksum_address(self.signer.address)}"
        raise RpcError(msg, kind="nonce_too_low")

    def call_of(self, request: TxRequest, gas: int = 0) -> dict[str, Any]:
        """Return a request as JSON-RPC wants it for a call that sends nothing."""
        call = {
            "from": checksum_address(self.signer.address),
            "to": checksum_address(request.to),
            "data": f"0x{request.data.hex()}",
            "value": hex(request.value),
        }
        return {**call, "gas": hex(gas)} if gas else call

    async def _prepare(self, flight: Flight) -> None:
        """Find out whether it would work now, and what it costs."""
        address = checksum_address(self.signer.address)
        request = flight.request
        estimate = await self._dry_run(request)
        market, balance = await asyncio.gather(
            Market.read(self.rpc), self.rpc.call("eth_getBalance", address, "latest")
        )
        flight.fees = market.fees(self.max_fee)
        flight.gas_limit = request.gas_limit or min(
            estimate * GAS_MARGIN_PERCENT // 100, market.gas_limit
        )
        needed = flight.gas_limit * flight.fees.cap + request.value
        if quantity(balance) < needed:
            msg = (
                f"account {address} has {_ether(quantity(balance))} ETH, and this transaction may"
                f" cost {_ether(needed)}: send ETH to it"
            )
            raise InsufficientFunds(msg)

    async def _dry_run(self, request: TxRequest) -> int:
        """Return the gas it takes; a revert shows here and costs nothing."""
        call = self.call_of(request, request.gas_limit)
        try:
            if request.gas_limit:
                await self.rpc.call("eth_call", call, "latest")
                return request.gas_limit
            return quantity(await self.rpc.call("eth_estimateGas", call, "latest"))
        except RpcError as error:
            if error.kind == "funds":
                raise InsufficientFunds(str(error)) from error
            raise

    async def _launch(self, flight: Flight, fixed: int | None) -> bool:
        """Give it a nonce, store it, then broadcast it; False if the nonce turns out used.

        One at a time, so that nonces reach the chain in order, and so that one that is refused
        leaves no gap: nobody holds a higher one yet.
        """
        async with self._lock:
            nonce = await self._take(fixed)
            before, kept = flight.stored, False
            try:
                raw = await self._sign(flight, nonce, flight.fees)
                flight.committed = True
                await self.store.put(flight.take_off(self.signer.address, nonce, raw, self.now()))
                kept = True
            finally:
                if not kept:
                    flight.stored, flight.committed = before, before is not None
                    self.nonces.give_back(nonce)
            if before is not None and before.nonce != nonce:
                self.nonces.spend(before.nonce)
            return await self._first_broadcast(flight, raw)

    async def _take(self, fixed: int | None) -> int:
        if fixed is not None:
            self.nonces.hold(fixed)
            return fixed
        address = checksum_address(self.signer.address)
        return self.nonces.take(
            quantity(await self.rpc.call("eth_getTransactionCount", address, "pending"))
        )

    async def _sign(self, flight: Flight, nonce: int, fees: Fees) -> bytes:
        request = flight.request
        fields = TxFields(
            chain_id=self.chain_id,
            nonce=nonce,
            to=request.to,
            data=request.data,
            value=request.value,
            gas_limit=flight.gas_limit,
            fees=fees,
        )
        try:
            async with asyncio.timeout(self.options.sign_timeout_s):
                return await self.signer.sign_transaction(fields)
        except TimeoutError:
            msg = f"the signer gave no answer in {self.options.sign_timeout_s:g} s"
            raise AccountError(msg) from None

    async def _first_broadcast(self, flight: Flight, raw: bytes) -> bool:
        """Broadcast what nobody has seen before, so that a refusal takes it back for good."""
        try:
            await self.rpc.broadcast(raw)
        except RpcUnavailable as error:
            self.tell("trouble", flight, str(error))  # somebody may have it: see it through
        except ChainError as error:
            kind = error.kind if isinstance(error, RpcError) else "unknown"
            if kind not in ("already_known", "underpriced") and not await self._is_known(flight):
                await self._withdraw(flight, error, spent=kind == "nonce_too_low")
                if kind == "nonce_too_low":
                    return False
                if kind == "funds":
                    raise InsufficientFunds(str(error)) from error
                raise
            self.tell("refused", flight, str(error))
        self.tell("sent", flight)
        return True

    async def _is_known(self, flight: Flight) -> bool:
        """Return whether an endpoint has it after all: one may have taken it, and not answered."""
        assert flight.tx_hash is not None
        try:
            tx_hash = f"0x{flight.tx_hash.hex()}"
            return await self.rpc.call("eth_getTransactionByHash", tx_hash) is not None
        except ChainError:
            return True  # see it through, since nobody knows

    async def _withdraw(self, flight: Flight, error: ChainError, *, spent: bool) -> None:
        """Take back what nobody has; its nonce is free, unless others have used it."""
        await self.store.remove(flight.request.key)
        self.tell("refused", flight, str(error))
        if spent:
            self.nonces.spend(flight.nonce)
        else:
            self.nonces.give_back(flight.nonce)
        flight.stored, flight.committed = None, False

    async def rebroadcast(self, flight: Flight) -> None:
        """Broadcast its newest form again."""
        assert flight.stored is not None
        flight.broadcast_at = self.now()
        try:
            await self.rpc.broadcast(flight.stored.raws[-1])
        except RpcUnavailable:
            raise
        except ChainError as error:
            kind = error.kind if isinstance(error, RpcError) else "unknown"
            if kind not in ("already_known", "nonce_too_low"):
                self.tell("refused", flight, str(error))

    async def replace(self, flight: Flight) -> None:
        """Raise the fees of one that waits too long, if the operator's maximum allows it."""
        assert flight.stored is not None
        fees = bump(flight.fees, self.max_fee)
        if fees is not None:
            try:
                fees = highest(fees, (await Market.read(self.rpc)).fees(self.max_fee))
            except GasPriceTooHigh:
                fees = None
        if fees is None:
            flight.offered_at = self.now()  # look again when as much time has passed
            self.tell("capped", flight, "higher fees would pass the maximum gas price")
            await self.rebroadcast(flight)
            return
        raw = await self._sign(flight, flight.nonce, fees)
        before = flight.stored, flight.fees, flight.offered_at, flight.broadcast_at
        try:
            await self.store.put(flight.replaced(raw, fees, self.now()))
        except BaseException:  # what is not stored must never be sent
            flight.stored, flight.fees, flight.offered_at, flight.broadcast_at = before
            raise
        self.tell("replaced", flight)
        await self.rebroadcast(flight)


def _ether(wei: int) -> str:
    """Return an amount in ether, exact, without trailing zeros."""
    whole, rest = divmod(wei, 10**18)
    return f"{whole}.{rest:018d}".rstrip("0").rstrip(".")
