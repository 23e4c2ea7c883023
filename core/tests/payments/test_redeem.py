"""The redeemer over a chain in memory: what it does in each situation, restarts included."""

from __future__ import annotations

import asyncio

import pytest
from attrs import define, evolve, field
from podium.errors import (
    AccountError,
    GasPriceTooHigh,
    InsufficientFunds,
    RpcError,
    RpcUnavailable,
    TxFailed,
    TxTimeout,
)
from podium.model import TicketRecord, TicketState
from podium.payments.redeem import (
    Redeemer,
    RedeemSettings,
    Redemption,
    Refusal,
    Situation,
    Total,
    rules,
)
from podium.payments.ticket import winner_hash
from podium.testing.redemption import FakeBroker, MemoryRedemptions
from podium.testing.redemption import winning_ticket as ticket

FACE = 10**18
SENDER = b"\x01" * 20
OTHER = b"\x02" * 20
SETTINGS = RedeemSettings(redeem_gas=350_000, gather_s=0.0, check_wait_s=0.05, poll_s=0.02)
NOW = Situation(
    block=5000, l1_block=1040, current_round=10, round_initialized=True, paused=False,
    validity_rounds=2, blocks_left=50, round_length=60, gas_price=10**9, usual_gas_price=10**9,
)  # fmt: skip


@define
class Rig:
    """A node whose redeemer can crash, over a chain and a store that stay."""

    chain: FakeBroker
    store: MemoryRedemptions
    settings: RedeemSettings = SETTINGS
    clock: float = 1000.0
    events: list = field(factory=list)
    problems: list = field(factory=list)
    heard: asyncio.Event = field(factory=asyncio.Event)
    redeemer: Redeemer = field(init=False)

    def __attrs_post_init__(self):
        self.restart()

    def restart(self):
        self.store.changed = True
        self.redeemer = Redeemer(
            self.chain,
            self.store,
            settings=self.settings,
            on_event=self._hear,
            on_problem=lambda what, error: self.problems.append((what, error)),
            now=lambda: self.clock,
            jitter=lambda: 1.0,
        )

    def _hear(self, event):
        self.events.append(event)
        self.heard.set()

    async def crash(self):
        """End at once, whatever is under way."""
        await self.redeemer._work.stop()
        self.restart()

    async def look(self, wait_s=0.0):
        self.clock += wait_s
        await self.redeemer.look()
        for _ in range(30):
            await asyncio.sleep(0)

    async def go(self, *tickets, looks=3):
        await self.redeemer.add(tickets)
        for _ in range(looks):
            await self.look()

    def states(self, *tickets):
        return [str(self.store.state(each).state) for each in tickets]

    def told(self, kind):
        return [event for event in self.events if type(event).__name__ == kind]


async def stop(task):
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def rig():
    made = Rig(FakeBroker(NOW, {SENDER: 100 * FACE, OTHER: 100 * FACE}), MemoryRedemptions())
    yield made
    await made.redeemer._work.stop()


async def test_a_winner_is_redeemed_when_its_parameters_have_expired(rig):
    winner = ticket(1, expiration_block=1041)
    await rig.go(winner)
    assert rig.chain.sent == []
    assert rig.states(winner) == ["pending"]
    rig.chain.set(l1_block=1041)
    await rig.look()
    record = rig.store.state(winner)
    assert (record.state, record.paid, record.block) == ("confirmed", FACE, 5000)
    assert record.tx_hash == (1).to_bytes(32, "big")
    (event,) = rig.told("TicketRedeemed")
    assert (event.sender, event.face_value, event.paid) == (SENDER, FACE, FACE)
    assert rig.redeemer.pending(SENDER) == 0


