"""One SQLite file and the one thread that works on it.

SQLite blocks, so a thread of its own does everything, in the order asked. Commits are
synchronous: once a call that writes returns, neither ``kill -9`` nor a power cut undoes it.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from attrs import define, field

from podium.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

T = TypeVar("T")
Migrations = tuple[tuple[str, ...], ...]


@define(eq=False)
class SqliteFile:
    """An open SQLite file; make it with :meth:`open`, end it with :meth:`close`."""

    path: Path
    _connection: sqlite3.Connection
    _thread: ThreadPoolExecutor
    _closed: bool = field(default=False, init=False)

    @classmethod
    async def open(cls, path: Path, migrations: Migrations) -> SqliteFile:
        """Open a file, made with mode 0600 and migrated where needed.

        Raises:
            StoreError: it cannot be opened or written, or is from a newer release.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="podium-database")
        try:
            connection = await _in_thread(thread, path, lambda: _connect(path, migrations))
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

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run something that only reads.

        Raises:
            StoreError: it failed, or the file is closed.
        """
        if self._closed:
            msg = f"the database {self.path} is closed"
            raise StoreError(msg)
        return await _in_thread(self._thread, self.path, lambda: work(self._connection))

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run something in a transaction of its own, committed when this returns.

        Raises:
            StoreError: it failed, nothing was written; or the file is closed.
        """

        def transaction(connection: sqlite3.Connection) -> T:
            with connection:
                return work(connection)

        return await self.read(transaction)

    async def change(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """Run one statement with each of some rows, in a transaction of its own.

        Its cursor ends here, in the file's own thread. Let go of elsewhere, it would reset a
        prepared statement that the thread may be running again by then.

        Raises:
            StoreError: it failed, nothing was written; or the file is closed.
        """

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(statement, rows).close()

        await self.write(work)


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


def _connect(path: Path, migrations: Migrations) -> sqlite3.Connection:
    """Open and migrate; the file is made readable by its owner alone before anything is in it."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _migrate(path, connection, migrations)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(path: Path, connection: sqlite3.Connection, migrations: Migrations) -> None:
    for number in range(_version(path, connection, migrations), len(migrations)):
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            if _version(path, connection, migrations) != number:
                continue  # another process was faster
            for statement in migrations[number]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number + 1}")


def _version(path: Path, connection: sqlite3.Connection, migrations: Migrations) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(migrations):
        msg = (
            f"the database {path} has version {version}, this release knows {len(migrations)}:"
            " use a newer release"
        )
        raise StoreError(msg)
    return version
