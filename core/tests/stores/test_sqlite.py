"""The database: what was added stays, what could not be added is an error."""

import asyncio
import contextlib
import signal
import sqlite3
import stat
import sys

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from podium.errors import StoreError
from podium.model import WinningTicket
from podium.stores import sqlite, tickets
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


async def test_tickets_come_back_as_they_were(database):
    tickets = [ticket(n, sender=bytes([n]) * 20) for n in (3, 1, 2)]
    await database.add(tickets[:2])
    await database.add(tickets[2:])
    assert [row.ticket for row in await database.list_tickets()] == tickets
    assert await database.count_tickets() == 3
    (row,) = await database.list_tickets(sender=b"\x02" * 20, open_only=True)
    assert row.ticket == tickets[2]
    assert (row.state, row.reason, row.done_at, row.tx_hash) == ("pending", "", None, None)
    assert len(row.created_at) == 19
    assert await database.count_tickets(sender=b"\x09" * 20) == 0
    assert len(await database.list_tickets(limit=2)) == 2


big = st.integers(0, 2**256 - 1)


@given(big, big, big, st.integers(0, 2**32 - 1), st.integers(0, 2**63 - 1))
def test_all_values_survive_the_row(face, prob, rand, nonce, number):
    winner = ticket(
        face_value=face, win_prob=prob, recipient_rand=rand, nonce=nonce, creation_round=number
    )
    assert tickets._ticket(tickets._row(winner)) == winner


async def test_a_ticket_is_stored_once_whatever_its_signature(database):
    await database.add([ticket(1), ticket(1)])
    await database.add([ticket(1), ticket(2)])
    await database.add([ticket(1, signature=b"\x09" * 65)])
    assert [row.ticket.nonce for row in await database.list_tickets()] == [1, 2]


async def test_only_the_owner_can_read_it(database):
    await database.add([ticket()])
    for file in database.path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_it_reopens_and_keeps_its_version(tmp_path):
    path = tmp_path / "node.sqlite3"
    for expected in (0, 1):
        database = await Database.open(path)
        assert await database.count_tickets() == expected
        await database.add([ticket()])
        await database.close()
        await database.close()
    with pytest.raises(StoreError, match="is closed"):
        await database.count_tickets()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(sqlite.MIGRATIONS),)


async def test_a_newer_database_is_left_alone(tmp_path):
    path = tmp_path / "node.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="has version 99"):
        await Database.open(path)


async def test_what_is_no_database_is_an_error(tmp_path):
    path = tmp_path / "node.sqlite3"
    path.write_bytes(b"this is not a database " * 100)
    with pytest.raises(StoreError, match="move the file away"):
        await Database.open(path)
    with pytest.raises(StoreError, match="No such file"):
        await Database.open(tmp_path / "none" / "node.sqlite3")


async def test_a_failed_migration_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "node.sqlite3"
    broken = (*sqlite.MIGRATIONS, ("CREATE TABLE more (x)", "CREATE NONSENSE"))
    monkeypatch.setattr(sqlite, "MIGRATIONS", broken)
    with pytest.raises(StoreError):
        await Database.open(path)
    monkeypatch.undo()
    database = await Database.open(path)
    await database.add([ticket()])
    tables = await database.file.read(
        lambda c: c.execute("SELECT name FROM sqlite_master").fetchall()
    )
    assert ("ticketQueue",) in tables
    assert ("more",) not in tables
    await database.close()


async def test_commits_are_synchronous(database):
    def pragma(connection, name):
        return connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert await database.file.read(lambda c: pragma(c, "journal_mode")) == "wal"
    assert await database.file.read(lambda c: pragma(c, "synchronous")) == 2


async def test_disk_full_stores_nothing_and_says_so(database):
    await database.add([ticket(1)])
    pages = await database.file.read(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    await database.file.read(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    with pytest.raises(StoreError, match="database or disk is full; free some space"):
        await database.add([ticket(n) for n in range(2, 600)])
    assert await database.count_tickets() == 1
    await database.file.read(
        lambda c: c.execute(f"PRAGMA max_page_count = {pages + 1000}").fetchone()
    )
    await database.add([ticket(n) for n in range(2, 600)])
    assert await database.count_tickets() == 599


async def test_a_locked_database_is_an_error_not_a_hang(database):
    await database.file.read(lambda c: c.execute("PRAGMA busy_timeout = 20"))
    with contextlib.closing(sqlite3.connect(database.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="stop the other process"):
            await database.add([ticket()])
        other.rollback()
    await database.add([ticket()])


async def test_many_at_once_keep_their_order(database):
    await asyncio.gather(*(database.add([ticket(n)]) for n in range(50)))
    assert [row.ticket.nonce for row in await database.list_tickets()] == list(range(50))


async def test_a_fire_and_forget_close_finishes_what_was_asked(tmp_path):
    database = await Database.open(tmp_path / "node.sqlite3")
    adding = asyncio.create_task(database.add([ticket()]))
    await asyncio.sleep(0)
    await database.close()
    await adding
    database = await Database.open(tmp_path / "node.sqlite3")
    assert await database.count_tickets() == 1
    await database.close()


NODE = """
import asyncio, sys
from fractions import Fraction
from pathlib import Path
from podium.crypto import KeySigner
from podium.model import PriceInfo
from podium.payments import PaymentSettings, RandSource, TicketPayments
from podium.payments.ticket import TicketTerms
from podium.stores.sqlite import Database
from podium.testing.chain import FakeChain
from podium.wire.payment import Payment, TicketSenderParams

async def main():
    database = await Database.open(Path(sys.argv[1]))
    chain = FakeChain(round_hashes={10: bytes([1]) * 32})
    node = TicketPayments.build(
        PaymentSettings(bytes([2]) * 20, ticket_ev=7, redeem_gas=0, max_face_value=7),
        rand=RandSource(bytes([3]) * 32), clock=chain, broker=chain, gas_price=chain,
        store=database, on_event=lambda event: None,
    )
    sender = KeySigner(bytes([7]) * 32)
    params = await node.offer(sender.address, Fraction(1))
    terms = TicketTerms(sender.address, params, params.expiration_params, 0)
    tickets = tuple(
        TicketSenderParams(nonce, sender.sign_digest(terms.ticket_hash(nonce))) for nonce in range(5)
    )
    receipt = await node.receive(
        Payment(sender.address, params, params.expiration_params, tickets, PriceInfo(1, 1)), "s"
    )
    print(receipt.winners, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_kill_9_after_a_winner_was_accepted_loses_nothing(tmp_path):
    path = tmp_path / "node.sqlite3"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", NODE, str(path), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert await process.stdout.readline() == b"5\n"
    finally:
        process.kill()
        await process.communicate()
    assert process.returncode == -signal.SIGKILL
    database = await Database.open(path)
    rows = await database.list_tickets(open_only=True)
    assert [row.ticket.nonce for row in rows] == [0, 1, 2, 3, 4]
    await database.close()
