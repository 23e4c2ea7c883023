"""Where events go: the one thing to write for another message bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podium_observers.record import Record


class SinkError(Exception):
    """Records could not be delivered.

    Args:
        message: For the operator's log: no secrets, no URLs.
        retry: Whether the same records may be taken later.
    """

    def __init__(self, message: str, *, retry: bool = True) -> None:
        super().__init__(message)
        self.retry = retry


class Sink(Protocol):
    """Takes records. Calls come one after the other, never two at a time."""

    async def send(self, records: Sequence[Record]) -> None:
        """Deliver records, in order; connect first where that is needed. Bound it in time.

        It is cancelled only where the node stops and no time is left.

        Raises:
            SinkError: none or not all of them could be delivered: all are sent again.
        """

    async def close(self) -> None:
        """Let go of connections; called once, at the end."""
