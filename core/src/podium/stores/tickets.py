"""Winning tickets, kept with the state of their redemption (payments 6.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from podium.crypto import checksum_address
from podium.model import TicketRecord, TicketState, WinningTicket

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from podium.stores.database import SqliteFile

_TICKET = (
    "sender, recipient, faceValue, winProb, senderNonce, recipientRand, recipientRandHash,"
    " sig, creationRound, creationRoundBlockHash, paramsExpirationBlock"
)
_RECORD = (
    "state, failure, attempts, nextTryAt, txKey, txHash, paid, txBlock, gasPriceLimit,"
    " createdAt, updatedAt, redeemedAt"
)
_OPEN = tuple(str(state) for state in TicketState if state.is_open)
_SAVE = """
    UPDATE ticketQueue SET state = ?, failure = ?, attempts = ?, nextTryAt = ?, txKey = ?,
        txHash = ?, paid = ?, txBlock = ?, gasPriceLimit = ?, updatedAt = CURRENT_TIMESTAMP,
        redeemedAt = CASE WHEN ? THEN NULL ELSE COALESCE(redeemedAt, CURRENT_TIMESTAMP) END
    WHERE sig = ?
"""

_RETRY = """
    UPDATE ticketQueue SET state = 'pending', failure = NULL, attempts = 0, nextTryAt = 0,
        gasPriceLimit = x'', redeemedAt = NULL, updatedAt = CURRENT_TIMESTAMP
    WHERE sig = ? AND state IN ('blocked', 'dead')
"""


@define(eq=False)
class TicketTable:
    """The table of winning tickets. Rows are never deleted: they are the operator's books."""

    _file: SqliteFile
    _version: int = field(default=-1, init=False)
    _newest: int = field(default=0, init=False)

    async def add(self, tickets: Sequence[WinningTicket]) -> None:
        """Commit winning tickets in one transaction, all or none.

        A ticket that is there already stays as it is: one ticket pays once, whatever
        signatures its sender made for it.

        Raises:
            StoreError: nothing was stored.
        """
        rows = [_row(ticket) for ticket in tickets]
        statement = f"INSERT OR IGNORE INTO ticketQueue ({_TICKET}) VALUES ({_marks(_TICKET)})"
        await self._file.change(statement, rows)

    async def save(self, records: Sequence[TicketRecord]) -> None:
        """Commit how far tickets are, all or none; the tickets themselves never change.

        Raises:
            StoreError: nothing was stored.
        """
        rows = [_changes(record) for record in records]
        await self._file.change(_SAVE, rows)

    async def retry(self, signatures: Sequence[bytes]) -> int:
        """Make blocked and dead tickets pending again; return how many there were.

        A node that uses the database at the same time takes notice.

        Raises:
            StoreError: nothing was changed.
        """
        rows = [(signature,) for signature in signatures]

        def reset(connection: sqlite3.Connection) -> int:
            return connection.executemany(_RETRY, rows).rowcount

        return await self._file.write(reset)

    async def find(
        self,
        *,
        sender: bytes | None = None,
        states: Iterable[TicketState] = (),
        open_only: bool = False,
        limit: int = 1000,
    ) -> list[TicketRecord]:
        """Return tickets, oldest first.

        Args:
            sender: Only those of this 20-byte address.
            states: Only those in one of these states; none given: in any.
            open_only: Only those neither redeemed nor given up.
            limit: At most so many; -1: all.

        Raises:
            StoreError: the database cannot be read.
        """
        where, values = _condition(sender, states, open_only)
        return await self._select(f"{where} ORDER BY createdAt, rowid LIMIT ?", (*values, limit))

    async def unsettled(self, since_round: int, *, new_only: bool = False) -> list[TicketRecord]:
        """Return all that a redeemer has to look after, oldest first.

        Args:
            since_round: Of those redeemed, the ones bound to this round or a later one: a reorg
                may still undo it, and they can be redeemed again.
            new_only: Only those that were added since the last call.

        Raises:
            StoreError: the database cannot be read.
        """
        statement = (
            f"SELECT {_TICKET}, {_RECORD}, rowid FROM ticketQueue WHERE rowid > ?"
            f" AND (state IN ({_marks(_OPEN)}) OR (state = ? AND creationRound >= ?))"
            " ORDER BY createdAt, rowid"
        )
        since = self._newest if new_only else 0
        values = (since, *_OPEN, str(TicketState.CONFIRMED), since_round)
        rows = await self._file.read(lambda c: c.execute(statement, values).fetchall())
        found = [_record(row[:-1]) for row in rows]
        self._newest = max((self._newest, *(row[-1] for row in rows)))
        return found

    async def changed_elsewhere(self) -> bool:
        """Return whether another process has changed the database since the last call.

        The first call says yes.

        Raises:
            StoreError: the database cannot be read.
        """

        def ask(connection: sqlite3.Connection) -> int:
            version: int = connection.execute("PRAGMA data_version").fetchone()[0]
            return version

        version = await self._file.read(ask)
        changed, self._version = version != self._version, version
        return changed

    async def count(
        self,
        *,
        sender: bytes | None = None,
        states: Iterable[TicketState] = (),
        open_only: bool = False,
    ) -> int:
        """Return how many tickets there are; arguments as for :meth:`find`."""
        where, values = _condition(sender, states, open_only)

        def ask(connection: sqlite3.Connection) -> int:
            row = connection.execute(f"SELECT COUNT(*) FROM ticketQueue{where}", values).fetchone()
            number: int = row[0]
            return number

        return await self._file.read(ask)

    async def totals(self) -> dict[TicketState, tuple[int, int, int]]:
        """Return how many tickets of each state there are, their face value and paid wei.

        Raises:
            StoreError: the database cannot be read.
        """
        statement = "SELECT state, faceValue, paid FROM ticketQueue"

        def add_up(connection: sqlite3.Connection) -> dict[TicketState, tuple[int, int, int]]:
            found = dict.fromkeys(TicketState, (0, 0, 0))
            for state, face_value, paid in connection.execute(statement):
                tickets, faces, sum_paid = found[TicketState(state)]
                brought = 0 if paid is None else _unbig(paid)
                sums = tickets + 1, faces + _unbig(face_value), sum_paid + brought
                found[TicketState(state)] = sums
            return found

        return await self._file.read(add_up)

    async def _select(self, where: str, values: tuple[object, ...]) -> list[TicketRecord]:
        statement = f"SELECT {_TICKET}, {_RECORD} FROM ticketQueue{where}"
        rows = await self._file.read(lambda c: c.execute(statement, values).fetchall())
        return [_record(row) for row in rows]


