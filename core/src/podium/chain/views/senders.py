"""Senders' deposits and reserves: read when first asked for, then kept current by events."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

from attrs import define, field

from podium.chain.views.kept import Kept
from podium.crypto import checksum_address
from podium.errors import ChainError, RpcUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from podium.chain.views.settings import ViewSettings
    from podium.chain.views.states import SenderState


@define(eq=False)
class _Entry:
    """A sender that somebody asked for."""

    kept: Kept[SenderState]
    used_at: float


@define(eq=False)
class SenderCache:
    """Holds what senders have; least recently used ones go first.

    Args:
        read: Reads a 20-byte sender at the newest block.
        settings: Bounds.
        now: Seconds of a clock that only goes forward.
        on_problem: Hears what could not be read again, and why.
        keep: Whether a sender must stay, because something is pending for it.
    """

    read: Callable[[bytes], Awaitable[SenderState]]
    settings: ViewSettings
    now: Callable[[], float]
    on_problem: Callable[[str, ChainError], None]
    keep: Callable[[bytes], bool] = lambda _sender: False
    _entries: OrderedDict[bytes, _Entry] = field(factory=OrderedDict, init=False)
    _due: dict[bytes, None] = field(factory=dict, init=False)
    _to_check: dict[bytes, None] = field(factory=dict, init=False)
    _unknown: int = field(default=0, init=False)
    _allowed: float = field(init=False)
    _allowed_at: float = field(init=False)
    _slots: asyncio.Semaphore = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.settings.parallel_senders)
        self._allowed, self._allowed_at = self.settings.unknown_burst, self.now()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, sender: bytes) -> bool:
        return sender in self._entries

    @property
    def due(self) -> int:
        """How many are to be read again."""
        return len(self._due)

    async def get(self, sender: bytes) -> SenderState:
        """Return a sender's state; from memory where it is known.

        Raises:
            ChainError: it is unknown, or has been out of date for too long, and could not be
                read; or too many unknown ones are being read.
        """
        entry = self._entries.get(sender)
        if entry is None:
            return await self._get_unknown(sender)
        entry.used_at = self.now()
        self._entries.move_to_end(sender)
        kept = entry.kept
        if kept.value is not None and kept.usable(self.settings.grace_s):
            return kept.value
        state = await kept.refresh()
        if kept.fresh:
            self._due.pop(sender, None)
        return state

    async def _get_unknown(self, sender: bytes) -> SenderState:
        if self._unknown >= self.settings.waiting_senders:
            msg = f"{self._unknown} unknown senders are being read already"
            raise RpcUnavailable(msg)
        self._allow_one()
        kept = Kept(
            lambda: self._read(sender),
            self.now,
            self.settings.read_timeout_s,
            f"the funds of {checksum_address(sender)}",
        )
        self._entries[sender] = _Entry(kept, self.now())
        self._evict()
        self._unknown += 1
        try:
            return await kept.refresh()
        except ChainError:
            self._forget(sender, kept)
            raise
        finally:
            self._unknown -= 1

    def _allow_one(self) -> None:
        """Take one from the allowance of unknown senders, which grows with time.

        Raises:
            RpcUnavailable: it is used up.
        """
        now, settings = self.now(), self.settings
        grown = self._allowed + (now - self._allowed_at) * settings.unknown_per_s
        self._allowed, self._allowed_at = min(settings.unknown_burst, grown), now
        if self._allowed < 1:
            raise RpcUnavailable("too many unknown senders in a short time")
        self._allowed -= 1

    async def _read(self, sender: bytes) -> SenderState:
        async with self._slots:
            return await self.read(sender)

    def mark(self, senders: Iterable[bytes]) -> None:
        """Note that these have changed, if they are known."""
        for sender in senders:
            entry = self._entries.get(sender)
            if entry is not None:
                entry.kept.mark()
                self._due[sender] = None

    def mark_all(self) -> None:
        """Note that any may have changed."""
        self.mark(list(self._entries))

    def mark_claims(self) -> None:
        """Note that another round has begun: what was claimed of reserves counts from zero."""
        self.mark(
            sender
            for sender, entry in self._entries.items()
            if entry.kept.value is None or entry.kept.value.has_claims
        )

    def check_all(self) -> None:
        """Read all again in the course of time, though nothing says that they changed."""
        self._to_check.update(dict.fromkeys(self._entries))

    async def refresh(self) -> None:
        """Read again those that changed, and some of those that are to be checked."""
        self._drop_unused()
        checks: list[bytes] = []
        while self._to_check and len(checks) < self.settings.checks_per_update:
            sender, _ = self._to_check.popitem()
            if sender in self._entries and sender not in self._due:
                checks.append(sender)
        await self._refresh_each([*self._due, *checks])

    async def _refresh_each(self, senders: list[bytes]) -> None:
        waiting = iter(senders)

        async def work() -> None:
            for sender in waiting:  # shared: each takes the next
                await self._refresh_one(sender)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(len(senders), self.settings.parallel_senders)):
                group.create_task(work())

    async def _refresh_one(self, sender: bytes) -> None:
        entry = self._entries.get(sender)
        if entry is None:
            self._due.pop(sender, None)
            return
        try:
            await entry.kept.refresh()
        except ChainError as error:
            if self._due.pop(sender, 0) is None:
                self._due[sender] = None  # to the end: one bad sender holds up nobody
            self.on_problem(f"sender {checksum_address(sender)}", error)
            return
        if entry.kept.fresh:
            self._due.pop(sender, None)

    def _forget(self, sender: bytes, kept: Kept[SenderState]) -> None:
        entry = self._entries.get(sender)
        if entry is not None and entry.kept is kept and kept.value is None:
            del self._entries[sender]
            self._due.pop(sender, None)

    def _drop_unused(self) -> None:
        """Forget senders nobody has asked for; the oldest are first."""
        while self._entries:
            sender, entry = next(iter(self._entries.items()))
            if self.now() - entry.used_at < self.settings.unused_s:
                return
            self._drop_or_keep(sender, entry)

    def _evict(self) -> None:
        for _ in range(len(self._entries) - self.settings.max_senders):
            sender, entry = next(iter(self._entries.items()))
            self._drop_or_keep(sender, entry)

    def _drop_or_keep(self, sender: bytes, entry: _Entry) -> None:
        if self.keep(sender) or entry.kept.reading:
            entry.used_at = self.now()
            self._entries.move_to_end(sender)
        else:
            del self._entries[sender]
            self._due.pop(sender, None)
