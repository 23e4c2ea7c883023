"""The tickets in hand: each one's state, in memory and in the store, and what they add up to."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field
from podium_hookspecs.events import RedemptionFailed, TicketRedeemed

from podium.errors import StoreError
from podium.model import TicketState
from podium.payments.redeem.ports import Total
from podium.payments.redeem.rules import is_urgent
from podium.payments.ticket import winner_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from attrs import Attribute
    from podium_hookspecs.events import Event

    from podium.model import TicketRecord, WinningTicket
    from podium.payments.redeem.ports import Redemption, RedemptionStore, Situation
    from podium.payments.redeem.rules import RedeemSettings

_NO_HASH = bytes(32)
_MINED = {TicketState.SUBMITTED, TicketState.CONFIRMED}


class Phase(Enum):
    """What is being done about a ticket in this process."""

    IDLE = "idle"
    CHECKING = "checking"
    """Its sender's funds are read, or it is dry-run."""

    CHECKED = "checked"
    """It can be sent, and has been given its part of the funds."""

    SENDING = "sending"
    """Its redemption is being seen through."""


@define(eq=False)
class Float:
    """What of a sender's funds is taken by its redemptions in flight.

    Attributes:
        wei: The sum of their face values, always up to date: each payment asks for it.
    """

    wei: int = 0


def _refloat(entry: Entry, attribute: Attribute[Any], value: Any) -> Any:
    """Keep a sender's float right whenever something about a ticket of its is set."""
    record: TicketRecord = value if attribute.name == "record" else entry.record
    phase = value if attribute.name == "phase" else entry.phase
    sending = phase in {Phase.CHECKED, Phase.SENDING}
    counts = sending or record.state is TicketState.SUBMITTED
    taken = record.ticket.face_value if counts else 0
    entry.floated.wei += taken - entry.taken
    entry.taken = taken
    return value


@define(eq=False)
class Entry:
    """A ticket in hand.

    Attributes:
        hash: The ticket's 32-byte hash.
        record: Its state; what is in the store, or about to be.
        floated: What its sender's tickets take together.
        phase: What is being done about it.
        urgent: It nears its end.
        alone: It failed in a batch: what it fails by shows only when it is sent alone.
        doubtful: A reorg may have undone its redemption.
        doomed_by: The final refusal that it met last time.
        outages: Times in a row that the chain could not be asked about it.
        taken: Wei that it takes of its sender's funds already.
    """

    hash: bytes
    record: TicketRecord = field(on_setattr=_refloat)
    floated: Float = field(factory=Float)
    phase: Phase = field(default=Phase.IDLE, on_setattr=_refloat)
    urgent: bool = False
    alone: bool = False
    doubtful: bool = False
    doomed_by: str = ""
    outages: int = 0
    taken: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.record = self.record  # counts it

    @property
    def ticket(self) -> WinningTicket:
        """The ticket itself."""
        return self.record.ticket


