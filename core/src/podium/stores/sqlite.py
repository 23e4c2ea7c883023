"""The node's database: winning tickets, kept until they are redeemed (payments 6.1).

SQLite blocks, so one thread of its own does everything, in the order asked. Commits are
synchronous: once :meth:`Database.add` returns, neither ``kill -9`` nor a power cut loses a
winner.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, field, frozen

from podium.crypto import checksum_address
from podium.errors import StoreError
from podium.model import WinningTicket

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE ticketQueue (
            createdAt DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
            sender TEXT NOT NULL,
            recipient TEXT NOT NULL,
            faceValue BLOB NOT NULL,
            winProb BLOB NOT NULL,
            senderNonce INTEGER NOT NULL,
            recipientRand BLOB NOT NULL,
            recipientRandHash TEXT NOT NULL,
            sig BLOB NOT NULL PRIMARY KEY,
            creationRound INTEGER NOT NULL,
            creationRoundBlockHash TEXT NOT NULL,
            paramsExpirationBlock INTEGER NOT NULL,
            redeemedAt DATETIME,
            txHash TEXT,
            failure TEXT,
            UNIQUE (recipientRandHash, senderNonce)
        )
        """,
        "CREATE INDEX ticketQueueSender ON ticketQueue (sender)",
    ),
)
"""What leads from each version of the schema to the next; ``user_version`` counts them."""

_COLUMNS = (
    "sender, recipient, faceValue, winProb, senderNonce, recipientRand, recipientRandHash,"
    " sig, creationRound, creationRoundBlockHash, paramsExpirationBlock"
)


@frozen
class QueuedTicket:
    """A row of the ticket queue.

    Attributes:
        ticket: The winning ticket.
        created_at: UTC, ``YYYY-MM-DD HH:MM:SS``.
        redeemed_at: UTC, None until it is done.
        tx_hash: ``0x`` hex of the redemption, None until it is done.
        failure: Why it was given up, None unless it was.
    """

    ticket: WinningTicket
    created_at: str
    redeemed_at: str | None = None
    tx_hash: str | None = None
    failure: str | None = None


@define
class Database:
    """The open database; make it with :meth:`open`, end it with :meth:`close`."""

    path: Path
    _connection: sqlite3.Connection
    _thread: ThreadPoolExecutor
    _closed: bool = field(default=False, init=False)

    @classmethod
    async def open(cls, path: Path) -> Database:
        """Open a database file, made with mode 0600 and migrated where needed.

        Raises:
            StoreError: it cannot be opened or written, or is from a newer release.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="podium-database")
        try:
            connection = await _in_thread(thread, path, lambda: _connect(path))
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(path, connection, thread)

    async def close(self) -> None:
        """Finish what was asked, then close; closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        await _in_thread(self._thread, self.path, self._connection.close)
        self._thread.shutdown(wait=False)

    async def add(self, tickets: Sequence[WinningTicket]) -> None:
        """Commit winning tickets in one transaction, all or none.

        A ticket that is there already stays as it is: one ticket pays once, whatever
        signatures its sender made for it.

        Raises:
            StoreError: nothing was stored.
        """
        rows = [_row(ticket) for ticket in tickets]
        marks = ", ".join("?" * len(_COLUMNS.split(",")))
        statement = f"INSERT OR IGNORE INTO ticketQueue ({_COLUMNS}) VALUES ({marks})"

        def insert() -> None:
            with self._connection:
                self._connection.executemany(statement, rows)

        await self._run(insert)

    async def list_tickets(
        self, *, sender: bytes | None = None, open_only: bool = False, limit: int = 1000
    ) -> list[QueuedTicket]:
        """Return queued tickets, oldest first.

        Args:
            sender: Only those of this 20-byte address.
            open_only: Only those neither redeemed nor given up.
            limit: At most so many.

        Raises:
            StoreError: the database cannot be read.
        """
        where, values = _condition(sender, open_only)
        statement = (
            f"SELECT {_COLUMNS}, createdAt, redeemedAt, txHash, failure FROM ticketQueue"
            f"{where} ORDER BY createdAt, rowid LIMIT ?"
        )
        rows = await self._run(
            lambda: self._connection.execute(statement, (*values, limit)).fetchall()
        )
        return [_queued(row) for row in rows]

    async def count_tickets(self, *, sender: bytes | None = None, open_only: bool = False) -> int:
        """Return the number of queued tickets; arguments as for :meth:`list_tickets`."""
        where, values = _condition(sender, open_only)
        statement = f"SELECT COUNT(*) FROM ticketQueue{where}"
        count: int = await self._run(
            lambda: self._connection.execute(statement, values).fetchone()[0]
        )
        return count

    async def _run(self, work: Callable[[], T]) -> T:
        if self._closed:
            msg = f"the database {self.path} is closed"
            raise StoreError(msg)
        return await _in_thread(self._thread, self.path, work)