async def test_what_was_revealed_early_is_known_over_restarts(rig):
    early = ticket(1, expiration_block=1100)
    rig.chain.automine = False
    rig.chain.set(current_round=11, blocks_left=15)
    await rig.go(early)
    assert rig.states(early) == ["submitted"]
    assert rig.redeemer.has_revealed(early.recipient_rand)
    await rig.crash()
    assert not rig.redeemer.has_revealed(early.recipient_rand)
    await rig.look()
    assert rig.redeemer.has_revealed(early.recipient_rand)
    rig.chain.set(l1_block=1100)
    await rig.look()
    assert not rig.redeemer.has_revealed(early.recipient_rand)


async def test_rows_of_an_earlier_run_need_no_sender_to_come_back(rig):
    winners = [ticket(1), ticket(2, sender=OTHER)]
    await rig.store.add(winners)
    rig.store.records[winner_hash(winners[1])] = evolve(
        rig.store.state(winners[1]), state=TicketState.BLOCKED, reason="then"
    )
    await rig.look()
    assert rig.states(*winners) == ["confirmed", "confirmed"]


async def test_those_ready_together_go_together(rig):
    winners = [ticket(n) for n in range(45)]
    await rig.go(*winners)
    assert [len(hashes) for _, hashes in rig.chain.sent] == [20, 20, 5]
    assert set(rig.states(*winners)) == {"confirmed"}
    assert rig.redeemer.summary()[TicketState.CONFIRMED] == Total(45, 45 * FACE, 45 * FACE)


async def test_the_head_of_the_queue_holds_nobody_up(rig):
    bad = ticket(1)
    hung = ticket(2)
    broke = ticket(3, sender=b"\x07" * 20)
    good = [ticket(4), ticket(5), ticket(6, sender=OTHER)]
    rig.chain.refusals[winner_hash(bad)] = Refusal("ticket did not win", final=True)
    rig.chain.hanging.add(winner_hash(hung))
    await rig.go(bad, hung, broke, *good)
    assert rig.states(*good) == ["confirmed"] * 3
    assert rig.states(bad, hung, broke) == ["blocked", "pending", "blocked"]
    assert all(winner_hash(bad) not in hashes for _, hashes in rig.chain.sent)


async def test_what_fails_inside_a_batch_is_sent_alone_and_says_why(rig):
    winners = [ticket(n) for n in range(3)]
    rig.chain.automine = False
    await rig.go(*winners, looks=1)
    rig.chain.refusals[winner_hash(winners[1])] = Refusal("Panic 0x11")
    rig.chain.mine()
    await rig.look()
    await rig.look()
    assert rig.states(*winners) == ["confirmed", "blocked", "confirmed"]
    assert rig.store.state(winners[1]).reason == "Panic 0x11"
    rig.chain.refusals.clear()
    rig.chain.automine = True
    await rig.look(wait_s=10)
    assert rig.states(winners[1]) == ["confirmed"]
    assert [len(hashes) for _, hashes in rig.chain.sent] == [3, 1]


async def test_a_ticket_is_dead_when_the_contract_says_so_twice(rig):
    winner = ticket(1)
    rig.chain.refusals[winner_hash(winner)] = Refusal("ticket did not win", final=True)
    await rig.go(winner)
    assert rig.states(winner) == ["blocked"]
    await rig.look(wait_s=3)
    record = rig.store.state(winner)
    assert (record.state, record.reason) == ("dead", "ticket did not win")
    assert [event.final for event in rig.told("RedemptionFailed")] == [False, True]
    await rig.look(wait_s=1000)
    assert rig.chain.dry_runs == 2
    assert rig.redeemer.summary()[TicketState.DEAD] == Total(1, FACE, 0)


async def test_one_strange_answer_kills_no_ticket(rig):
    winner = ticket(1)
    rig.chain.refusals[winner_hash(winner)] = Refusal("no block hash", final=True)
    await rig.go(winner)
    rig.chain.refusals.clear()
    await rig.look(wait_s=3)
    assert rig.states(winner) == ["confirmed"]


