"""All views together, as the follower drives them and services read them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from podium.chain.contracts import RoundsManager
from podium.chain.views.events import OWN_TOPICS, PROTOCOL_TOPICS, SENDER_TOPICS, TOPICS
from podium.chain.views.kept import Kept, Value
from podium.chain.views.query import Query
from podium.chain.views.senders import SenderCache
from podium.chain.views.settings import ViewSettings
from podium.errors import ChainError, RpcUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from podium.chain.ports import Rpc
    from podium.chain.reader import Addresses
    from podium.chain.values import Head, HeadUpdate, Log
    from podium.chain.views.states import (
        OrchestratorState,
        ProtocolState,
        SenderState,
        UnbondingLock,
    )


def _ignore(part: str, error: ChainError) -> None:
    del part, error


class ChainViews:
    """What the node knows of the chain. Attributes answer from memory, and never block.

    Events say what to read again; nothing is added up from them. So an event that comes twice
    does no harm, and what one update could not read the next one does.

    Args:
        rpc: Where to read.
        addresses: The contracts.
        orchestrator: 20 bytes: whose place, fees and claims these are; the ticket recipient.
        settings: Bounds.
        keep_sender: Whether a sender must stay in memory, because something is pending for it.
        on_problem: Hears what could not be read again, and why; it is tried at the next block.
        now: Seconds of a clock that only goes forward.
        wall_clock: Unix seconds.
    """

    topics = tuple(sorted(TOPICS))
    """First topics of the logs that updates have to bring."""

    def __init__(
        self,
        rpc: Rpc,
        addresses: Addresses,
        orchestrator: bytes,
        *,
        settings: ViewSettings | None = None,
        keep_sender: Callable[[bytes], bool] = lambda _sender: False,
        on_problem: Callable[[str, ChainError], None] = _ignore,
        now: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.contracts = addresses
        self.settings = settings or ViewSettings()
        self._address = orchestrator
        self._now = now
        self._wall_clock = wall_clock
        self._on_problem = on_problem
        self._query = Query(rpc, addresses)
        self._head: Head | None = None
        self._heard_at = now()
        self._reorgs = 0
        self._locks_read: tuple[int, OrchestratorState] | None = None
        self._round_seen: tuple[int, int, bytes] | None = None
        self._on_round: list[Callable[[], None]] = []
        self._on_block: list[Callable[[], None]] = []
        timeout_s = self.settings.read_timeout_s
        self._protocol = Kept(self._read_protocol, now, timeout_s, "the rounds")
        self._own = Kept(self._read_own, now, timeout_s, "our orchestrator")
        self._senders = SenderCache(self._read_sender, self.settings, now, on_problem, keep_sender)

    # What the follower needs.

    @property
    def addresses(self) -> Sequence[bytes]:
        """Contracts whose logs updates have to bring."""
        to = self.contracts
        return (
            to.controller,
            to.rounds_manager,
            to.ticket_broker,
            to.bonding_manager,
            to.service_registry,
        )

    async def start(self, head: Head) -> None:
        """Read everything at a head; updates go on from there.

        Raises:
            ChainError: it could not be read.
        """
        self._head = head
        self.heard()
        await asyncio.gather(self._protocol.refresh(), self._own.refresh())
        self._round_seen = self._round_now()

    def heard(self) -> None:
        """Note that the chain was asked and has no news: what is held is still believed."""
        self._heard_at = self._now()

    async def on_update(self, update: HeadUpdate) -> None:
        """Take in a new head. Never fails: what cannot be read is read at the next one."""
        before = self._head
        self._head = update.head
        self.heard()
        if update.reorg:
            self._mark_everything()
        for log in update.logs:
            self._take(log)
        if before is not None and self._protocol.value is not None:
            self._mark_passing_round(before)
        await self._refresh()
        self._announce()

    def _mark_everything(self) -> None:
        self._reorgs += 1
        self._protocol.mark()
        self._own.mark()
        self._senders.mark_all()

    def _mark_passing_round(self, before: Head) -> None:
        """Claims of reserves begin anew with each round, whether or not it is initialized."""
        state = self._protocol_state()
        if state.round_at(before.l1_number) != state.round_at(self.l1_block):
            self._senders.mark_claims()

    def _take(self, log: Log) -> None:
        if log.address not in self.addresses or not log.topics:
            return
        topic, *named = log.topics
        if topic in PROTOCOL_TOPICS:
            self._protocol.mark()
        if topic in OWN_TOPICS and any(each[12:] == self._address for each in named):
            self._own.mark()
        if topic in SENDER_TOPICS and named:
            self._senders.mark((named[0][12:],))
        if topic == RoundsManager.new_round.topic:
            self._own.mark()
            self._senders.mark_claims()
            self._senders.check_all()
            self._take_round(log)

    def _take_round(self, log: Log) -> None:
        """Use what the event tells at once; the rest has to be read."""
        try:
            event = RoundsManager.new_round.decode(log)
        except ChainError as error:
            self._on_problem("rounds", error)
            return
        state = self._protocol.value
        if state is not None and event["round"] > state.last_initialized_round:
            self._protocol.value = state.with_round(event["round"], event["block_hash"])

    async def _refresh(self) -> None:
        try:
            async with (
                asyncio.timeout(self.settings.update_timeout_s),
                asyncio.TaskGroup() as group,
            ):
                group.create_task(self._refresh_kept("rounds", self._protocol))
                group.create_task(self._refresh_kept("orchestrator", self._own))
                group.create_task(self._senders.refresh())
        except TimeoutError:
            msg = f"not all was read within {self.settings.update_timeout_s:g} s"
            self._on_problem(f"{self._senders.due} senders", RpcUnavailable(msg))

    async def _refresh_kept(
        self, part: str, kept: Kept[ProtocolState] | Kept[OrchestratorState]
    ) -> None:
        if kept.fresh:
            return
        try:
            await kept.refresh()
        except ChainError as error:
            self._on_problem(part, error)

    def _round_now(self) -> tuple[int, int, bytes]:
        number = self.last_initialized_round
        return number, self.current_round, self.round_hash(number)

    def _announce(self) -> None:
        if self._protocol.value is not None and self._round_seen != self._round_now():
            self._round_seen = self._round_now()
            for callback in self._on_round:
                callback()
        for callback in self._on_block:
            callback()

    def on_round(self, callback: Callable[[], None]) -> None:
        """Call this when a round begins, is initialized, or was replaced by a reorg.

        A wake-up that may come once too often: look at the attributes for what is the case.
        """
        self._on_round.append(callback)

    def on_block(self, callback: Callable[[], None]) -> None:
        """Call this after each update."""
        self._on_block.append(callback)

    # Reading.

    async def _read_protocol(self) -> ProtocolState:
        return await self._query.protocol(self.head.number)

    async def _read_own(self) -> OrchestratorState:
        reorgs, known = self._locks_read or (self._reorgs, None)
        if reorgs != self._reorgs:
            reorgs, known = self._reorgs, None
        state = await self._query.orchestrator(self._address, self.head.number, known)
        self._locks_read = reorgs, state
        return state

    async def _read_sender(self, sender: bytes) -> SenderState:
        return await self._query.sender(sender, self._address, self.head.number)

    # What services read.

    def _protocol_state(self) -> ProtocolState:
        if self._protocol.value is None:
            msg = "the rounds have not been read yet"
            raise RpcUnavailable(msg)
        return self._protocol.value

    @property
    def protocol(self) -> ProtocolState:
        """Rounds and common parameters as last read."""
        return self._protocol_state()

    @property
    def head(self) -> Head:
        """The newest block.

        Raises:
            RpcUnavailable: none was seen yet.
        """
        if self._head is None:
            msg = "no block of the chain was seen yet"
            raise RpcUnavailable(msg)
        return self._head

    @property
    def l1_block(self) -> int:
        """The newest L1 block number: what rounds and expiry count."""
        return self.head.l1_number

    @property
    def last_initialized_round(self) -> int:
        """The round that tickets are bound to."""
        return self._protocol_state().last_initialized_round

    @property
    def current_round(self) -> int:
        """The round that the newest block belongs to, initialized or not."""
        return self._protocol_state().round_at(self.l1_block)

    @property
    def round_initialized(self) -> bool:
        """Whether the current round is initialized; if not, the protocol refuses most changes."""
        return self.last_initialized_round == self.current_round

    @property
    def round_locked(self) -> bool:
        """Whether rates cannot be set, because the round nears its end."""
        return self._protocol_state().locked_at(self.l1_block)

    @property
    def blocks_left_in_round(self) -> int:
        """L1 blocks until the next round can be initialized."""
        state = self._protocol_state()
        return state.start_of_round(self.l1_block) + state.round_length - self.l1_block

    def round_hash(self, round_number: int) -> bytes:
        """Return the 32-byte block hash stored for a round; zeros where none is known."""
        return self._protocol_state().hashes.get(round_number, bytes(32))

    @property
    def pool_size(self) -> int:
        """Number of orchestrators who share a sender's reserve."""
        return self._protocol_state().pool_size

    @property
    def ticket_validity_rounds(self) -> int:
        """Rounds that a ticket can be redeemed in, its own included."""
        return self._protocol_state().ticket_validity_rounds

    @property
    def paused(self) -> bool:
        """Whether the protocol refuses every change."""
        return self._protocol_state().paused

    @property
    def orchestrator(self) -> OrchestratorState:
        """Our own place in the protocol, as last read.

        Raises:
            RpcUnavailable: it was not read yet.
        """
        if self._own.value is None:
            msg = "our orchestrator has not been read yet"
            raise RpcUnavailable(msg)
        return self._own.value

    @property
    def locks(self) -> Sequence[UnbondingLock]:
        """Our open unbonding locks."""
        return self.orchestrator.locks

    @property
    def stale_for_s(self) -> float:
        """Seconds since rounds or orchestrator changed without having been read again."""
        return max(self._protocol.stale_for_s, self._own.stale_for_s)

    @property
    def silent_for_s(self) -> float:
        """Seconds since the chain was last heard of."""
        return self._now() - self._heard_at

    async def refresh_orchestrator(self) -> OrchestratorState:
        """Read our own place now: balances change without an event.

        Raises:
            ChainError: it could not be read.
        """
        self._own.mark()
        return await self._own.refresh()

    async def sender(self, address: bytes) -> SenderState:
        """Return a sender's money; from memory where it is known.

        Raises:
            ChainError: it could not be read in time, or what is held is too old to decide about
                money.
        """
        self._require_word()
        await self._require(self._protocol)
        return await self._senders.get(address)

    async def is_active(self, orchestrator: bytes, round_number: int) -> bool:
        """Return whether an orchestrator is in a round's active set; ours from memory.

        Raises:
            ChainError: as :meth:`sender`.
        """
        self._require_word()
        if orchestrator == self._address:
            return (await self._require(self._own)).active_in(round_number)
        return await self._is_other_active(orchestrator, round_number)

    async def _is_other_active(self, orchestrator: bytes, round_number: int) -> bool:
        kept = Kept(
            lambda: self._query.active_rounds(orchestrator, self.head.number),
            self._now,
            self.settings.read_timeout_s,
            "the orchestrator's rounds",
        )
        activation, deactivation = await kept.refresh()
        return activation <= round_number < deactivation

    async def _require(self, kept: Kept[Value]) -> Value:
        if kept.value is not None and kept.usable(self.settings.grace_s):
            return kept.value
        return await kept.refresh()

    def _require_word(self) -> None:
        limit = self.settings.max_silence_s
        if limit is not None and self.silent_for_s > limit:
            msg = f"nothing was heard of the chain for {self.silent_for_s:.0f} s"
            raise RpcUnavailable(msg)
        age_s, limit = self._wall_clock() - self.head.timestamp, self.settings.max_head_age_s
        if limit is not None and age_s > limit:
            msg = f"the newest block that the endpoints show is {age_s:.0f} s old"
            raise RpcUnavailable(msg)
