"""What is done about tickets: each piece of work a task of its own, none waits for another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from attrs import evolve

from podium.crypto import keccak256
from podium.errors import (
    AccountError,
    ChainError,
    GasPriceTooHigh,
    InsufficientFunds,
    Reverted,
    RpcError,
    SenderError,
    StoreError,
    TxFailed,
)
from podium.model import TicketState
from podium.payments.redeem.books import Phase
from podium.payments.redeem.rules import (
    CANNOT_PAY,
    EXPIRED,
    GAS_ABOVE_MAXIMUM,
    Verdict,
    Wish,
    allot,
    decide,
    is_urgent,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podium.payments.ports import SenderFunds
    from podium.payments.redeem.books import Books, Entry
    from podium.payments.redeem.ports import RedemptionChain, Refusal, Situation

T = TypeVar("T")
Job = Callable[[], Awaitable[None]]

TX_FAILED = "transaction failed"
DOUBTED_END = "it seems expired, but the contract would take it"
_UNREACHABLE = (ChainError, SenderError, StoreError, TimeoutError)


class Work:
    """Runs the work on tickets.

    Args:
        chain: Where.
        books: Of the tickets.
        wake: Asks for another look at the queue.
    """

    def __init__(self, chain: RedemptionChain, books: Books, wake: Callable[[], None]) -> None:
        self._chain = chain
        self._books = books
        self._wake = wake
        self._settings = books.settings
        self._questions = asyncio.Semaphore(books.settings.checks)
        self._tasks: set[asyncio.Task[None]] = set()
        self._plans: dict[bytes, asyncio.Task[None]] = {}
        self._sends = 0

    async def planned(self, timeout_s: float) -> None:
        """Wait until what is being planned can be sent, but not for long."""
        if self._plans:
            await asyncio.wait(set(self._plans.values()), timeout=timeout_s)

    async def wait(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def stop(self) -> None:
        """Cut everything off; the store knows what was under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # What the loop asks for.

    def plan(self, sender: bytes, entries: Sequence[Entry], now: Situation) -> None:
        """Give a sender's tickets their part of its funds, and dry-run those that have one."""
        if sender not in self._plans:
            task = self._begin(partial(self._plan, sender, entries, now), entries, Phase.CHECKING)
            self._plans[sender] = task
            task.add_done_callback(lambda _: self._plans.pop(sender, None))

    def send_checked(self) -> None:
        """Send what can be sent, the urgent first, as many by one transaction as are allowed."""
        checked = [e for e in self._books.entries.values() if e.phase is Phase.CHECKED]
        checked.sort(key=lambda entry: not entry.urgent)  # stable: the oldest first
        together = [entry for entry in checked if not entry.alone]
        size = self._settings.batch_size
        batches = [together[at : at + size] for at in range(0, len(together), size)]
        batches += [[entry] for entry in checked if entry.alone]
        for batch in batches[: max(0, self._settings.in_flight - self._sends)]:
            self._sends += 1
            task = self._begin(partial(self._send, batch), batch, Phase.SENDING)
            task.add_done_callback(self._sent)

    def resume(self, key: str, entries: Sequence[Entry]) -> None:
        """See tickets through that were being redeemed before a restart, or a time-out."""
        self._begin(partial(self._resume, key, entries), entries, Phase.SENDING)

    def expire(self, entry: Entry) -> None:
        """Give up a ticket whose rounds are over, unless it was redeemed."""
        self._begin(partial(self._expire, entry), [entry], Phase.CHECKING)

    def recheck(self, entries: Sequence[Entry]) -> None:
        """Look whether redemptions are still there."""
        for entry in entries:
            self._begin(partial(self._recheck, entry), [entry], Phase.CHECKING)

    # How it is done.

    def _begin(self, work: Job, entries: Sequence[Entry], phase: Phase) -> asyncio.Task[None]:
        for entry in entries:
            entry.phase = phase
        task = asyncio.create_task(self._guard(work, entries, phase))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guard(self, work: Job, entries: Sequence[Entry], phase: Phase) -> None:
        try:
            await work()
        except _UNREACHABLE as error:
            self._books.on_problem("the chain could not be asked about tickets", error)
            self._books.postpone(entry for entry in entries if entry.phase is phase)
        except Exception as error:  # noqa: BLE001  a bug must not end the others' redemption
            self._books.on_problem("work on tickets failed", error)
            self._books.postpone(entry for entry in entries if entry.phase is phase)
        finally:
            for entry in entries:
                if entry.phase is phase:
                    entry.phase = Phase.IDLE
            self._wake()

    def _sent(self, _: asyncio.Task[None]) -> None:
        self._sends -= 1

    async def _ask(self, question: Awaitable[T]) -> T:
        async with self._questions, asyncio.timeout(self._settings.call_timeout_s):
            return await question

    async def _plan(self, sender: bytes, entries: Sequence[Entry], now: Situation) -> None:
        recipient = entries[0].ticket.recipient
        funds = await self._ask(self._chain.funds(sender, recipient))
        active = await self._ask(self._chain.is_active(recipient))
        funds = evolve(funds, pending=self._books.pending(sender))
        ordered = sorted(entries, key=lambda e: not self._nears_end(e, now, funds))
        reasons = allot(
            [Wish(e.ticket.face_value, self._nears_end(e, now, funds)) for e in ordered],
            funds,
            active=active,
            current_round=now.current_round,
            tx_cost=self._settings.redeem_gas * now.gas_price,
        )
        refused = [(e, reason) for e, reason in zip(ordered, reasons, strict=True) if reason]
        await self._books.failed(refused)
        for entry, _ in refused:
            entry.phase = Phase.IDLE
        chosen = [e for e, reason in zip(ordered, reasons, strict=True) if not reason]
        async with asyncio.TaskGroup() as group:
            for entry in chosen:
                group.create_task(self._check(entry))

    def _nears_end(self, entry: Entry, now: Situation, funds: SenderFunds) -> bool:
        return is_urgent(entry.ticket, now, self._settings, funds.withdraw_round)

    async def _check(self, entry: Entry) -> None:
        """Dry-run a ticket: what would fail never gets into a transaction."""
        try:
            refusal = await self._ask(self._chain.dry_run(entry.ticket))
            if refusal is None:
                entry.phase = Phase.CHECKED
                return
            await self._refused(entry, refusal)
        except _UNREACHABLE as error:
            self._books.on_problem("a ticket could not be dry-run", error)
            self._books.postpone([entry])
        entry.phase = Phase.IDLE

    async def _send(self, entries: Sequence[Entry]) -> None:
        key = _key(entries)
        await self._books.submitted(entries, key)
        await self._redeem(entries, key)

    async def _redeem(self, entries: Sequence[Entry], key: str) -> None:
        """Send, or wait for what was sent; a :class:`ChainError` leaves it under way."""
        tickets = [entry.ticket for entry in entries]
        try:
            found = await self._chain.redeem(tickets, key)
        except GasPriceTooHigh:
            await self._books.failed([(entry, GAS_ABOVE_MAXIMUM) for entry in entries])
        except InsufficientFunds:
            await self._cannot_pay(entries)
        except (AccountError, RpcError) as error:
            if await self._ask(self._chain.under_way(key)):
                raise
            self._books.on_problem("a redemption could not be sent", error)
            await self._books.failed([(entry, error.code) for entry in entries])
        except (Reverted, TxFailed) as error:
            await self._failed(entries, error)
        else:
            pairs = list(zip(entries, found, strict=True))
            await self._books.redeemed([(e, r) for e, r in pairs if r is not None], self._block())
            await self._learn([entry for entry, redemption in pairs if redemption is None])

    async def _cannot_pay(self, entries: Sequence[Entry]) -> None:
        """Note that there is no money for gas; there may be some for a single ticket's."""
        if len(entries) > 1:
            await self._learn(entries)
        else:
            await self._books.failed([(entry, CANNOT_PAY) for entry in entries])

    async def _failed(self, entries: Sequence[Entry], error: Reverted | TxFailed) -> None:
        if len(entries) > 1:
            await self._learn(entries)
            return
        (entry,) = entries
        refusal = self._chain.refusal(error.reason or TX_FAILED)
        await self._refused(entry, refusal)

    async def _learn(self, entries: Sequence[Entry]) -> None:
        """Put what failed in a batch back into the queue: by itself it will say why."""
        for entry in entries:
            entry.alone = True
        await self._books.released(entries)

    async def _refused(self, entry: Entry, refusal: Refusal) -> None:
        """Take in a refusal; a final one counts when it was met twice, and after a look."""
        if not refusal.final:
            entry.doomed_by = ""
        elif await self._was_used(entry):
            return
        elif entry.doomed_by == refusal.reason:
            expired = self._has_expired(entry)
            state = TicketState.EXPIRED if expired else TicketState.DEAD
            await self._books.given_up(entry, state, refusal.reason)
            return
        else:
            entry.doomed_by = refusal.reason
        await self._books.failed([(entry, refusal.reason)])

    async def _resume(self, key: str, entries: Sequence[Entry]) -> None:
        if await self._ask(self._chain.under_way(key)):
            await self._redeem(entries, key)
            return
        left = [entry for entry in entries if not await self._was_used(entry)]
        await self._books.released(left)

    async def _expire(self, entry: Entry) -> None:
        """Give up a ticket whose rounds are over, unless the contract would still take it.

        What tells of the rounds may be wrong, and this cannot be undone.
        """
        if await self._was_used(entry):
            return
        if await self._ask(self._chain.dry_run(entry.ticket)) is None:
            await self._books.failed([(entry, DOUBTED_END)])
            return
        await self._books.given_up(entry, TicketState.EXPIRED, EXPIRED)

    async def _recheck(self, entry: Entry) -> None:
        before = entry.record
        if not await self._ask(self._chain.used(entry.ticket)):
            await self._books.released([entry], self._settings.reorg_wait_s)
        else:
            past = await self._ask(self._chain.past(entry.ticket))
            found = (past.tx_hash, past.block, past.paid)
            if past.tx_hash is not None and found != (before.tx_hash, before.block, before.paid):
                record = evolve(before, tx_hash=past.tx_hash, block=past.block, paid=past.paid)
                await self._books.change([(entry, record)])
        entry.doubtful = False

    async def _was_used(self, entry: Entry) -> bool:
        """Return whether a ticket was redeemed by now; if so it is noted."""
        if not await self._ask(self._chain.used(entry.ticket)):
            return False
        past = await self._ask(self._chain.past(entry.ticket))
        await self._books.redeemed([(entry, past)], self._block())
        return True

    def _has_expired(self, entry: Entry) -> bool:
        now = self._chain.situation()
        return decide(entry.ticket, now, self._settings).verdict is Verdict.EXPIRED

    def _block(self) -> int:
        return self._chain.situation().block


def _key(entries: Sequence[Entry]) -> str:
    """Return what makes a redemption unique: its tickets, and which try it is.

    A key that was used is not used again: its transaction has ended, and would be answered with
    what it came to then.
    """
    single = len(entries) == 1
    named = entries[0].hash if single else keccak256(b"".join(entry.hash for entry in entries))
    base = f"redeem:{named.hex()}"
    tries = [entry.record.tx_key for entry in entries if entry.record.tx_key.startswith(base)]
    if not tries:
        return base
    return f"{base}:{max(int(used[len(base) + 1 :] or 1) for used in tries) + 1}"