async def test_waits_grow_and_an_urgent_ticket_waits_little(rig):
    winner = ticket(1)
    rig.chain.refusals[winner_hash(winner)] = Refusal("not now")
    await rig.go(winner)
    for attempt in range(1, 6):
        record = rig.store.state(winner)
        assert (record.attempts, record.next_try_at - rig.clock) == (attempt, 2.0**attempt)
        await rig.look(wait_s=2.0**attempt)
    assert rig.chain.dry_runs == 6
    rig.chain.set(current_round=11, blocks_left=15)
    await rig.look()
    assert rig.chain.dry_runs == 7
    assert rig.store.state(winner).next_try_at - rig.clock <= SETTINGS.urgent_retry_s


async def test_dear_gas_blocks_names_its_limit_and_passes(rig):
    winner = ticket(1)
    limit = (FACE - 1) // 350_000
    rig.chain.set(gas_price=limit + 1)
    await rig.go(winner)
    record = rig.store.state(winner)
    assert (record.state, record.reason) == ("blocked", rules.NOT_WORTH_IT)
    assert record.gas_price_limit == limit
    assert len(rig.told("RedemptionFailed")) == 1
    rig.chain.set(gas_price=limit, usual_gas_price=limit)
    await rig.look()
    assert rig.states(winner) == ["confirmed"]


async def test_a_spike_is_waited_out_but_not_to_the_end(rig):
    winner = ticket(1)
    rig.chain.set(gas_price=100 * 10**9)
    await rig.go(winner)
    assert rig.store.state(winner).reason == rules.GAS_ABOVE_USUAL
    rig.chain.set(current_round=11, blocks_left=15)
    await rig.look()
    assert rig.states(winner) == ["confirmed"]


@pytest.mark.parametrize("fact", ["paused", "round_initialized"])
async def test_a_stopped_protocol_is_waited_for(rig, fact):
    winner, value = ticket(1), getattr(NOW, fact)
    rig.chain.set(**{fact: not value})
    await rig.go(winner)
    assert rig.states(winner) == ["blocked"]
    assert rig.chain.dry_runs == 0
    rig.chain.set(**{fact: value})
    await rig.look()
    assert rig.states(winner) == ["confirmed"]


async def test_a_sender_s_funds_are_never_promised_twice(rig):
    rig.chain.deposits[SENDER] = 2 * FACE
    rig.chain.automine = False
    winners = [ticket(n) for n in range(3)]
    await rig.go(*winners)
    assert rig.states(*winners) == ["submitted", "submitted", "blocked"]
    assert rig.redeemer.pending(SENDER) == 2 * FACE
    assert rig.redeemer.keeps(SENDER)
    rig.chain.mine()
    await rig.look(wait_s=5)
    assert rig.states(*winners) == ["confirmed", "confirmed", "blocked"]
    assert rig.redeemer.pending(SENDER) == 0
    rig.chain.deposits[SENDER] = FACE
    rig.redeemer.funds_changed(SENDER)
    rig.chain.automine = True
    await rig.look()
    assert rig.states(winners[2]) == ["confirmed"]


