"""A job's body on its way in: hashed beside the event loop, given to a child by descriptor.

A body stays in memory while it is small, then goes to an anonymous file: memory-backed where the
system has it, or on disk where the operator wants that. Whoever asks for its descriptor gets the
file, so a child process reads a segment that was never piped through it (style 3; wire-video 5.4
row 12).
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from typing import TYPE_CHECKING

import sha3
from attrs import define

from podium.errors import PodiumError, StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from concurrent.futures import Executor
    from pathlib import Path

HASH_STEP_BYTES = 256 * 2**10
"""Bodies are hashed in such steps while the rest arrives, so the end is never far behind."""

MEMORY_BYTES = 4 * 2**20
"""What a body may take of the heap: fresh pages of a file cost more than all else of it."""

PIECE_BYTES = 2**20


class BodyTooLarge(PodiumError):
    """A body exceeds the limit."""

    code = "body_too_large"


def _open_spool(folder: Path | None) -> int:
    """Return a descriptor of a file without a name."""
    if folder is None and hasattr(os, "memfd_create"):
        return os.memfd_create("podium-body", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.dup(file.fileno())


def _write_all(fd: int, pieces: Sequence[bytes]) -> None:
    for piece in pieces:
        view = memoryview(piece)
        while view:
            view = view[os.write(fd, view) :]


def _store_error(error: OSError) -> StoreError:
    return StoreError(f"cannot store a segment: {error.strerror}")


@define
class SpoolBudget:
    """What all bodies together may take; further ones are refused, not queued in memory.

    Attributes:
        limit_bytes: The bound.
        used_bytes: Taken now.
    """

    limit_bytes: int
    used_bytes: int = 0

    def take(self, size_bytes: int) -> None:
        """Reserve room.

        Raises:
            StoreError: there is none.
        """
        if self.used_bytes + size_bytes > self.limit_bytes:
            raise StoreError("no room for more segments: storage.spool_limit_mb is reached")
        self.used_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Free room."""
        self.used_bytes -= size_bytes


class SpooledBody:
    """A whole body, readable by descriptor (``podium_hookspecs.Body``).

    Args:
        executor: Threads that hash, and write to disk.
        budget: Room of all bodies together.
        limit_bytes: The largest body.
        folder: Where the file lives, from the first byte on; None keeps it in memory.
        hashed: Whether ``keccak256`` will be asked for; hashing costs more than all else.
    """

    def __init__(
        self,
        executor: Executor,
        budget: SpoolBudget,
        *,
        limit_bytes: int,
        folder: Path | None = None,
        hashed: bool = True,
    ) -> None:
        self._budget = budget
        self._hashed = hashed
        self._taken_bytes = 0
        self._folder = folder
        self._fd = -1
        if folder is not None:
            self._open()
        self._executor = executor
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._pieces: list[bytes] = []
        self._hash = sha3.keccak_256()
        self._unhashed: list[bytes] = []
        self._unhashed_bytes = 0
        self._hashing: asyncio.Future[None] | None = None
        self._closed = False

    @property
    def size_bytes(self) -> int:
        """Bytes so far."""
        return self._size_bytes

    def fileno(self) -> int:
        """The descriptor; closed by ``close``.

        Raises:
            StoreError: there is no room for the file.
        """
        if self._fd < 0 and not self._closed:
            self._open()
            try:
                _write_all(self._fd, self._pieces)
            except OSError as error:
                raise _store_error(error) from error
            self._pieces.clear()
        return self._fd

    async def write(self, data: bytes) -> None:
        """Append a piece.

        Raises:
            BodyTooLarge: the limit is exceeded.
            StoreError: the disk is full, or there is no room for more bodies.
        """
        self._size_bytes += len(data)
        if self._size_bytes > self._limit_bytes:
            msg = f"body exceeds {self._limit_bytes} bytes"
            raise BodyTooLarge(msg)
        self._budget.take(len(data))
        self._taken_bytes += len(data)
        if self._fd < 0:
            self._pieces.append(data)
            if self._size_bytes > MEMORY_BYTES:
                self.fileno()
        else:
            await self._write_file(data)
        if not self._hashed:
            return
        self._unhashed.append(data)
        self._unhashed_bytes += len(data)
        if self._unhashed_bytes >= HASH_STEP_BYTES:
            await self._hash_step()

    async def keccak256(self) -> bytes:
        """Return the hash of the whole body."""
        if self._unhashed:
            await self._hash_step()
        if self._hashing is not None:
            await self._hashing
        digest: bytes = self._hash.digest()
        return digest

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body in pieces."""
        if self._fd < 0:
            for piece in tuple(self._pieces):
                for start in range(0, len(piece), PIECE_BYTES):
                    yield piece[start : start + PIECE_BYTES]
            return
        offset = 0
        while piece := os.pread(self._fd, PIECE_BYTES, offset):
            offset += len(piece)
            yield piece

    async def close(self) -> None:
        """Give the memory back, once no thread reads it any more."""
        self._closed = True
        self._budget.give_back(self._taken_bytes)
        self._taken_bytes = 0
        self._pieces.clear()
        self._unhashed.clear()
        if self._hashing is not None and not self._hashing.done():
            await asyncio.wait([self._hashing])
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        try:
            self._fd = _open_spool(self._folder)
        except OSError as error:
            raise _store_error(error) from error

    async def _write_file(self, data: bytes) -> None:
        try:
            if self._folder is None:
                _write_all(self._fd, [data])
            else:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._executor, _write_all, self._fd, [data])
        except OSError as error:
            raise _store_error(error) from error

    async def _hash_step(self) -> None:
        """Have a thread hash what came; one step at a time, in order."""
        if self._hashing is not None:
            await self._hashing
        pieces, self._unhashed, self._unhashed_bytes = self._unhashed, [], 0
        loop = asyncio.get_running_loop()
        self._hashing = loop.run_in_executor(self._executor, self._update, pieces)

    def _update(self, pieces: Sequence[bytes]) -> None:
        self._hash.update(b"".join(pieces))
