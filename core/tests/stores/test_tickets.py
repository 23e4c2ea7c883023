"""The states of tickets: what is saved is there after a restart, old databases lose nothing."""

import asyncio
import contextlib
import sqlite3
from itertools import count

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from podium.chain.ports import StoredTx
from podium.chain.values import Head
from podium.model import TicketRecord, TicketState, WinningTicket
from podium.stores import database as database_module
from podium.stores import tickets
from podium.stores.schema import MIGRATIONS
from podium.stores.sqlite import Database


def ticket(number=1, **fields):
    winner = WinningTicket(
        sender=b"\x01" * 20,
        recipient=b"\x02" * 20,
        face_value=35_000_000_245_000_000,
        win_prob=2**254,
        nonce=number,
        recipient_rand_hash=b"\x03" * 32,
        creation_round=10,
        block_hash=b"\x04" * 32,
        recipient_rand=number,
        expiration_block=1040,
        signature=number.to_bytes(64, "big") + b"\x1b",
    )
    return evolve(winner, **fields)


@pytest.fixture
async def database(tmp_path):
    opened = await Database.open(tmp_path / "node.sqlite3")
    yield opened
    await opened.close()


async def all_of(database):
    return await database.tickets.find(limit=-1)


async def test_what_is_saved_is_there_after_a_restart(database, tmp_path):
    await database.add([ticket(1), ticket(2)])
    first, second = await all_of(database)
    assert first == TicketRecord(ticket(1), created_at=first.created_at)
    saved = evolve(
        first,
        state=TicketState.SUBMITTED,
        reason="why",
        attempts=3,
        next_try_at=1.5,
        tx_key="redeem:1",
        tx_hash=b"\x07" * 32,
        paid=2**200,
        block=7,
        gas_price_limit=2**80,
    )
    await database.tickets.save([saved])
    await database.close()
    again = await Database.open(tmp_path / "node.sqlite3")
    found, other = await all_of(again)
    await again.close()
    assert found.updated_at is not None
    assert evolve(found, updated_at=None) == saved
    assert other == second


@given(
    st.sampled_from(TicketState), st.integers(0, 2**256 - 1), st.none() | st.integers(0, 2**256 - 1)
)
def test_all_values_survive_the_row(state, limit, paid):
    record = TicketRecord(ticket(), state, "r", 1, 2.0, "k", b"\x01" * 32, paid, 3, limit)
    *changes, is_open, signature = tickets._changes(record)
    row = (*tickets._row(record.ticket), *changes, "then", None, None)
    assert tickets._record(row) == evolve(record, created_at="then")
    assert is_open == state.is_open
    assert signature == record.ticket.signature


async def test_only_the_last_states_are_done(database):
    for state, number in zip(TicketState, count()):
        await database.add([ticket(number)])
        await database.tickets.save([TicketRecord(ticket(number), state)])
    found = {record.state: record for record in await all_of(database)}
    assert {s for s in found if found[s].done_at is None} == {"pending", "submitted", "blocked"}
    assert await database.count_tickets(open_only=True) == 3
    assert await database.tickets.count(states=[TicketState.DEAD, TicketState.EXPIRED]) == 2
    assert len(await database.tickets.find(states=[TicketState.BLOCKED], open_only=True)) == 1
    assert await database.tickets.find(states=[TicketState.DEAD], open_only=True) == []


async def test_a_ticket_that_a_reorg_reopens_is_not_done(database):
    await database.add([ticket()])
    await database.tickets.save([TicketRecord(ticket(), TicketState.CONFIRMED, block=5)])
    (record,) = await all_of(database)
    assert record.done_at is not None
    await database.tickets.save([evolve(record, state=TicketState.PENDING)])
    (record,) = await all_of(database)
    assert record.done_at is None


async def test_unsettled_are_the_open_and_the_newly_redeemed(database):
    states = [(TicketState.CONFIRMED, 9), (TicketState.CONFIRMED, 10), (TicketState.DEAD, 11)]
    for number, (state, creation_round) in enumerate([*states, (TicketState.BLOCKED, 0)]):
        winner = ticket(number, creation_round=creation_round)
        await database.add([winner])
        await database.tickets.save([TicketRecord(winner, state)])
    found = await database.tickets.unsettled(since_round=10)
    assert [record.ticket.nonce for record in found] == [1, 3]


async def test_each_is_new_once(database):
    """Thousands that are watched are not read again for each new winner."""
    await database.add([ticket(1), ticket(2)])
    new = [(await database.tickets.unsettled(0, new_only=True)) for _ in range(2)]
    assert [[record.ticket.nonce for record in found] for found in new] == [[1, 2], []]
    await database.add([ticket(2), ticket(3)])
    (record,) = await database.tickets.unsettled(0, new_only=True)
    assert record.ticket.nonce == 3
    assert len(await database.tickets.unsettled(0)) == 3
    assert await database.tickets.unsettled(0, new_only=True) == []