async def test_at_its_end_a_ticket_takes_what_is_left(rig):
    rig.chain.deposits[SENDER] = FACE // 2
    winner = ticket(1)
    await rig.go(winner)
    assert rig.store.state(winner).reason == rules.FEW_FUNDS
    rig.chain.set(current_round=11, blocks_left=15)
    await rig.look()
    record = rig.store.state(winner)
    assert (record.state, record.paid) == ("confirmed", FACE // 2)
    assert rig.told("TicketRedeemed")[0].paid == FACE // 2


async def test_a_sender_that_may_withdraw_next_round_is_urgent(rig):
    rig.chain.deposits[SENDER] = FACE // 2
    rig.chain.withdraw_rounds[SENDER] = 11
    rig.chain.set(blocks_left=15)
    winner = ticket(1)
    await rig.go(winner)
    assert rig.store.state(winner).paid == FACE // 2


async def test_an_unlocked_sender_s_ticket_waits_for_it_to_lock_again(rig):
    rig.chain.withdraw_rounds[SENDER] = 10
    winner = ticket(1)
    await rig.go(winner)
    assert rig.store.state(winner).reason == rules.UNLOCKED
    rig.chain.withdraw_rounds.clear()
    await rig.look(wait_s=5)
    assert rig.states(winner) == ["confirmed"]


async def test_a_ticket_whose_rounds_went_by_is_expired_and_its_value_told(rig):
    winner = ticket(1)
    rig.chain.set(current_round=12)
    await rig.go(winner)
    assert rig.states(winner) == ["expired"]
    (event,) = rig.told("RedemptionFailed")
    assert (event.final, event.face_value, event.reason) == (True, FACE, "ticket is expired")
    assert rig.redeemer.summary()[TicketState.EXPIRED] == Total(1, FACE, 0)
    assert rig.chain.sent == []


@pytest.mark.parametrize("number", [10, 12])
@pytest.mark.parametrize(("logs", "paid"), [(True, FACE), (False, None)])
async def test_a_ticket_that_somebody_redeemed_is_confirmed(rig, number, logs, paid):
    winner = ticket(1)
    rig.chain.execute(winner, b"\x77" * 32)
    rig.chain.logs_kept = logs
    rig.chain.set(current_round=number)
    await rig.go(winner)
    record = rig.store.state(winner)
    assert (record.state, record.paid) == ("confirmed", paid)
    assert record.tx_hash == (b"\x77" * 32 if logs else None)
    assert rig.chain.sent == []


async def test_a_time_out_keeps_it_under_way_and_asks_again(rig):
    winner = ticket(1)
    rig.chain.automine = False
    await rig.go(winner)
    assert rig.states(winner) == ["submitted"]
    await rig.crash()  # the chain still has it
    await rig.look()
    await rig.look()
    assert rig.states(winner) == ["submitted"]
    assert rig.redeemer.pending(SENDER) == FACE
    rig.chain.mine()
    await rig.look()
    assert rig.states(winner) == ["confirmed"]
    assert len(rig.chain.sent) == 1


async def test_an_error_after_sending_never_sends_again(rig):
    winner = ticket(1)
    rig.chain.send_error = TxTimeout("slow")
    await rig.go(winner)
    assert rig.states(winner) == ["submitted"]
    rig.chain.under.clear()  # it never was sent, as it turns out
    await rig.look(wait_s=5)
    await rig.look()
    assert rig.states(winner) == ["confirmed"]
    assert len(rig.chain.sent) == 1


async def test_a_crash_between_the_store_and_the_chain(rig):
    winners = [ticket(1), ticket(2)]
    await rig.store.add(winners)
    for winner in winners:
        await rig.store.save(
            [TicketRecord(winner, TicketState.SUBMITTED, tx_key="redeem:never sent")]
        )
    await rig.look()
    await rig.look()
    assert rig.states(*winners) == ["confirmed", "confirmed"]
    assert len(rig.chain.sent) == 1


async def test_a_crash_after_mining_finds_what_was_paid(rig):
    winners = [ticket(1), ticket(2), ticket(3)]
    rig.chain.automine = False
    await rig.go(*winners)
    rig.chain.refusals[winner_hash(winners[2])] = Refusal("Panic 0x11")
    await rig.redeemer._work.stop()
    rig.chain.mine()
    rig.chain.under.clear()
    rig.chain.refusals.clear()
    rig.chain.automine = True
    rig.restart()
    for _ in range(3):
        await rig.look()
    assert rig.states(*winners) == ["confirmed"] * 3
    assert [len(hashes) for _, hashes in rig.chain.sent] == [3, 1]
    assert sum(rig.store.state(winner).paid for winner in winners) == 3 * FACE


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (GasPriceTooHigh("dear"), rules.GAS_ABOVE_MAXIMUM),
        (InsufficientFunds("poor"), rules.CANNOT_PAY),
        (AccountError("no key"), "account"),
        (RpcError("no", kind="underpriced"), "rpc_error"),
        (TxFailed(bytes(32), "sender is unlocked"), "sender is unlocked"),
        (TxFailed(bytes(32)), "transaction failed"),
    ],
)
async def test_what_stops_a_transaction_blocks_its_tickets_with_the_reason(rig, error, reason):
    winner = ticket(1)
    rig.chain.send_error = error
    await rig.go(winner)
    record = rig.store.state(winner)
    assert (record.state, record.reason) == ("blocked", reason)
    await rig.look(wait_s=3)
    assert rig.states(winner) == ["confirmed"]