@define(eq=False)
class Books:
    """Tickets in hand, oldest first, and how they change.

    Attributes:
        entries: By the tickets' hashes.
        revealed: Randomness that was, or may have been, shown to the world, with the L1 block
            in which its parameters expire.
    """

    store: RedemptionStore
    settings: RedeemSettings
    now: Callable[[], float]
    jitter: Callable[[], float]
    on_event: Callable[[Event], None]
    on_problem: Callable[[str, Exception], None]
    entries: dict[bytes, Entry] = field(factory=dict, init=False)
    revealed: dict[int, int] = field(factory=dict, init=False)
    _by_sender: dict[bytes, dict[bytes, Entry]] = field(factory=dict, init=False)
    _floats: dict[bytes, Float] = field(factory=dict, init=False)
    _unsaved: dict[bytes, Entry] = field(factory=dict, init=False)
    _totals: dict[TicketState, Total] = field(factory=dict, init=False)

    async def load(self, since_round: int, *, again: bool) -> None:
        """Take over what the store has; what is being worked on here stays as it is.

        Args:
            since_round: Redeemed tickets of this round and later are still watched: a reorg may
                undo their redemption, and they can be redeemed again.
            again: Whether tickets may have been changed elsewhere; otherwise only new ones are
                looked for.

        Raises:
            StoreError: it could not be read.
        """
        records = await self.store.unsettled(since_round, new_only=not again)
        for record in records:
            self._take_over(record, again=again)
        if again:
            self._totals = {s: Total(*sums) for s, sums in (await self.store.totals()).items()}

    def _take_over(self, record: TicketRecord, *, again: bool) -> None:
        key = winner_hash(record.ticket)
        entry = self.entries.get(key)
        if entry is None:
            floated = self._floats.setdefault(record.ticket.sender, Float())
            entry = self.entries[key] = Entry(key, record, floated)
            entry.doubtful = record.state in _MINED  # nobody has watched until now
            if record.tx_key:
                self._reveal(entry)
            self._by_sender.setdefault(record.ticket.sender, {})[key] = entry
            if not again:
                self._count(record)
        elif (
            again and entry.phase is Phase.IDLE and entry.record.state is not TicketState.SUBMITTED
        ):
            entry.record = record

    def forget(self, before_round: int) -> None:
        """Let go of tickets that nothing more can happen to."""
        gone = [
            entry
            for entry in self.entries.values()
            if entry.hash not in self._unsaved and _is_settled(entry, before_round)
        ]
        for entry in gone:
            del self.entries[entry.hash]
            of_sender = self._by_sender[entry.ticket.sender]
            del of_sender[entry.hash]
            if not of_sender:
                del self._by_sender[entry.ticket.sender]
                del self._floats[entry.ticket.sender]

    def due(self) -> list[Entry]:
        """Return open tickets that nothing is being done about and whose wait is over."""
        now = self.now()
        return [
            entry
            for entry in self.entries.values()
            if entry.phase is Phase.IDLE
            and entry.record.state.is_open
            and entry.record.next_try_at <= now
        ]

    def _reveal(self, entry: Entry) -> None:
        self.revealed[entry.ticket.recipient_rand] = entry.ticket.expiration_block

    def forget_revealed(self, l1_block: int) -> None:
        """Let go of randomness whose parameters have expired: nobody can use it any more."""
        for rand in [rand for rand, expiry in self.revealed.items() if expiry <= l1_block]:
            del self.revealed[rand]

    def hurry(self, now: Situation) -> None:
        """End the waits of tickets that begin to near their end."""
        for entry in self.entries.values():
            was_urgent = entry.urgent
            entry.urgent = is_urgent(entry.ticket, now, self.settings)
            if entry.urgent and not was_urgent:
                self._end_wait(entry)

    def hasten(self, sender: bytes) -> None:
        """End the waits of a sender's blocked tickets."""
        for entry in self.of_sender(sender):
            if entry.record.state is TicketState.BLOCKED:
                self._end_wait(entry)

    def _end_wait(self, entry: Entry) -> None:
        if entry.phase is Phase.IDLE and entry.record.state.is_open:
            entry.record = evolve(entry.record, attempts=0, next_try_at=0.0)

    def next_due_at(self) -> float | None:
        """Return when the next wait is over, unix seconds."""
        times = (
            entry.record.next_try_at
            for entry in self.entries.values()
            if entry.phase is Phase.IDLE and entry.record.state.is_open
        )
        return min((at for at in times if at > self.now()), default=None)

    def doubt(self) -> None:
        """Note that any redemption may have been undone, also one that is about to be told of."""
        for entry in self.entries.values():
            entry.doubtful = entry.record.state in _MINED

    def doubtful(self) -> list[Entry]:
        """Return redeemed tickets to be looked at again, those whose wait is over."""
        now = self.now()
        return [
            entry
            for entry in self.entries.values()
            if entry.doubtful
            and entry.phase is Phase.IDLE
            and entry.record.state is TicketState.CONFIRMED
            and entry.record.next_try_at <= now
        ]

    def of_sender(self, sender: bytes) -> Iterable[Entry]:
        """Return a sender's tickets in hand."""
        return self._by_sender.get(sender, {}).values()

    def pending(self, sender: bytes) -> int:
        """Return the face value of a sender's redemptions in flight, wei."""
        floated = self._floats.get(sender)
        return 0 if floated is None else floated.wei

    def summary(self) -> Mapping[TicketState, Total]:
        """Return what the tickets of each state add up to."""
        return {state: self._totals.get(state, Total()) for state in TicketState}

    async def submitted(self, entries: Sequence[Entry], key: str) -> None:
        """Note that tickets are about to be sent; in the store before it is so in memory.

        Raises:
            StoreError: it could not be noted: do not send.
        """
        records = [
            evolve(
                entry.record,
                state=TicketState.SUBMITTED,
                reason="",
                next_try_at=0.0,
                tx_key=key,
                gas_price_limit=0,
            )
            for entry in entries
        ]
        await self.store.save(records)
        for entry, record in zip(entries, records, strict=True):
            self._set(entry, record)
            self._reveal(entry)

    async def redeemed(self, found: Sequence[tuple[Entry, Redemption]], block: int) -> None:
        """Note redemptions, those of one transaction together: each commit waits for the disk.

        Args:
            found: Tickets, each with its redemption.
            block: The newest block, for redemptions whose own is not known.
        """
        changes = []
        for entry, redemption in found:
            entry.alone, entry.doomed_by, entry.outages = False, "", 0
            record = evolve(
                entry.record,
                state=TicketState.CONFIRMED,
                reason="",
                attempts=0,
                next_try_at=0.0,
                tx_hash=redemption.tx_hash,
                paid=redemption.paid,
                block=redemption.block or block,
                gas_price_limit=0,
            )
            changes.append((entry, record))
        await self.change(changes)
        for entry, redemption in found:
            ticket, tx_hash = entry.ticket, redemption.tx_hash or _NO_HASH
            event = TicketRedeemed(ticket.sender, ticket.face_value, redemption.paid, tx_hash)
            self.on_event(event)

    async def given_up(self, entry: Entry, state: TicketState, reason: str) -> None:
        """Note that a ticket is lost."""
        await self.change([(entry, _held(entry.record, state, reason))])

    async def blocked(self, held: Iterable[tuple[Entry, str, int]]) -> None:
        """Note tickets that wait for something.

        Args:
            held: Each with the reason and, where that is the reason, the gas price at which it
                would go on. Without a reason its time has not come.
        """
        changes = []
        for entry, reason, limit in held:
            state = TicketState.BLOCKED if reason else TicketState.PENDING
            if (entry.record.state, entry.record.reason) != (state, reason):
                record = _held(entry.record, state, reason)
                changes.append((entry, evolve(record, attempts=0, gas_price_limit=limit)))
        await self.change(changes)

    async def failed(self, failures: Iterable[tuple[Entry, str]]) -> None:
        """Note tickets that were tried in vain, and when to try again."""
        changes = []
        for entry, reason in failures:
            entry.outages = 0
            attempts = entry.record.attempts + 1
            held = _held(entry.record, TicketState.BLOCKED, reason)
            at = self._after(entry, attempts)
            changes.append((entry, evolve(held, attempts=attempts, next_try_at=at)))
        await self.change(changes)

    async def released(self, entries: Iterable[Entry], wait_s: float = 0.0) -> None:
        """Put tickets back into the queue."""
        at = self.now() + wait_s if wait_s else 0.0
        changes = []
        for entry in entries:
            held = _held(entry.record, TicketState.PENDING, "")
            record = evolve(held, next_try_at=at, tx_hash=None, paid=None, block=0)
            changes.append((entry, record))
        await self.change(changes)

    async def change(self, changes: Sequence[tuple[Entry, TicketRecord]]) -> None:
        """Change tickets, here and in the store, and tell of it.

        What cannot be stored counts all the same: it is stored with the next look, and after a
        restart the chain is asked again.
        """
        if not changes:
            return
        before = [entry.record for entry, _ in changes]
        for entry, record in changes:
            self._set(entry, record)
        try:
            await self.store.save([record for _, record in changes])
        except StoreError as error:
            self._unsaved |= {entry.hash: entry for entry, _ in changes}
            self.on_problem("the state of tickets could not be stored", error)
        for old, (_, new) in zip(before, changes, strict=True):
            self._tell(old, new)

    async def save_rest(self) -> None:
        """Store what could not be stored before.

        Raises:
            StoreError: it still cannot.
        """
        if self._unsaved:
            entries = list(self._unsaved.values())
            await self.store.save([entry.record for entry in entries])
            for entry in entries:
                self._unsaved.pop(entry.hash, None)

    def postpone(self, entries: Iterable[Entry]) -> None:
        """Try again later, since the chain could not be asked. That is no fault of the ticket's."""
        for entry in entries:
            entry.outages += 1
            longest_s = self.settings.outage_retry_s
            if entry.urgent:
                longest_s = min(longest_s, self.settings.urgent_retry_s)
            at = self.now() + self.settings.backoff_s(entry.outages, self.jitter(), longest_s)
            entry.record = evolve(entry.record, next_try_at=at)

    def _after(self, entry: Entry, attempts: int) -> float:
        longest_s = self.settings.retry_max_s
        if entry.urgent:
            longest_s = min(longest_s, self.settings.urgent_retry_s)
        return self.now() + self.settings.backoff_s(attempts, self.jitter(), longest_s)

    def _set(self, entry: Entry, record: TicketRecord) -> None:
        self._count(entry.record, -1)
        self._count(record)
        entry.record = record

    def _count(self, record: TicketRecord, sign: int = 1) -> None:
        self._totals[record.state] = self._totals.get(record.state, Total()).plus(record, sign)

    def _tell(self, old: TicketRecord, new: TicketRecord) -> None:
        final = new.state in {TicketState.EXPIRED, TicketState.DEAD}
        news = (old.state, old.reason) != (new.state, new.reason)
        if news and (final or new.state is TicketState.BLOCKED):
            ticket = new.ticket
            self.on_event(RedemptionFailed(ticket.sender, ticket.face_value, new.reason, final))


def _held(record: TicketRecord, state: TicketState, reason: str) -> TicketRecord:
    return evolve(record, state=state, reason=reason, next_try_at=0.0, gas_price_limit=0)


def _is_settled(entry: Entry, before_round: int) -> bool:
    record = entry.record
    if entry.phase is not Phase.IDLE:
        return False
    if record.state is TicketState.CONFIRMED:
        return record.ticket.creation_round < before_round and not entry.doubtful
    return not record.state.is_open