async def _in_thread(thread: ThreadPoolExecutor, path: Path, work: Callable[[], T]) -> T:
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, work)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(_explain(path, error)) from error


def _explain(path: Path, error: Exception) -> str:
    text = f"cannot use the database {path}: {error}"
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return text
    hints = {
        sqlite3.SQLITE_FULL: "free some space",
        sqlite3.SQLITE_READONLY: "make the file and its folder writable",
        sqlite3.SQLITE_CANTOPEN: "check that its folder exists and is writable",
        sqlite3.SQLITE_BUSY: "stop the other process that uses it",
        sqlite3.SQLITE_NOTADB: "move the file away",
    }
    hint = hints.get(code & 0xFF)
    return f"{text}; {hint}" if hint else text


def _connect(path: Path) -> sqlite3.Connection:
    """Open and migrate; the file is made readable by its owner alone before anything is in it."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _migrate(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(path: Path, connection: sqlite3.Connection) -> None:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        msg = (
            f"the database {path} has version {version}, this release knows {len(MIGRATIONS)}:"
            " use a newer release"
        )
        raise StoreError(msg)
    for number in range(version, len(MIGRATIONS)):
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            for statement in MIGRATIONS[number]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number + 1}")


def _condition(sender: bytes | None, open_only: bool) -> tuple[str, tuple[str, ...]]:
    conditions, values = [], []
    if sender is not None:
        conditions.append("sender = ?")
        values.append(checksum_address(sender))
    if open_only:
        conditions.append("redeemedAt IS NULL AND txHash IS NULL")
    return (f" WHERE {' AND '.join(conditions)}" if conditions else ""), tuple(values)


def _row(ticket: WinningTicket) -> tuple[object, ...]:
    return (
        checksum_address(ticket.sender),
        checksum_address(ticket.recipient),
        _big(ticket.face_value),
        _big(ticket.win_prob),
        ticket.nonce,
        _big(ticket.recipient_rand),
        "0x" + ticket.recipient_rand_hash.hex(),
        ticket.signature,
        ticket.creation_round,
        "0x" + ticket.block_hash.hex(),
        ticket.expiration_block,
    )


def _queued(row: tuple[Any, ...]) -> QueuedTicket:
    *stored, created_at, redeemed_at, tx_hash, failure = row
    sender, recipient, face, prob, nonce, rand, rand_hash, sig, number, block, expiry = stored
    ticket = WinningTicket(
        sender=_unhex(sender),
        recipient=_unhex(recipient),
        face_value=_unbig(face),
        win_prob=_unbig(prob),
        nonce=nonce,
        recipient_rand_hash=_unhex(rand_hash),
        creation_round=number,
        block_hash=_unhex(block),
        recipient_rand=_unbig(rand),
        expiration_block=expiry,
        signature=sig,
    )
    return QueuedTicket(ticket, created_at, redeemed_at, tx_hash, failure)


def _big(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def _unbig(value: bytes) -> int:
    return int.from_bytes(value, "big")


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
