"""The node's database: all that has to outlive the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

from podium.stores.balances import BalanceTable
from podium.stores.chainstate import HeadTable, TransactionTable
from podium.stores.database import SqliteFile
from podium.stores.schema import MIGRATIONS
from podium.stores.tickets import TicketTable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from podium.model import TicketRecord, WinningTicket
    from podium.stores.chainstate import HeadT, TxT


@define(eq=False)
class Database:
    """The open database; make it with :meth:`open`, end it with :meth:`close`.

    Attributes:
        file: The file behind it.
        tickets: Winning tickets and how far they are.
        balances: What senders have prepaid, and by which tickets.
    """

    file: SqliteFile
    tickets: TicketTable
    balances: BalanceTable

    @classmethod
    async def open(cls, path: Path) -> Database:
        """Open a database file, made with mode 0600 and migrated where needed.

        Raises:
            StoreError: it cannot be opened or written, or is from a newer release.
        """
        file = await SqliteFile.open(path, MIGRATIONS)
        return cls(file, TicketTable(file), BalanceTable(file))

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.file.path

    def transactions(self, make: Callable[..., TxT]) -> TransactionTable[TxT]:
        """Return the transactions under way; ``make`` is ``podium.chain.ports.StoredTx``."""
        return TransactionTable(self.file, make)

    def heads(self, make: Callable[..., HeadT]) -> HeadTable[HeadT]:
        """Return the heads that were followed; ``make`` is ``podium.chain.values.Head``."""
        return HeadTable(self.file, make)

    async def close(self) -> None:
        """Finish what was asked, then close; closing twice is fine."""
        await self.file.close()

    async def add(self, tickets: Sequence[WinningTicket]) -> None:
        """Commit winning tickets, see :meth:`podium.stores.tickets.TicketTable.add`."""
        await self.tickets.add(tickets)

    async def list_tickets(
        self, *, sender: bytes | None = None, open_only: bool = False, limit: int = 1000
    ) -> list[TicketRecord]:
        """Return winning tickets, see :meth:`podium.stores.tickets.TicketTable.find`."""
        return await self.tickets.find(sender=sender, open_only=open_only, limit=limit)

    async def count_tickets(self, *, sender: bytes | None = None, open_only: bool = False) -> int:
        """Return how many winning tickets there are."""
        return await self.tickets.count(sender=sender, open_only=open_only)
