"""Any order of crashes, blocks, outages and reorgs: each winner is paid once, or was too late."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING

from attrs import define, field
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from podium.errors import GasPriceTooHigh, RpcUnavailable, StoreError, TxFailed, TxTimeout
from podium.model import TicketState
from podium.payments.redeem import Redeemer, RedeemSettings, Refusal, Situation
from podium.payments.ticket import winner_hash
from podium.testing.redemption import FakeBroker, MemoryRedemptions, winning_ticket

if TYPE_CHECKING:
    from collections.abc import Sequence

FACE = 10**18
DEPOSIT = 1000 * FACE
SENDERS = [bytes([n]) * 20 for n in (1, 2, 3)]
SETTINGS = RedeemSettings(redeem_gas=350_000, batch=3, in_flight=2, gather_s=0.0, check_wait_s=0.05)
START = Situation(
    block=5000, l1_block=1000, current_round=10, round_initialized=True, paused=False,
    validity_rounds=2, blocks_left=60, round_length=60, gas_price=10**9, usual_gas_price=10**9,
)  # fmt: skip


@define
class World:
    """A chain, a store, and a node that may crash."""

    chain: FakeBroker = field(
        factory=lambda: FakeBroker(START, {s: DEPOSIT for s in SENDERS}, automine=False)
    )
    store: MemoryRedemptions = field(factory=MemoryRedemptions)
    clock: float = 0.0
    tickets: list = field(factory=list)
    events: list = field(factory=list)
    undone: Counter = field(factory=Counter)
    redeemer: Redeemer = field(init=False)

    def __attrs_post_init__(self):
        self.start()

    def start(self):
        self.store.changed = True
        self.redeemer = Redeemer(
            self.chain, self.store, settings=SETTINGS, on_event=self.events.append,
            now=lambda: self.clock, jitter=lambda: 0.5,
        )  # fmt: skip

    async def do(self, step: str, number: int) -> None:
        await getattr(self, step)(number)
        for _ in range(number):
            await asyncio.sleep(0)
        self.check()

    # What may happen.

    async def win(self, number):
        """A winner comes in."""
        made = winning_ticket(
            len(self.tickets),
            sender=SENDERS[number % 3],
            face_value=FACE + number,
            creation_round=self.chain.now.current_round,
            expiration_block=self.chain.now.l1_block + number % 5,
        )
        try:
            await self.redeemer.add([made])
        except StoreError:
            return
        self.tickets.append(made)

    async def look(self, number):
        """The node looks at its queue."""
        self.clock += number / 10
        with contextlib.suppress(RpcUnavailable, StoreError):
            await self.redeemer.look()

    async def mine(self, _):
        """What was sent is mined."""
        self.chain.mine()
        self.chain.set(block=self.chain.now.block + 1)

    async def blocks(self, number):
        """L1 blocks pass."""
        now = self.chain.now
        l1_block = now.l1_block + number
        rounds, into = divmod(l1_block - START.l1_block, 60)
        self.chain.set(
            l1_block=l1_block, current_round=10 + rounds, blocks_left=60 - into,
            block=now.block + number,
        )  # fmt: skip

    async def crash(self, _):
        """SIGKILL, and a new start."""
        await self.redeemer._work.stop()
        self.start()

    async def outage(self, number):
        """The chain does not answer, or does again."""
        self.chain.outage = RpcUnavailable("gone") if number % 2 else None

    async def disk(self, number):
        """Nothing can be stored, or it can again."""
        self.store.error = StoreError("full") if number % 3 == 0 else None

    async def gas(self, number):
        """Gas becomes dear or cheap."""
        self.chain.set(gas_price=10**9 if number % 2 else 10**14)

    async def trouble(self, number):
        """The next transaction goes wrong in one way or another."""
        errors = [TxTimeout("slow"), GasPriceTooHigh("dear"), TxFailed(bytes(32)), None]
        self.chain.send_error = errors[number % 4]

    async def stranger(self, number):
        """Somebody else redeems one of our tickets for us."""
        if self.tickets:
            self.chain.execute(self.tickets[number % len(self.tickets)], b"\x77" * 32)

    async def refuse(self, number):
        """The contract refuses one ticket for a while."""
        self.chain.refusals.clear()
        if self.tickets and number % 2:
            refused = winner_hash(self.tickets[number % len(self.tickets)])
            self.chain.refusals[refused] = Refusal("Panic 0x11")

    async def reorg(self, number):
        """The newest redemption never happened."""
        newest = [t for t in self.tickets if winner_hash(t) in self.chain.used_by][-1:]
        for ticket in newest:
            if self.chain.used_by[winner_hash(ticket)].block >= self.chain.now.block - 10:
                self.chain.undo(ticket)
                self.undone[winner_hash(ticket)] += 1
        self.redeemer.wake(reorg=True)

    # What must hold.

    def check(self):
        """No ticket is in two transactions that are under way."""
        flying = Counter(
            winner_hash(ticket)
            for tx in self.chain.under.values()
            if tx.results is None
            for ticket in tx.tickets
        )
        assert max(flying.values(), default=0) <= 1

    def is_forgotten(self, ticket):
        """A reorg undid it, and nobody could ask for rounds: too late to be redeemed again."""
        over = self.chain.now.current_round > ticket.creation_round + 2
        return over and self.undone[winner_hash(ticket)] > 0

    async def heal(self):
        """All is well from now on, and time passes."""
        self.chain.outage, self.store.error, self.chain.send_error = None, None, None
        self.chain.refusals.clear()
        self.chain.set(gas_price=10**9)
        self.redeemer.wake(reorg=True)
        for _ in range(40):
            self.clock += 301
            self.chain.set(l1_block=self.chain.now.l1_block + 1)  # the round lasts
            await self.look(0)
            for _ in range(40):
                await asyncio.sleep(0)
            await self.mine(0)
            for _ in range(40):
                await asyncio.sleep(0)
            self.check()


STEPS = [
    "win", "win", "win", "look", "look", "look", "look", "look", "mine", "mine", "blocks",
    "blocks", "crash", "crash", "outage", "disk", "gas", "trouble", "stranger", "refuse", "reorg",
]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 50)), min_size=30, max_size=120))
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.reuse, Phase.generate],  # shrinking takes longer than reading the steps
)
def test_each_winner_is_redeemed_once_or_too_late(steps):
    asyncio.run(live(steps))


async def live(steps: Sequence[tuple[str, int]]) -> None:
    world = World()
    for step, number in steps:
        await world.do(step, number)
    await world.heal()
    await world.redeemer._work.stop()
    unnoticed = 0
    for ticket in world.tickets:
        record = world.store.state(ticket)
        used = world.chain.used_by.get(winner_hash(ticket))
        if used is not None:
            assert record.state is TicketState.CONFIRMED, record
            assert record.paid == used.paid == ticket.face_value
        elif world.is_forgotten(ticket) and record.state is TicketState.CONFIRMED:
            unnoticed += record.paid or 0
        else:
            assert record.state is TicketState.EXPIRED, record
            assert world.chain.now.current_round >= ticket.creation_round + 2
    paid = sum(record.paid or 0 for record in world.store.records.values()) - unnoticed
    assert paid == sum(done.paid for done in world.chain.used_by.values())
    assert paid == 3 * DEPOSIT - sum(world.chain.deposits.values())
    summary = world.redeemer.summary()
    assert summary[TicketState.CONFIRMED].paid == paid + unnoticed
    assert sum(total.tickets for total in summary.values()) == len(world.tickets)
