"""A ticket broker in memory, and a store of tickets: deterministic, both outlive "crashes"."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field

from podium.errors import Reverted, StoreError
from podium.model import TicketRecord, TicketState, WinningTicket
from podium.payments.ports import SenderFunds
from podium.payments.redeem import Redemption, Refusal, Situation
from podium.payments.ticket import winner_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

_USED = Refusal("ticket is used", final=True)
_EXPIRED = Refusal("ticket is expired", final=True)
_BROKE = Refusal("sender deposit and reserve are zero")


def winning_ticket(number: int, **fields: Any) -> WinningTicket:
    """Return a winner of round 10, worth 1 ETH, whose parameters expire in L1 block 1040."""
    ticket = WinningTicket(
        sender=b"\x01" * 20,
        recipient=b"\x09" * 20,
        face_value=10**18,
        win_prob=2**255,
        nonce=number,
        recipient_rand_hash=b"\x03" * 32,
        creation_round=10,
        block_hash=b"\x04" * 32,
        recipient_rand=5,
        expiration_block=1040,
        signature=number.to_bytes(65, "big"),
    )
    return evolve(ticket, **fields)


@define(eq=False)
class FakeTx:
    """A transaction that was sent."""

    key: str
    tickets: tuple[WinningTicket, ...]
    hash: bytes
    results: list[Redemption | None] | None = None
    done: asyncio.Event = field(factory=asyncio.Event)


@define(eq=False)
class FakeBroker:
    """The chain that redemption needs, with every fact of it settable.

    Attributes:
        now: What the views say.
        deposits: Wei per sender; there are no reserves.
        withdraw_rounds: Per sender, where it has unlocked.
        refusals: What the contract has against a ticket, by hash.
        used_by: Redemptions that happened, by ticket hash.
        under: Transactions under way, by key; they outlive the node.
        sent: Keys and ticket hashes of all transactions ever sent, in order.
        automine: Whether a transaction is mined as soon as it is sent.
        logs_kept: Whether past redemptions can be found.
        inactive: Whether the recipient has no part in reserves.
        outage: Raised by whatever asks the chain.
        send_error: Raised by the next transaction instead of sending it.
        blind: Raised one by one by the next looks.
        hanging: Hashes of tickets whose dry run never answers.
        dry_runs: How many there were.
    """

    now: Situation
    deposits: dict[bytes, int] = field(factory=dict)
    withdraw_rounds: dict[bytes, int] = field(factory=dict)
    refusals: dict[bytes, Refusal] = field(factory=dict)
    used_by: dict[bytes, Redemption] = field(factory=dict)
    under: dict[str, FakeTx] = field(factory=dict)
    sent: list[tuple[str, tuple[bytes, ...]]] = field(factory=list)
    automine: bool = True
    logs_kept: bool = True
    inactive: bool = False
    outage: Exception | None = None
    send_error: Exception | None = None
    blind: list[Exception] = field(factory=list)
    hanging: set[bytes] = field(factory=set)
    dry_runs: int = 0

    def situation(self) -> Situation:
        """Return what is known."""
        if self.blind:
            raise self.blind.pop(0)
        return self.now

    def set(self, **changes: Any) -> None:
        """Change what is known of the chain."""
        self.now = evolve(self.now, **changes)

    async def funds(self, sender: bytes, recipient: bytes) -> SenderFunds:
        """Return a sender's deposit."""
        del recipient
        await self._ask()
        return SenderFunds(
            self.deposits.get(sender, 0), 0, withdraw_round=self.withdraw_rounds.get(sender, 0)
        )

    async def is_active(self, recipient: bytes) -> bool:
        """Return whether it is."""
        del recipient
        return not self.inactive

    async def used(self, ticket: WinningTicket) -> bool:
        """Return whether it is."""
        await self._ask()
        return winner_hash(ticket) in self.used_by

    async def past(self, ticket: WinningTicket) -> Redemption:
        """Return its redemption."""
        await self._ask()
        return self.used_by[winner_hash(ticket)] if self.logs_kept else Redemption()

    async def dry_run(self, ticket: WinningTicket) -> Refusal | None:
        """Judge it as the contract would."""
        await self._ask()
        self.dry_runs += 1
        if winner_hash(ticket) in self.hanging:
            await asyncio.sleep(3600)
        return self._judge(ticket)

    async def under_way(self, key: str) -> bool:
        """Return whether it is."""
        return key in self.under

    async def redeem(self, tickets: Sequence[WinningTicket], key: str) -> list[Redemption | None]:
        """Send, mine, return what came of it."""
        if key not in self.under:
            await self._ask()
            self._send(tickets, key)
        tx = self.under[key]
        await tx.done.wait()
        self.under.pop(key, None)
        assert tx.results is not None
        by_hash = dict(zip(map(winner_hash, tx.tickets), tx.results, strict=True))
        return [by_hash.get(winner_hash(ticket)) for ticket in tickets]

    def refusal(self, reason: str) -> Refusal:
        """Judge a text."""
        found = {each.reason: each for each in (*self.refusals.values(), _USED, _EXPIRED)}
        return found.get(reason, Refusal(reason))

    def mine(self) -> None:
        """Mine all that was sent."""
        for tx in self.under.values():
            if tx.results is None:
                tx.results = [self.execute(ticket, tx.hash) for ticket in tx.tickets]
                tx.done.set()

    def execute(self, ticket: WinningTicket, tx_hash: bytes) -> Redemption | None:
        """Redeem a ticket on the chain, whoever asks for it."""
        if self._judge(ticket) is not None:
            return None
        paid = min(ticket.face_value, self.deposits[ticket.sender])
        self.deposits[ticket.sender] -= paid
        done = Redemption(paid, tx_hash, self.now.block)
        self.used_by[winner_hash(ticket)] = done
        return done

    def undo(self, ticket: WinningTicket) -> None:
        """Drop a redemption, as a reorg does."""
        done = self.used_by.pop(winner_hash(ticket))
        self.deposits[ticket.sender] += done.paid or 0

    async def _ask(self) -> None:
        await asyncio.sleep(0)
        if self.outage is not None:
            raise self.outage

    def _send(self, tickets: Sequence[WinningTicket], key: str) -> None:
        if self.send_error is not None:
            error, self.send_error = self.send_error, None
            raise error
        if len(tickets) == 1 and (refusal := self._judge(tickets[0])) is not None:
            raise Reverted(refusal.reason)
        hashes = tuple(map(winner_hash, tickets))
        self.sent.append((key, hashes))
        tx_hash = len(self.sent).to_bytes(32, "big")
        self.under[key] = FakeTx(key, tuple(tickets), tx_hash)
        if self.automine:
            self.mine()

    def _judge(self, ticket: WinningTicket) -> Refusal | None:
        key = winner_hash(ticket)
        if self.now.current_round >= ticket.creation_round + self.now.validity_rounds:
            return _EXPIRED
        if key in self.used_by:
            return _USED
        if key in self.refusals:
            return self.refusals[key]
        return None if self.deposits.get(ticket.sender) else _BROKE