async def test_a_failed_batch_is_taken_apart(rig):
    winners = [ticket(1), ticket(2)]
    rig.chain.send_error = TxFailed(bytes(32))
    await rig.go(*winners)
    assert rig.states(*winners) == ["confirmed", "confirmed"]
    assert [len(hashes) for _, hashes in rig.chain.sent] == [1, 1]


async def test_no_key_is_used_twice(rig):
    winner = ticket(1)
    await rig.go(winner)
    rig.chain.undo(winner)
    rig.redeemer.wake(reorg=True)
    await rig.look()
    rig.restart()
    await rig.look(wait_s=20)
    first, again = [key for key, _ in rig.chain.sent]
    assert first == f"redeem:{winner_hash(winner).hex()}"
    assert again == f"{first}:2"


async def test_gas_for_one_is_enough_for_one(rig):
    winners = [ticket(1), ticket(2)]
    rig.chain.send_error = InsufficientFunds("poor")
    await rig.go(*winners)
    assert rig.states(*winners) == ["confirmed", "confirmed"]


async def test_an_outage_changes_no_state_and_is_over_soon(rig):
    winner = ticket(1)
    rig.chain.outage = RpcUnavailable("gone")
    await rig.go(winner)
    for _ in range(20):
        await rig.look(wait_s=20)
    assert rig.states(winner) == ["pending"]
    assert rig.events == []
    assert rig.problems
    rig.chain.outage = None
    await rig.look(wait_s=SETTINGS.outage_retry_s)
    assert rig.states(winner) == ["confirmed"]


async def test_nothing_is_sent_that_is_not_stored_first(rig):
    winner = ticket(1)
    await rig.redeemer.add([winner])
    await rig.look()
    assert len(rig.chain.sent) == 1
    other = ticket(2)
    await rig.redeemer.add([other])
    rig.chain.automine = False
    rig.store.unsaved = {TicketState.SUBMITTED}
    await rig.look()
    assert len(rig.chain.sent) == 1
    assert rig.states(other) == ["pending"]


async def test_what_could_not_be_stored_is_stored_later(rig):
    winner = ticket(1)
    rig.store.unsaved = {TicketState.CONFIRMED}
    await rig.go(winner, looks=1)
    assert rig.states(winner) == ["submitted"]
    rig.store.unsaved = set()
    await rig.look()
    assert rig.states(winner) == ["confirmed"]
    assert len(rig.chain.sent) == len(rig.told("TicketRedeemed")) == 1


async def test_a_dropped_redemption_is_redone(rig):
    winners = [ticket(1), ticket(2)]
    await rig.go(*winners)
    rig.chain.undo(winners[0])
    rig.redeemer.wake(reorg=True)
    await rig.look()
    record = rig.store.state(winners[0])
    assert (record.state, record.tx_hash, record.paid) == ("pending", None, None)
    assert rig.states(winners[1]) == ["confirmed"]
    await rig.look(wait_s=SETTINGS.reorg_wait_s)
    assert rig.states(*winners) == ["confirmed", "confirmed"]
    assert rig.redeemer.summary()[TicketState.CONFIRMED] == Total(2, 2 * FACE, 2 * FACE)


