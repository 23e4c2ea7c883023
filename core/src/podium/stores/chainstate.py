"""What the chain's modules keep: transactions under way, heads, remembered values.

Stores know nothing of the chain: what comes back is made by the caller's own classes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from attrs import define

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from podium.stores.database import SqliteFile


class Transaction(Protocol):
    """A transaction under way, with the attributes of ``podium.chain.ports.StoredTx``."""

    @property
    def key(self) -> str:
        """What makes it unique."""

    @property
    def purpose(self) -> str:
        """What it is for."""

    @property
    def account(self) -> bytes:
        """20 bytes, who sends."""

    @property
    def nonce(self) -> int:
        """The account's nonce."""

    @property
    def raws(self) -> Sequence[bytes]:
        """The signed forms, oldest first."""

    @property
    def hashes(self) -> Sequence[bytes]:
        """Their 32-byte hashes."""

    @property
    def first_sent_at(self) -> float:
        """Unix seconds."""

    @property
    def request(self) -> str:
        """The request, as JSON text."""


class Header(Protocol):
    """A block's head, with the attributes of ``podium.chain.values.Head``."""

    @property
    def number(self) -> int:
        """Block number."""

    @property
    def hash(self) -> bytes:
        """32 bytes."""

    @property
    def parent(self) -> bytes:
        """32 bytes."""

    @property
    def timestamp(self) -> int:
        """Unix seconds."""

    @property
    def l1_number(self) -> int:
        """The L1 block's number."""

    @property
    def base_fee(self) -> int | None:
        """Wei for one unit of gas, or None."""


TxT = TypeVar("TxT", bound=Transaction)
HeadT = TypeVar("HeadT", bound=Header)


@define(eq=False)
class TransactionTable(Generic[TxT]):
    """Transactions under way."""

    _file: SqliteFile
    _make: Callable[..., TxT]

    async def put(self, tx: TxT) -> None:
        """Insert a transaction, or replace the one with its key; committed when this returns.

        Raises:
            StoreError: it was not stored.
        """
        row = (
            tx.key,
            tx.purpose,
            tx.account.hex(),
            tx.nonce,
            _texts(tx.raws),
            _texts(tx.hashes),
            tx.first_sent_at,
            tx.request,
        )
        statement = "INSERT OR REPLACE INTO transactions VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        await self._file.change(statement, [row])

    async def remove(self, key: str) -> None:
        """Forget a transaction that has ended.

        Raises:
            StoreError: it is still there.
        """
        statement = "DELETE FROM transactions WHERE key = ?"
        await self._file.change(statement, [(key,)])

    async def under_way(self, account: bytes) -> list[TxT]:
        """Return an account's transactions that have not ended, by nonce.

        Raises:
            StoreError: the database cannot be read.
        """
        statement = "SELECT * FROM transactions WHERE account = ? ORDER BY nonce, firstSentAt"
        rows = await self._file.read(lambda c: c.execute(statement, (account.hex(),)).fetchall())
        return [self._made(*row) for row in rows]

    def _made(
        self,
        key: str,
        purpose: str,
        account: str,
        nonce: int,
        raws: str,
        hashes: str,
        first_sent_at: float,
        request: str,
    ) -> TxT:
        return self._make(
            key=key,
            purpose=purpose,
            account=bytes.fromhex(account),
            nonce=nonce,
            raws=_bytes(raws),
            hashes=_bytes(hashes),
            first_sent_at=first_sent_at,
            request=request,
        )


@define(eq=False)
class HeadTable(Generic[HeadT]):
    """The newest heads that were followed, and values to be remembered."""

    _file: SqliteFile
    _make: Callable[..., HeadT]

    async def heads(self) -> list[HeadT]:
        """Return the kept heads, oldest first.

        Raises:
            StoreError: the database cannot be read.
        """
        statement = "SELECT * FROM heads ORDER BY number"
        rows = await self._file.read(lambda c: c.execute(statement).fetchall())
        return [self._made(*row) for row in rows]

    async def keep_heads(self, heads: Sequence[HeadT]) -> None:
        """Replace the kept heads; committed when this returns.

        Raises:
            StoreError: the old ones are still kept.
        """
        rows = [_head_row(head) for head in heads]

        def replace(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM heads")
            connection.executemany("INSERT INTO heads VALUES (?, ?, ?, ?, ?, ?)", rows)

        await self._file.write(replace)

    async def get(self, name: str) -> str | None:
        """Return a remembered value, or None.

        Raises:
            StoreError: the database cannot be read.
        """
        statement = "SELECT value FROM remembered WHERE name = ?"
        row = await self._file.read(lambda c: c.execute(statement, (name,)).fetchone())
        return None if row is None else str(row[0])

    async def put_value(self, name: str, value: str) -> None:
        """Remember a value; committed when this returns.

        Raises:
            StoreError: it was not stored.
        """
        statement = "INSERT OR REPLACE INTO remembered VALUES (?, ?)"
        await self._file.change(statement, [(name, value)])

    def _made(
        self, number: int, hashed: str, parent: str, timestamp: int, l1: int, fee: str | None
    ) -> HeadT:
        return self._make(
            number=number,
            hash=bytes.fromhex(hashed),
            parent=bytes.fromhex(parent),
            timestamp=timestamp,
            l1_number=l1,
            base_fee=None if fee is None else int(fee),
        )


def _head_row(head: Header) -> tuple[Any, ...]:
    fee = None if head.base_fee is None else str(head.base_fee)
    return (
        head.number,
        head.hash.hex(),
        head.parent.hex(),
        head.timestamp,
        head.l1_number,
        fee,
    )


def _texts(values: Iterable[bytes]) -> str:
    return json.dumps([value.hex() for value in values])


def _bytes(text: str) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(value) for value in json.loads(text))
