"""Open sessions: capacity, order of jobs, idle end (wire-video 7)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from attrs import define, field
from podium_hookspecs import SessionClosed, SessionOpened

from podium.errors import CapacityError
from podium.model import SESSION_IDLE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from podium_hookspecs import Event

QUEUE_LIMIT = 4
"""Jobs that may wait in a session beside the one that runs."""


@define(eq=False)
class Session:
    """One open session.

    Attributes:
        id: From the token.
        sender: The address that opened it.
        jobs: Jobs accepted so far.
        pending: Jobs that wait or run.
        last_used_s: Monotonic seconds of the last job's arrival or end.
    """

    id: str
    sender: bytes
    last_used_s: float
    jobs: int = 0
    pending: int = 0
    turn: asyncio.Lock = field(factory=asyncio.Lock)


class Sessions:
    """The open sessions of the node.

    Args:
        max_sessions: Sessions that may be open at a time.
        idle_s: Seconds without a job after which a session ends.
        on_event: Hears of sessions opened and closed.
        on_close: Awaited with the ID of each session that ended, to free what was kept for it.
        monotonic: Returns monotonic seconds.
    """

    def __init__(
        self,
        max_sessions: int,
        *,
        on_event: Callable[[Event], None],
        on_close: Callable[[str], Awaitable[None]],
        monotonic: Callable[[], float],
        idle_s: float = SESSION_IDLE_S,
    ) -> None:
        self.max_sessions = max_sessions
        self._idle_s = idle_s
        self._on_event = on_event
        self._on_close = on_close
        self._monotonic = monotonic
        self._open: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._open

    @property
    def senders(self) -> frozenset[bytes]:
        """The addresses that have a session open."""
        return frozenset(session.sender for session in self._open.values())

    def check_capacity(self, session_id: str = "") -> None:
        """Refuse a new session when all are taken; an open one always passes.

        Raises:
            CapacityError: ``OrchestratorCapped``.
        """
        if session_id not in self._open and len(self._open) >= self.max_sessions:
            raise CapacityError("OrchestratorCapped")

    def open(self, session_id: str, sender: bytes) -> Session:
        """Return the session, opened now if it was not.

        Raises:
            CapacityError: ``OrchestratorCapped``.
        """
        self.check_capacity(session_id)
        session = self._open.get(session_id)
        if session is None:
            session = Session(session_id, sender, self._monotonic())
            self._open[session_id] = session
            self._on_event(SessionOpened(session_id, sender, len(self._open)))
        return session

    @asynccontextmanager
    async def turn(self, session: Session) -> AsyncIterator[None]:
        """Wait for this job's turn: the jobs of a session run one by one, in order of arrival.

        Raises:
            CapacityError: ``OrchestratorBusy``, four wait already.
        """
        if session.pending > QUEUE_LIMIT:
            raise CapacityError("OrchestratorBusy")
        session.pending += 1
        session.jobs += 1
        session.last_used_s = self._monotonic()
        try:
            async with session.turn:
                yield
        finally:
            session.pending -= 1
            session.last_used_s = self._monotonic()
            if not session.pending and session.id not in self._open:
                # It was ended under its jobs: what they left behind goes too.
                await self._on_close(session.id)

    async def end(self, session_id: str, reason: str = "ended") -> bool:
        """Close a session and free what was kept for it; False when it was not open."""
        session = self._open.pop(session_id, None)
        if session is None:
            return False
        self._on_event(
            SessionClosed(session_id, session.sender, reason, session.jobs, len(self._open))
        )
        await self._on_close(session_id)
        return True

    async def sweep(self) -> int:
        """End the sessions that were idle too long; return how many."""
        horizon = self._monotonic() - self._idle_s
        idle = [s.id for s in self._open.values() if not s.pending and s.last_used_s <= horizon]
        for session_id in idle:
            await self.end(session_id, "idle")
        return len(idle)

    async def close(self) -> None:
        """End all sessions."""
        for session_id in list(self._open):
            await self.end(session_id, "stopping")