@define(eq=False)
class MemoryRedemptions:
    """A store that a test can look into, fail, and keep over the crash of a redeemer.

    Attributes:
        records: By ticket hash.
        error: Raised by every call.
        unsaved: States that cannot be saved.
        changed: Whether somebody else has changed something.
    """

    records: dict[bytes, TicketRecord] = field(factory=dict)
    error: StoreError | None = None
    unsaved: set[TicketState] = field(factory=set)
    changed: bool = True

    async def add(self, tickets: Sequence[WinningTicket]) -> None:
        """Keep tickets, each once."""
        self._fail()
        for ticket in tickets:
            self.records.setdefault(winner_hash(ticket), TicketRecord(ticket))

    async def unsettled(self, since_round: int, *, new_only: bool = False) -> list[TicketRecord]:
        """Return what is not settled, new or not."""
        del new_only
        self._fail()
        return [
            record
            for record in self.records.values()
            if record.state.is_open or _is_watched(record, since_round)
        ]

    async def save(self, records: Sequence[TicketRecord]) -> None:
        """Keep states."""
        self._fail()
        if any(record.state in self.unsaved for record in records):
            raise StoreError("the disk is full")
        self.records |= {winner_hash(record.ticket): record for record in records}

    async def changed_elsewhere(self) -> bool:
        """Return whether a test changed something."""
        changed, self.changed = self.changed, False
        return changed

    async def totals(self) -> dict[TicketState, tuple[int, int, int]]:
        """Add up."""
        found = dict.fromkeys(TicketState, (0, 0, 0))
        for record in self.records.values():
            tickets, faces, paid = found[record.state]
            found[record.state] = (
                tickets + 1,
                faces + record.ticket.face_value,
                paid + (record.paid or 0),
            )
        return found

    def state(self, ticket: WinningTicket) -> TicketRecord:
        """Return a ticket's record."""
        return self.records[winner_hash(ticket)]

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error


def _is_watched(record: TicketRecord, since_round: int) -> bool:
    confirmed = record.state is TicketState.CONFIRMED
    return confirmed and record.ticket.creation_round >= since_round
