"""Transactions of one account: sent once each, and seen through over restarts (payments 7.6)."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from podium.chain.flight import GAP_PURPOSE, Flight, TxEvent
from podium.chain.follower import Follower
from podium.chain.outbox import Outbox, TxOptions
from podium.chain.values import Receipt, TxRequest
from podium.errors import ChainError, PodiumError, TxTimeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium.chain.ports import Rpc, StoredTx, TxStore
    from podium.chain.signer import TxSigner

MAX_UNCLAIMED = 4096


def _unheard(event: TxEvent) -> None:
    del event


class TransactionManager:
    """Sends an account's transactions; a :class:`~podium.chain.ports.Transactor`.

    Two of one account must not run at once in one store. Another program that uses the key does
    no harm: its nonces are noticed.

    Args:
        rpc: The chain.
        signer: The account.
        store: Keeps what is under way.
        chain_id: Of the chain.
        options: How to send.
        on_event: Hears what happens; for logs and metrics. It must not block.
        now: Tells Unix seconds.
    """

    def __init__(
        self,
        rpc: Rpc,
        signer: TxSigner,
        store: TxStore,
        chain_id: int,
        *,
        options: TxOptions | None = None,
        on_event: Callable[[TxEvent], None] = _unheard,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._options = options or TxOptions()
        self._outbox = Outbox(
            rpc,
            signer,
            store,
            chain_id,
            self._options,
            on_event,
            now,
            max_fee=self._options.max_fee,
        )
        self._follower = Follower(self._outbox)
        self._flights: dict[str, Flight] = {}
        self._unclaimed: OrderedDict[str, Receipt | PodiumError] = OrderedDict()
        self._starts: dict[Flight, asyncio.Task[None]] = {}
        self._watch: asyncio.Task[None] | None = None
        self._resuming = asyncio.Lock()
        self._resumed = False

    @property
    def address(self) -> bytes:
        """20-byte address of the account that pays the gas."""
        return self._outbox.signer.address

    @property
    def max_fee(self) -> int:
        """Wei for one unit of gas that is never passed; 0: no maximum. It may be set."""
        return self._outbox.max_fee

    @max_fee.setter
    def max_fee(self, wei: int) -> None:
        self._outbox.max_fee = wei

    def under_way(self) -> list[StoredTx]:
        """Return the transactions that have not ended, by nonce."""
        found = [flight.stored for flight in self._flights.values() if flight.stored is not None]
        return sorted(found, key=lambda stored: stored.nonce)

    async def resume(self) -> int:
        """Take up what a former process left under way; return how many there are.

        They are broadcast again and seen through even if nobody asks for them. Whoever sends with
        the key of one gets its outcome, also when it has ended by then. Calling this again does
        nothing; the first ``send`` calls it too.

        Raises:
            StoreError: they could not be read.
        """
        async with self._resuming:
            if not self._resumed:
                for stored in await self._outbox.store.under_way(self.address):
                    if stored.key in self._flights:
                        continue
                    flight = self._add(Flight.resumed(stored))
                    self._outbox.nonces.hold(stored.nonce)
                    self._outbox.tell("resumed", flight)
                self._resumed = True
                self._ensure_watch()
        return len(self.under_way())

    async def send(self, request: TxRequest, *, timeout_s: float | None = None) -> Receipt:
        """Dry-run, send, replace when stuck, wait for confirmations.

        A caller that is cancelled, or whose time is up, leaves the transaction under way once it
        is stored: asking again with its key gets its outcome. Before that, nothing is sent.

        Raises:
            Reverted: the dry run reverted: nothing was sent.
            TxFailed: it was mined and reverted.
            TxTimeout: not mined in time.
            GasPriceTooHigh: gas costs more than the operator allows; nothing was sent.
            InsufficientFunds: the account cannot pay; nothing was sent.
            RpcUnavailable: the chain could not be reached; nothing was sent.
            RpcError: the chain refuses it; nothing was sent.
            StoreError: it could not be stored; nothing was sent.
            AccountError: the signer refuses; nothing was sent.
        """
        await self.resume()
        key = request.key
        flight = self._flights.get(key)
        if flight is None:
            if key in self._unclaimed:
                return _receipt(self._unclaimed.pop(key))
            flight = self._start(Flight(request))
        return await self._wait(flight, self._options.timeout_s if timeout_s is None else timeout_s)

    async def close(self) -> None:
        """Stop looking; what is under way stays stored, for the next start."""
        tasks = [*self._starts.values(), *([self._watch] if self._watch else ())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for flight in self._flights.values():
            flight.end(TxTimeout("stopping; the transaction stays under way"))

    def _start(self, flight: Flight, nonce: int | None = None) -> Flight:
        self._add(flight)
        task = asyncio.create_task(self._dispatch(flight, nonce))
        self._starts[flight] = task
        task.add_done_callback(lambda ended: self._started(flight, ended))
        return flight

    def _add(self, flight: Flight) -> Flight:
        """Keep a transaction until it ends; that is noted before anybody who waits hears of it."""
        self._flights[flight.request.key] = flight
        flight.done.add_done_callback(lambda _: self._ended(flight))
        return flight

    async def _dispatch(self, flight: Flight, nonce: int | None) -> None:
        try:
            await self._outbox.dispatch(flight, nonce)
        except PodiumError as error:
            self._outbox.tell("given_up", flight, str(error))
            flight.end(error)
        else:
            flight.airborne = True
            self._ensure_watch()

    def _started(self, flight: Flight, task: asyncio.Task[None]) -> None:
        """Pass a fault of ours on to who waits, instead of letting them wait."""
        self._starts.pop(flight, None)
        if not task.cancelled() and (fault := task.exception()) is not None:
            flight.fail(fault)

    async def _wait(self, flight: Flight, timeout_s: float) -> Receipt:
        flight.waiters += 1
        try:
            async with asyncio.timeout(timeout_s):
                outcome = await asyncio.shield(flight.done)
            self._unclaimed.pop(flight.request.key, None)
            return _receipt(outcome)
        except TimeoutError:
            tx_hash = flight.tx_hash
            if tx_hash is None:
                msg = f"the transaction ({flight.request.purpose}) could not be sent in time"
            else:
                msg = f"timed out waiting for transaction receipt txHash=0x{tx_hash.hex()}"
            raise TxTimeout(msg) from None
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.committed and not flight.done.done():
                self._abandon(flight)

    def _abandon(self, flight: Flight) -> None:
        """Send nothing for a caller who is gone before anything was stored."""
        self._drop(flight)
        if task := self._starts.get(flight):
            task.cancel()

    def _drop(self, flight: Flight) -> None:
        if self._flights.get(flight.request.key) is flight:
            del self._flights[flight.request.key]

    def _ensure_watch(self) -> None:
        if (self._watch is None or self._watch.done()) and self._flights:
            self._watch = asyncio.create_task(self._follow())
            self._watch.add_done_callback(self._watched)

    async def _follow(self) -> None:
        """Look at the chain as long as something is under way."""
        while self._flights:
            flights = [flight for flight in self._flights.values() if flight.airborne]
            try:
                gap = await self._follower.look(flights)
            except ChainError as error:
                for flight in flights[:1]:
                    self._outbox.tell("trouble", flight, str(error))
                gap = None
            if gap is not None and not self._starts:
                self._fill(gap)
            if self._flights:
                await asyncio.sleep(self._options.poll_s)

    def _ended(self, flight: Flight) -> None:
        """Keep an outcome until somebody asks for it: a restart may have cut the caller off."""
        self._drop(flight)
        if not flight.airborne or flight.fills_gap or flight.done.exception() is not None:
            return
        self._unclaimed[flight.request.key] = flight.done.result()
        if len(self._unclaimed) > MAX_UNCLAIMED:
            self._unclaimed.popitem(last=False)

    def _fill(self, nonce: int) -> None:
        """Use up a nonce that the others wait for, with a transaction that does nothing."""
        key = f"{GAP_PURPOSE}:{nonce}"
        if key not in self._flights:
            request = TxRequest(to=self.address, data=b"", purpose=GAP_PURPOSE, key=key)
            self._start(Flight(request), nonce)

    def _watched(self, task: asyncio.Task[None]) -> None:
        """Pass a fault of ours on to who waits, instead of letting them wait.

        What was under way still is: whoever asks again takes it up from the store.
        """
        if task.cancelled() or (fault := task.exception()) is None:
            return
        self._resumed = False
        for flight in [each for each in self._flights.values() if each.airborne]:
            flight.fail(fault)
            self._outbox.tell("trouble", flight, repr(fault))


def _receipt(outcome: Receipt | PodiumError) -> Receipt:
    if isinstance(outcome, PodiumError):
        raise outcome
    return outcome