def _marks(names: str | Sequence[str]) -> str:
    number = len(names.split(",")) if isinstance(names, str) else len(names)
    return ", ".join("?" * number)


def _condition(
    sender: bytes | None, states: Iterable[TicketState], open_only: bool
) -> tuple[str, tuple[str, ...]]:
    conditions: list[str] = []
    values: list[str] = []
    if sender is not None:
        conditions.append("sender = ?")
        values.append(checksum_address(sender))
    for wanted in (tuple(str(state) for state in states), _OPEN if open_only else ()):
        if wanted:
            conditions.append(f"state IN ({_marks(wanted)})")
            values += wanted
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


def _changes(record: TicketRecord) -> tuple[object, ...]:
    return (
        str(record.state),
        record.reason or None,
        record.attempts,
        record.next_try_at,
        record.tx_key,
        None if record.tx_hash is None else "0x" + record.tx_hash.hex(),
        None if record.paid is None else _big(record.paid),
        record.block,
        _big(record.gas_price_limit),
        record.state.is_open,
        record.ticket.signature,
    )


def _record(row: tuple[Any, ...]) -> TicketRecord:
    state, failure, attempts, next_try_at, tx_key, tx_hash, paid, block, limit, *times = row[11:]
    created_at, updated_at, done_at = times
    return TicketRecord(
        ticket=_ticket(row[:11]),
        state=TicketState(state),
        reason=failure or "",
        attempts=attempts,
        next_try_at=next_try_at,
        tx_key=tx_key,
        tx_hash=None if tx_hash is None else _unhex(tx_hash),
        paid=None if paid is None else _unbig(paid),
        block=block,
        gas_price_limit=_unbig(limit),
        created_at=created_at,
        updated_at=updated_at,
        done_at=done_at,
    )


def _ticket(row: tuple[Any, ...]) -> WinningTicket:
    sender, recipient, face, prob, nonce, rand, rand_hash, sig, number, block, expiry = row
    return WinningTicket(
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


def _big(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def _unbig(value: bytes) -> int:
    return int.from_bytes(value, "big")


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