async def test_a_redemption_that_a_reorg_moved_is_corrected(rig):
    winner = ticket(1)
    await rig.go(winner)
    rig.chain.used_by[winner_hash(winner)] = Redemption(FACE - 1, b"\x66" * 32, 5001)
    rig.redeemer.wake(reorg=True)
    await rig.look()
    record = rig.store.state(winner)
    assert (record.paid, record.tx_hash, record.block) == (FACE - 1, b"\x66" * 32, 5001)
    assert len(rig.told("TicketRedeemed")) == 1


async def test_a_reorg_while_nobody_watched_or_nobody_answered_is_found(rig):
    winner = ticket(1)
    await rig.go(winner)
    rig.chain.undo(winner)
    rig.restart()
    rig.chain.outage = RpcUnavailable("gone")
    await rig.look()
    assert rig.states(winner) == ["confirmed"]
    rig.chain.outage = None
    await rig.look(wait_s=20)
    assert rig.states(winner) == ["pending"]


async def test_settled_tickets_are_let_go_of(rig):
    winners = [ticket(n) for n in range(5)]
    await rig.go(*winners)
    assert len(rig.redeemer._books.entries) == 5
    rig.chain.set(current_round=12)
    await rig.look()
    assert len(rig.redeemer._books.entries) == 5  # a reorg that undid them could still be told of
    rig.chain.set(current_round=13)
    await rig.look()
    assert rig.redeemer._books.entries == {}
    assert not rig.redeemer.keeps(SENDER)
    assert rig.redeemer.summary()[TicketState.CONFIRMED].tickets == 5


async def test_a_retry_by_the_operator_is_noticed(rig):
    winner = ticket(1)
    rig.chain.refusals[winner_hash(winner)] = Refusal("ticket did not win", final=True)
    await rig.go(winner)
    await rig.look(wait_s=3)
    await rig.look()
    assert rig.states(winner) == ["dead"]
    rig.chain.refusals.clear()
    rig.store.records[winner_hash(winner)] = TicketRecord(winner)
    rig.store.changed = True
    await rig.look()
    assert rig.states(winner) == ["confirmed"]
    assert rig.redeemer.summary()[TicketState.DEAD] == Total()


async def test_it_runs_for_ever_whatever_happens(rig):
    rig.chain.blind = [RpcUnavailable("not yet"), RuntimeError("a bug")]
    running = asyncio.create_task(rig.redeemer.run())
    await rig.redeemer.add([ticket(1)])
    await asyncio.wait_for(rig.heard.wait(), 5)
    assert rig.told("TicketRedeemed")
    assert not running.done()
    assert [str(error) for _, error in rig.problems] == ["not yet", "a bug"]
    await stop(running)


async def test_a_new_winner_wakes_it_at_once(rig):
    rig.settings = evolve(SETTINGS, poll_s=60)
    rig.restart()
    running = asyncio.create_task(rig.redeemer.run())
    await asyncio.sleep(0.02)
    await rig.redeemer.add([ticket(1)])
    await asyncio.wait_for(rig.heard.wait(), 5)
    assert rig.told("TicketRedeemed")
    await stop(running)


async def test_draining_finishes_what_is_under_way_and_begins_nothing(rig):
    rig.chain.automine = False
    first, second = ticket(1), ticket(2)
    await rig.go(first)
    draining = asyncio.create_task(rig.redeemer.drain())
    await asyncio.sleep(0)
    await rig.go(second)
    assert not draining.done()
    rig.chain.mine()
    await asyncio.wait_for(draining, 5)
    assert rig.states(first, second) == ["confirmed", "pending"]


async def test_many_transactions_at_a_time_but_not_too_many(rig):
    rig.settings = evolve(SETTINGS, batch=2, in_flight=3)
    rig.restart()
    rig.chain.automine = False
    winners = [ticket(n) for n in range(10)]
    await rig.go(*winners)
    assert len(rig.chain.sent) == 3
    rig.chain.mine()
    for _ in range(2):
        await rig.look()
        rig.chain.mine()
        await rig.look()
    assert set(rig.states(*winners)) == {"confirmed"}
    assert len(rig.chain.sent) == 5
