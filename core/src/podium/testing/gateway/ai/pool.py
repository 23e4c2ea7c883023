"""The orchestrators that serve one model: found, picked, put aside (ai.md 2.3).

Source: go-livepeer server/ai_session.go (``AISessionSelector``, ``AISessionPool``).
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from attrs import define, field

from podium.testing.gateway import discovery
from podium.testing.gateway.ai.requests import fits, offered
from podium.testing.gateway.ai.retry import SUSPENDED_REFRESHES
from podium.testing.gateway.ai.session import AiSession
from podium.testing.gateway.errors import NoOrchestrator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from podium.testing.gateway.discovery import Candidate, Offer
    from podium.wire.pb import lp_rpc_pb2 as net

LIFE_S = 600.0
FEW = 8


class AiDiscovery(discovery.Discovery):
    """Accepts only orchestrators that name the model."""

    def check(self, info: net.OrchestratorInfo, job: net.Capabilities) -> None:
        """Accept an answer, or say why not."""
        super().check(info, job)
        if not fits(job, info.capabilities):
            raise NoOrchestrator("it does not serve this model")


@define(eq=False)
class Pool:
    """The sessions for one model.

    Attributes:
        capability: The pipeline's number.
        model: Its model.
        capabilities: What its jobs ask for.
        addresses: Whom to ask.
        finder: Asks them.
        open_session: Makes a session out of an offer.
        sessions: Those in use.
        retired: Those given up; their accounts count.
    """

    capability: int
    model: str
    capabilities: net.Capabilities
    addresses: Sequence[Candidate]
    finder: discovery.Discovery
    open_session: Callable[[Offer, bool], AiSession]
    sessions: list[AiSession] = field(factory=list)
    retired: list[AiSession] = field(factory=list)
    _suspended: dict[str, int] = field(factory=dict)
    _found: float = 0.0
    _finding: asyncio.Lock = field(factory=asyncio.Lock)

    async def pick(self, tried: Sequence[AiSession]) -> AiSession:
        """Return the session for the next try: one not tried yet, if there is one.

        A warm model comes before a cold one, then the lowest latency, the unknown ones last.

        Raises:
            NoOrchestrator: nobody serves the model on acceptable terms.
        """
        async with self._finding:
            if self._due():
                await self._refresh()
        untried = [session for session in self.sessions if session not in tried]

        def rank(session: AiSession) -> tuple[bool, bool, float]:
            return not session.warm, session.score is None, session.score or 0.0

        return min(untried or self.sessions, key=rank)

    def suspend(self, session: AiSession) -> None:
        """Give a session up, and leave its orchestrator out for some refreshes."""
        if session in self.sessions:
            self.sessions.remove(session)
            self.retired.append(session)
        self._suspended[session.uri] = SUSPENDED_REFRESHES

    def _due(self) -> bool:
        few = min(FEW, -(-len(self.addresses) // 2))
        return len(self.sessions) < max(1, few) or time.monotonic() - self._found > LIFE_S

    async def _refresh(self) -> None:
        """Ask everyone; those suspended come only when there is nobody else."""
        try:
            offers = await self.finder.find(
                self.addresses, self.capabilities, max(1, len(self.addresses))
            )
        except NoOrchestrator:
            if not self.sessions:
                raise
            return
        self._found = time.monotonic()
        self._suspended = {uri: left - 1 for uri, left in self._suspended.items() if left > 1}
        known = {session.uri for session in self.sessions}
        fresh = [offer for offer in offers if offer.candidate.uri not in known]
        good = [offer for offer in fresh if offer.candidate.uri not in self._suspended]
        if not good and not self.sessions:
            good, self._suspended = fresh, {}
        for offer in good:
            model = offered(offer.info.capabilities, self.capability, self.model)
            self.sessions.append(self.open_session(offer, model is not None and model.warm))
