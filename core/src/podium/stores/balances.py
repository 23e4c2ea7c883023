"""Balances and the nonces behind them, in the node's database."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import TYPE_CHECKING

from attrs import define

from podium.model import KeptAccount, KeptNonces

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from podium.stores.database import SqliteFile

ACCOUNT = """
    INSERT INTO balances (sender, key, balance, fixedPrice, updatedAt) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (sender, key) DO UPDATE SET
        balance = excluded.balance, fixedPrice = excluded.fixedPrice, updatedAt = excluded.updatedAt
"""
NONCES = """
    INSERT INTO nonces (recipientRand, expirationBlock, nonces) VALUES (?, ?, ?)
    ON CONFLICT (recipientRand, expirationBlock) DO UPDATE SET nonces = excluded.nonces
"""


@define(eq=False)
class BalanceTable:
    """See ``podium.payments.ports.BalanceStore``."""

    _file: SqliteFile

    async def save_balances(
        self,
        accounts: Sequence[KeptAccount],
        nonces: Sequence[KeptNonces],
        oldest: float,
        l1_block: int,
    ) -> None:
        """Write all of it, or nothing; drop what is older, and what has expired."""
        account_rows = [
            (a.sender, a.key, str(a.balance), _text(a.fixed_price), a.updated_at) for a in accounts
        ]
        nonce_rows = [
            (n.recipient_rand.to_bytes(32, "big"), n.expiration_block, json.dumps(list(n.nonces)))
            for n in nonces
        ]

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(ACCOUNT, account_rows).close()
            connection.executemany(NONCES, nonce_rows).close()
            connection.execute("DELETE FROM balances WHERE updatedAt < ?", (oldest,)).close()
            connection.execute("DELETE FROM nonces WHERE expirationBlock <= ?", (l1_block,)).close()

        await self._file.write(work)

    async def load_balances(self, oldest: float) -> tuple[list[KeptAccount], list[KeptNonces]]:
        """Return the accounts that moved since, oldest first, and all nonces."""

        def work(connection: sqlite3.Connection) -> tuple[list[KeptAccount], list[KeptNonces]]:
            accounts = connection.execute(
                "SELECT sender, key, balance, fixedPrice, updatedAt FROM balances"
                " WHERE updatedAt >= ? ORDER BY updatedAt",
                (oldest,),
            ).fetchall()
            nonces = connection.execute(
                "SELECT recipientRand, expirationBlock, nonces FROM nonces"
            ).fetchall()
            return (
                [
                    KeptAccount(sender, key, Fraction(balance), _fraction(price), updated_at)
                    for sender, key, balance, price, updated_at in accounts
                ],
                [
                    KeptNonces(int.from_bytes(rand, "big"), block, tuple(json.loads(text)))
                    for rand, block, text in nonces
                ],
            )

        return await self._file.read(work)


def _text(price: Fraction | None) -> str | None:
    return None if price is None else str(price)


def _fraction(text: str | None) -> Fraction | None:
    return None if text is None else Fraction(text)