async def test_totals_add_up_each_state(database):
    await database.add([ticket(n, face_value=10**n) for n in (60, 61, 62)])
    paid = TicketRecord(ticket(61, face_value=10**61), TicketState.CONFIRMED, paid=10**60)
    unknown = TicketRecord(ticket(62, face_value=10**62), TicketState.CONFIRMED)
    await database.tickets.save([paid, unknown])
    totals = await database.tickets.totals()
    assert totals[TicketState.PENDING] == (1, 10**60, 0)
    assert totals[TicketState.CONFIRMED] == (2, 11 * 10**61, 10**60)
    assert totals[TicketState.DEAD] == (0, 0, 0)
    assert set(totals) == set(TicketState)


async def test_retry_reopens_blocked_and_dead_ones_only(database):
    for number, state in enumerate(TicketState):
        await database.add([ticket(number)])
        record = TicketRecord(ticket(number), state, "why", 4, 5.0, gas_price_limit=6)
        await database.tickets.save([record])
    assert await database.tickets.retry([ticket(n).signature for n in range(6)]) == 2
    again = [r for r in await all_of(database) if r.reason == ""]
    assert [list(TicketState)[r.ticket.nonce] for r in again] == ["blocked", "dead"]
    for record in again:
        assert (record.state, record.attempts, record.next_try_at) == ("pending", 0, 0)
        assert (record.gas_price_limit, record.done_at) == (0, None)


async def test_another_process_s_changes_are_noticed_and_ours_are_not(database):
    assert await database.tickets.changed_elsewhere()
    assert not await database.tickets.changed_elsewhere()
    await database.add([ticket()])
    await database.tickets.save([TicketRecord(ticket(), TicketState.DEAD)])
    assert not await database.tickets.changed_elsewhere()
    other = await Database.open(database.path)
    assert await other.tickets.retry([ticket().signature]) == 1
    await other.close()
    assert await database.tickets.changed_elsewhere()
    assert not await database.tickets.changed_elsewhere()


VERSION_1 = """
    INSERT INTO ticketQueue VALUES
    ('2026-01-01 00:00:00', '0x{sender}', '0x{recipient}', x'05', x'06', {nonce}, x'07',
     '0x{rand_hash}', x'{signature}', 8, '0x{block}', 9, {redeemed}, {tx}, {failure})
"""


async def test_a_database_of_the_first_version_loses_nothing(tmp_path):
    path = tmp_path / "old.sqlite3"
    endings = [
        ("NULL", "NULL", "NULL"),
        ("'2026-01-02 00:00:00'", f"'0x{'ab' * 32}'", "NULL"),
        ("'2026-01-03 00:00:00'", "NULL", "'ticket is expired'"),
    ]
    with contextlib.closing(sqlite3.connect(path)) as old, old:
        for statement in MIGRATIONS[0]:
            old.execute(statement)
        for nonce, (redeemed, tx, failure) in enumerate(endings):
            old.execute(
                VERSION_1.format(
                    sender="01" * 20, recipient="02" * 20, nonce=nonce, rand_hash="03" * 32,
                    signature=f"{nonce:02x}" * 65, block="04" * 32,
                    redeemed=redeemed, tx=tx, failure=failure,
                )
            )  # fmt: skip
        old.execute("PRAGMA user_version = 1")
    database = await Database.open(path)
    waiting, redeemed, dead = await all_of(database)
    await database.close()
    assert waiting == TicketRecord(
        WinningTicket(
            b"\x01" * 20, b"\x02" * 20, 5, 6, 0, b"\x03" * 32, 8, b"\x04" * 32, 7, 9, bytes(65)
        ),
        created_at="2026-01-01 00:00:00",
    )
    assert (redeemed.state, redeemed.tx_hash) == ("confirmed", b"\xab" * 32)
    assert (redeemed.paid, redeemed.done_at) == (None, "2026-01-02 00:00:00")
    assert (dead.state, dead.reason, dead.tx_hash) == ("dead", "ticket is expired", None)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_no_cursor_leaves_the_thread_of_the_database(database, monkeypatch):
    """One that is let go of elsewhere resets a statement that may be running again."""
    results = []

    async def in_thread(*arguments):
        results.append(await database_module._in_thread_(*arguments))
        return results[-1]

    monkeypatch.setattr(database_module, "_in_thread_", database_module._in_thread, raising=False)
    monkeypatch.setattr(database_module, "_in_thread", in_thread)
    await database.add([ticket(1)])
    (record,) = await all_of(database)
    await database.tickets.save([record])
    await database.tickets.retry([record.ticket.signature])
    transactions, heads = database.transactions(StoredTx), database.heads(Head)
    await transactions.put(StoredTx("k", "p", b"\x01" * 20, 1, (b"r",), (b"h",), 1.0, "{}"))
    await transactions.remove("k")
    await heads.keep_heads([])
    await heads.put_value("name", "value")
    assert len(results) == 8
    assert not any(isinstance(result, sqlite3.Cursor) for result in results)


async def test_many_changes_at_once_all_get_through(database):
    await database.add([ticket(number) for number in range(100)])
    records = [evolve(each, state=TicketState.CONFIRMED) for each in await all_of(database)]
    for _ in range(5):
        await asyncio.gather(*(database.tickets.save([record] * 20) for record in records))
    assert await database.tickets.count(states=[TicketState.CONFIRMED]) == 100
