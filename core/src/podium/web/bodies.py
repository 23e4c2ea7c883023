"""Where the bodies of requests go while they are worked on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from podium.stores.spool import SpoolBudget, SpooledBody

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from pathlib import Path


@frozen
class Bodies:
    """Where and how large the bodies of requests may be.

    Attributes:
        executor: Threads that hash, and write to disk.
        budget: Room of all bodies together.
        stall_timeout_s: Longest silence inside a body.
        folder: Where bodies lie; None: in memory.
    """

    executor: Executor
    budget: SpoolBudget
    stall_timeout_s: float = 30.0
    folder: Path | None = None

    def new(self, limit_bytes: int, *, hashed: bool = False) -> SpooledBody:
        """Return an empty body; ``hashed`` if its Keccak hash will be asked for."""
        return SpooledBody(
            self.executor,
            self.budget,
            limit_bytes=limit_bytes,
            folder=self.folder,
            hashed=hashed,
        )
