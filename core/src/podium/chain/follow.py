"""Follows the chain: new heads and their logs, over reorgs, gaps and restarts."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Self

from attrs import field, frozen

from podium.chain.blocks import head_of_block
from podium.chain.history import LogFilter
from podium.chain.values import HeadUpdate
from podium.errors import ChainError, PodiumError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from podium.chain.ports import HeadStore, Rpc
    from podium.chain.values import Head, Log

logger = logging.getLogger("podium.chain")

KEPT_HEADS = 64
MAX_BACKLOG_BLOCKS = 50_000
_MAX_OVERLAP_BLOCKS = 256
_REWIND_AFTER_S = 15.0
_MAX_BACK_OFF_S = 30.0

LogId = tuple[bytes, int]


@frozen
class FollowLimits:
    """How far the follower goes.

    Attributes:
        max_backlog_blocks: With more to catch up on it starts at the head, and everything is
            read anew.
        rewind_after_s: A head that is older than one seen before is an endpoint that lags, as a
            rule. If it stays for this long, the chain was rewound.
        step_timeout_s: For one look, a backlog included.
    """

    max_backlog_blocks: int = MAX_BACKLOG_BLOCKS
    rewind_after_s: float = _REWIND_AFTER_S
    step_timeout_s: float = 600.0


@frozen
class _Recent:
    """The newest blocks that were delivered, to be asked for once more.

    Endpoints, and the machines behind one address, do not all have a block at the same moment;
    one that lacks it answers as if it had no logs. So each block's logs are asked for at two
    looks: what was missing comes then, and what is gone shows a reorg.

    Attributes:
        first: Number of the oldest of them.
        logs: Ids of what was delivered of them.
    """

    first: int
    logs: frozenset[LogId] = field(factory=frozenset, repr=False)

    @classmethod
    def of(cls, first: int, logs: Sequence[Log]) -> Self:
        """Remember those of some logs that are in a block or after it."""
        return cls(first, frozenset(_id(log) for log in logs if log.block_number >= first))


class HeadFollower:
    """Tells a listener about each new head, and about the logs up to it.

    The first update after a start shows where the chain is; whoever reads contracts beside the
    logs reads them at an update's head, for blocks after it may go without a word.

    A position is kept only after the listener has returned: after a failure or a restart the same
    logs come again, and none is left out.

    Args:
        rpc: The chain.
        store: Keeps the position.
        addresses: Contracts whose logs are wanted.
        topics: First topics of the logs that are wanted.
        listener: Is told; one update at a time.
        poll_interval_s: Between two looks.
        limits: Bounds.
        on_no_news: Called after a look that found the head as it was: a chain may be idle.
        clock: Seconds that only go forward.
        wall_clock: Unix seconds.

    Attributes:
        head: The newest head that the listener was told of.
    """

    def __init__(
        self,
        rpc: Rpc,
        store: HeadStore,
        addresses: Sequence[bytes],
        topics: Sequence[bytes],
        listener: Callable[[HeadUpdate], Awaitable[None]],
        poll_interval_s: float,
        *,
        limits: FollowLimits | None = None,
        on_no_news: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.head: Head | None = None
        self._rpc = rpc
        self._store = store
        self._logs = LogFilter(rpc, tuple(addresses), tuple(topics))
        self._listener = listener
        self._poll_interval_s = poll_interval_s
        self._limits = limits or FollowLimits()
        self._on_no_news = on_no_news
        self._clock = clock
        self._wall_clock = wall_clock
        self._kept: list[Head] | None = None
        self._recent: _Recent | None = None
        self._behind_since: float | None = None
        self._told = False
        self._gave_up = False
        self._started = clock()
        self._looked_at: float | None = None

    @property
    def lag_s(self) -> float:
        """Seconds that what we know is behind: of the head's time, or since the last good look."""
        if self.head is None or self._looked_at is None:
            return self._clock() - self._started
        age_s = self._wall_clock() - self.head.timestamp
        return max(0.0, age_s, self._clock() - self._looked_at)

    async def run(self) -> None:
        """Follow until cancelled. Trouble is logged once, and tried again."""
        failures = 0
        while True:
            trouble = await self._guarded_step()
            if trouble:
                failures += 1
                if failures == 1:
                    logger.warning("the chain is not followed for now: %s", trouble)
            elif failures:
                logger.info("the chain is followed again, after %d failures", failures)
                failures = 0
            wait_s = min(self._poll_interval_s * 2 ** min(failures, 10), _MAX_BACK_OFF_S)
            await asyncio.sleep(max(self._poll_interval_s, wait_s))

    async def _guarded_step(self) -> str:
        """Look once; return what went wrong."""
        try:
            async with asyncio.timeout(self._limits.step_timeout_s):
                await self.step()
        except PodiumError as error:
            return str(error)
        except TimeoutError:
            # Reading everything anew is always right, and takes no backlog.
            self._gave_up = True
            return f"no end after {self._limits.step_timeout_s:g} s"
        except Exception as error:  # the node lives on this task
            logger.exception("a listener to the chain failed")
            return f"{type(error).__name__} in a listener"
        return ""

    async def step(self) -> None:
        """Look once.

        Raises:
            ChainError: the chain could not be asked, or changed meanwhile. Nothing was skipped.
            PodiumError: the store or the listener failed. The same comes again.
        """
        if self._kept is None:
            self._kept = sorted(await self._store.heads(), key=lambda head: head.number)
            self.head = self._kept[-1] if self._kept else None
        newest = await self._block("latest")
        if newest is None:
            msg = "no endpoint has a newest block"
            raise ChainError(msg)
        await self._advance(self._kept, newest)
        self._looked_at = self._clock()

    async def _advance(self, kept: list[Head], newest: Head) -> None:
        if not kept:
            await self._start_at(newest)
        elif newest.hash == kept[-1].hash:
            self._behind_since = None
            if self._told:
                self._on_no_news()
            else:  # after a restart: nobody knows the head yet
                await self._tell(HeadUpdate(newest), kept, _Recent(newest.number + 1))
        elif self._gave_up or self._is_far(kept[-1], newest):
            logger.warning(
                "%d blocks to catch up on: everything is read anew", newest.number - kept[-1].number
            )
            await self._start_at(newest)
        elif await self._is_newer(kept[-1], newest):
            await self._go_on(kept, newest)
        elif await self._rewound(kept, newest):
            await self._go_back(kept, newest)

    def _is_far(self, last: Head, newest: Head) -> bool:
        return newest.number - last.number > self._limits.max_backlog_blocks

    async def _is_newer(self, last: Head, newest: Head) -> bool:
        """Return whether a head came after the last one, and that one is still there."""
        if newest.number <= last.number:
            return False
        self._behind_since = None
        return newest.parent == last.hash or await self._canonical(last)

    async def _rewound(self, kept: list[Head], newest: Head) -> bool:
        """Return whether the last head is gone, and not merely unknown to an endpoint that lags."""
        last = kept[-1]
        if newest.number > last.number:
            return True  # it was looked for by its number, and another was there
        if newest.number == last.number:
            return not await self._canonical(last)
        found = await self._block(last.number)
        if found is not None:
            self._behind_since = None
            return found.hash != last.hash
        shared = next((head for head in reversed(kept) if head.number <= newest.number), None)
        if shared is not None and not await self._canonical(shared):
            return True
        if self._behind_since is None:
            self._behind_since = self._clock()
        return self._clock() - self._behind_since >= self._limits.rewind_after_s

    # What is told

    async def _start_at(self, newest: Head) -> None:
        """Begin here: what was before is read from the contracts, not from logs."""
        await self._tell(HeadUpdate(newest, (), reorg=True), [newest], _Recent(newest.number + 1))
        self._gave_up = False

    async def _go_on(self, kept: list[Head], newest: Head) -> None:
        last, recent = kept[-1], self._recent or _Recent(kept[-1].number + 1)
        first = max(recent.first, last.number + 1 - _MAX_OVERLAP_BLOCKS)
        logs = await self._logs_to(first, newest)
        found = {_id(log) for log in logs}
        expected = recent.logs if first == recent.first else frozenset[LogId]()
        lost = bool(expected - found)
        if lost:
            logger.warning("logs after block %d are gone: a reorg", first - 1)
        fresh = logs if lost else [log for log in logs if _id(log) not in recent.logs]
        update = HeadUpdate(newest, tuple(fresh), reorg=lost)
        await self._tell(update, [*kept, newest], _Recent.of(last.number + 1, logs))

    async def _go_back(self, kept: list[Head], newest: Head) -> None:
        """Find the newest head that is still there, and tell what came after it."""
        self._behind_since = None
        while kept and not (kept[-1].number <= newest.number and await self._canonical(kept[-1])):
            kept = kept[:-1]
        if not kept:
            logger.warning("none of the kept heads is known to the chain: everything is read anew")
            await self._start_at(newest)
            return
        ancestor = kept[-1]
        logger.warning("reorg: blocks after %d are other ones now", ancestor.number)
        logs = await self._logs_to(ancestor.number + 1, newest)
        heads = kept if ancestor.hash == newest.hash else [*kept, newest]
        update = HeadUpdate(newest, tuple(logs), reorg=True)
        await self._tell(update, heads, _Recent.of(ancestor.number + 1, logs))

    async def _logs_to(self, first: int, newest: Head) -> list[Log]:
        """Return the logs up to a head, all of its chain.

        Raises:
            ChainError: the chain changed meanwhile.
        """
        logs = await self._logs.between(first, newest.number)
        strange = any(
            log.block_number == newest.number and log.block_hash != newest.hash for log in logs
        )
        if strange or not await self._canonical(newest):
            msg = f"block {newest.number} changed while its logs were read"
            raise ChainError(msg)
        return logs

    async def _tell(self, update: HeadUpdate, heads: list[Head], recent: _Recent) -> None:
        await self._listener(update)
        self._told, self.head, self._recent = True, update.head, recent
        self._kept = heads[-KEPT_HEADS:]
        await self._store.keep_heads(self._kept)

    # What is asked

    async def _canonical(self, head: Head) -> bool:
        found = await self._block(head.number)
        return found is not None and found.hash == head.hash

    async def _block(self, number: int | str) -> Head | None:
        tag = hex(number) if isinstance(number, int) else number
        answer: Any = await self._rpc.call("eth_getBlockByNumber", tag, False)
        return None if answer is None else head_of_block(answer)


def _id(log: Log) -> LogId:
    return log.block_hash, log.index
