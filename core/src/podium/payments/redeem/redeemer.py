"""Redeems winning tickets: the loop around it all (payments 6.4 to 6.6).

Each look at the queue judges every ticket by itself, so none waits behind another. Being told of
a block or of a winner only makes the next look come sooner; whatever was missed, a look finds.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from podium.errors import ChainError, StoreError
from podium.model import TicketState
from podium.payments.redeem.books import Books
from podium.payments.redeem.rules import RedeemSettings, Verdict, decide
from podium.payments.redeem.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from podium_hookspecs.events import Event

    from podium.model import WinningTicket
    from podium.payments.redeem.books import Entry
    from podium.payments.redeem.ports import RedemptionChain, RedemptionStore, Situation, Total


def _ignore(what: str, error: Exception) -> None:
    del what, error


class Redeemer:
    """Sees every winning ticket of the store through to its end; also a ticket store itself.

    Give it to payments in place of the store: what they add is looked at as soon as it is
    committed.

    Args:
        chain: Where to redeem.
        store: The tickets.
        settings: Bounds.
        on_event: Hears ``TicketRedeemed`` and ``RedemptionFailed``.
        on_problem: Hears what went wrong and will be tried again.
        now: Unix seconds.
        jitter: A random number from 0 to 1.
    """

    def __init__(
        self,
        chain: RedemptionChain,
        store: RedemptionStore,
        *,
        on_event: Callable[[Event], None],
        settings: RedeemSettings | None = None,
        on_problem: Callable[[str, Exception], None] = _ignore,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings or RedeemSettings()
        self._chain = chain
        self._store = store
        self._on_problem = on_problem
        self._now = now
        self._books = Books(store, self.settings, now, jitter, on_event, on_problem)
        self._wake = asyncio.Event()
        self._work = Work(chain, self._books, self._wake.set)
        self._loaded = False
        self._added = False
        self._draining = False

    async def add(self, tickets: Sequence[WinningTicket]) -> None:
        """Commit winning tickets, and look at them at once.

        Raises:
            StoreError: nothing was stored.
        """
        await self._store.add(tickets)
        self._added = True
        self._wake.set()

    def wake(self, *, reorg: bool = False) -> None:
        """Look at the queue soon; call it for each block.

        Args:
            reorg: Blocks are gone: redemptions in them have to be looked for again.
        """
        if reorg:
            self._books.doubt()
        self._wake.set()

    def funds_changed(self, sender: bytes) -> None:
        """Try a sender's tickets again at once: its deposit or reserve may cover them now."""
        self._books.hasten(sender)
        self._wake.set()

    def pending(self, sender: bytes) -> int:
        """Return the face value of a sender's redemptions in flight, wei."""
        return self._books.pending(sender)

    def has_revealed(self, recipient_rand: int) -> bool:
        """Return whether a redemption has shown the randomness of parameters that still run.

        Whoever knows it can tell losing tickets from winners, so take no more of them.
        """
        return recipient_rand in self._books.revealed

    def keeps(self, sender: bytes) -> bool:
        """Return whether a sender has tickets still to be redeemed."""
        return any(entry.record.state.is_open for entry in self._books.of_sender(sender))

    def summary(self) -> Mapping[TicketState, Total]:
        """Return what the tickets of each state add up to, as far as the store was loaded."""
        return self._books.summary()

    async def run(self) -> None:
        """Redeem for ever; end it by cancelling. It never fails."""
        try:
            while True:
                try:
                    await self.look()
                except (ChainError, StoreError) as error:
                    self._on_problem("the tickets could not be looked at", error)
                except Exception as error:  # noqa: BLE001  a bug must not end redemption
                    self._on_problem("a look at the tickets failed", error)
                await self._sleep()
        finally:
            await self._work.stop()

    async def drain(self) -> None:
        """Begin nothing new, and wait for what is under way; cut it off as you like."""
        self._draining = True
        await self.settled()

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        await self._work.wait()

    async def _sleep(self) -> None:
        due = self._books.next_due_at()
        pause_s = self.settings.poll_s if due is None else due - self._now()
        try:
            async with asyncio.timeout(max(0.0, min(pause_s, self.settings.poll_s))):
                await self._wake.wait()
        except TimeoutError:
            pass
        await asyncio.sleep(self.settings.gather_s)
        self._wake.clear()

    async def look(self) -> None:
        """Look at the queue once, and begin what can be begun.

        Raises:
            ChainError: nothing is known of the chain.
            StoreError: the store could not be read.
        """
        now = self._chain.situation()
        await self._books.save_rest()
        await self._load(now)
        if self._draining:
            return
        self._work.recheck(self._books.doubtful())
        await self._judge(now)
        await self._work.planned(self.settings.check_wait_s)
        self._work.send_checked()

    async def _load(self, now: Situation) -> None:
        since = now.current_round - now.validity_rounds
        again = await self._store.changed_elsewhere() or not self._loaded
        if again or self._added:
            self._added = False
            try:
                await self._books.load(since, again=again)
            except StoreError:
                self._added, self._loaded = True, self._loaded and not again
                raise
            self._loaded = True
        self._books.forget(since)
        self._books.forget_revealed(now.l1_block)

    async def _judge(self, now: Situation) -> None:
        under_way: dict[str, list[Entry]] = defaultdict(list)
        ready: dict[tuple[bytes, bytes], list[Entry]] = defaultdict(list)
        held: list[tuple[Entry, str, int]] = []
        self._books.hurry(now)
        for entry in self._books.due():
            if entry.record.state is TicketState.SUBMITTED:
                under_way[entry.record.tx_key].append(entry)
                continue
            decision = decide(entry.ticket, now, self.settings)
            if decision.verdict is Verdict.EXPIRED:
                self._work.expire(entry)
            elif decision.verdict is Verdict.READY:
                ready[entry.ticket.sender, entry.ticket.recipient].append(entry)
            else:
                held.append((entry, decision.reason, decision.gas_price_limit))
        await self._books.blocked(held)
        for key, entries in under_way.items():
            self._work.resume(key, entries)
        for (sender, _), entries in ready.items():
            self._work.plan(sender, entries, now)
