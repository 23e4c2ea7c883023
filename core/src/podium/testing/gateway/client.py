"""The Gateway client: finds orchestrators, keeps sessions with them, gets segments transcoded.

Source: go-livepeer server/broadcast.go (``BroadcastSessionsManager``, ``processSegment``).
"""

from __future__ import annotations

import asyncio
import time
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Self

from attrs import define, field, frozen

from podium.crypto import NoSigner
from podium.testing.gateway import discovery, verify
from podium.testing.gateway.capabilities import job_bits, message
from podium.testing.gateway.errors import (
    NoOrchestrator,
    OrchestratorFailed,
    TermsRefused,
    VerificationFailed,
)
from podium.testing.gateway.session import Job, Session
from podium.testing.gateway.tickets import AgeClock, Caps
from podium.testing.gateway.transport import Http, Rpc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podium.crypto import Signer
    from podium.testing.gateway.account import Account
    from podium.testing.gateway.discovery import Candidate
    from podium.testing.gateway.media import Segment
    from podium.testing.gateway.session import Transcoded
    from podium.testing.gateway.tickets import Clock
    from podium.testing.gateway.verify import Facts
    from podium.wire.pb import lp_rpc_pb2 as net

MAX_ATTEMPTS = 3
WEBHOOK_CACHE_S = 60.0
SHORTEST_ROUND_S = 1.5


@frozen
class Rendition:
    """One rendition of one segment: its bytes, and what decoding it showed."""

    profile: net.VideoProfile
    data: bytes = field(repr=False)
    facts: Facts
    billed_pixels: int


@frozen
class Outcome:
    """A segment that came back.

    Attributes:
        segment: What was sent.
        renditions: In the order of the ladder.
        orchestrator: Service URI of the orchestrator that did it.
        session_id: Its key for our account.
        attempts: 1 when the first was good.
        headers_s: Until the response's headers.
        transcode_s: Until the result was here.
        total_s: Until every rendition was fetched and checked.
        tickets: Sent with the good attempt.
        debit: Exact wei that it cost.
        signature_checked: False only where the orchestrator signs nothing.
    """

    segment: Segment
    renditions: tuple[Rendition, ...]
    orchestrator: str
    session_id: str
    attempts: int
    headers_s: float
    transcode_s: float
    total_s: float
    tickets: int
    debit: Fraction
    signature_checked: bool


@define(eq=False)
class GatewayClient:
    """A sender for one stream. Use it as an async context manager.

    Attributes:
        profiles: The ladder asked for.
        manifest_id: The stream's identifier.
        addresses: Orchestrators to ask, by address; see ``discovery.parse_addresses``.
        webhook: Or a URL that lists them.
        signer: The wallet; ``NoSigner`` is a Gateway off chain.
        caps: What it is ready to pay.
        clock: What it knows of L1 blocks.
        wanted: Orchestrators to keep sessions with.
    """

    profiles: Sequence[net.VideoProfile]
    manifest_id: str = "stream"
    addresses: Sequence[Candidate] = ()
    webhook: str | None = None
    signer: Signer = field(factory=NoSigner)
    caps: Caps = field(factory=Caps)
    clock: Clock = field(factory=AgeClock)
    wanted: int = 1
    rpc: Rpc = field(factory=Rpc, repr=False)
    http: Http = field(factory=Http, repr=False)
    _sessions: list[Session] = field(factory=list)
    _retired: list[Session] = field(factory=list)
    _suspended: dict[str, int] = field(factory=dict)
    _finding: asyncio.Lock = field(factory=asyncio.Lock)
    _listed: tuple[float, Sequence[Candidate]] | None = None
    _ended: bool = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def accounts(self) -> list[Account]:
        """Every account of this stream, closed ones included."""
        sessions = [*self._retired, *self._sessions]
        return [account for session in sessions for account in session.accounts]

    @property
    def sessions(self) -> Sequence[Session]:
        """The sessions in use."""
        return tuple(self._sessions)

    async def close(self) -> None:
        """End every session, dropped ones too, then close every connection; twice is fine."""
        if not self._ended:
            self._ended = True
            await asyncio.gather(*(s.end() for s in (*self._sessions, *self._retired)))
        await self.http.close()
        await self.rpc.close()

    def job(self, segment: Segment) -> Job:
        """Return what the segment needs of an orchestrator."""
        bits = job_bits(self.profiles, codec=segment.codec, pixel_format=segment.pixel_format)
        return Job(self.manifest_id, self.profiles, message(bits))

    async def transcode(self, segment: Segment) -> Outcome:
        """Get one segment transcoded and verified, with up to three attempts.

        Raises:
            SegmentRefused: the segment cannot be transcoded; no other attempt is made.
            OrchestratorFailed: every attempt failed; the last one's reason.
            NoOrchestrator: nobody will do it.
        """
        start = time.monotonic()
        job = self.job(segment)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            session = await self.session(job, segment.duration_s)
            try:
                await session.refresh_if_due(job.capabilities)
                result = await session.transcode(segment, job)
                renditions, signed = await self._collect(result)
            except (OrchestratorFailed, TermsRefused) as error:
                self._punish(session, error)
                if attempt == MAX_ATTEMPTS:
                    raise
                continue
            return Outcome(
                segment=segment,
                renditions=renditions,
                orchestrator=session.info.transcoder,
                session_id=result.session_id,
                attempts=attempt,
                headers_s=result.reply.headers_s,
                transcode_s=result.reply.total_s,
                total_s=time.monotonic() - start,
                tickets=result.tickets,
                debit=result.debit,
                signature_checked=signed,
            )
        raise AssertionError("the last attempt returns or raises")

    async def _collect(self, result: Transcoded) -> tuple[tuple[Rendition, ...], bool]:
        """Fetch all renditions at once, then check the signature and every pixel."""
        pieces = result.data.segments
        if len(pieces) != len(self.profiles):
            raise OrchestratorFailed(f"{len(pieces)} renditions came for {len(self.profiles)}")
        blobs = await gather(*(self.http.download(piece.url) for piece in pieces))
        signed = verify.check_signature(result.info, result.data, blobs)
        facts = await gather(*(asyncio.to_thread(verify.inspect, blob) for blob in blobs))
        verify.check_pixels(result.data, facts)
        renditions = tuple(
            Rendition(profile, blob, seen, piece.pixels)
            for profile, blob, seen, piece in zip(self.profiles, blobs, facts, pieces, strict=True)
        )
        return renditions, signed

    async def session(self, job: Job, duration_s: float) -> Session:
        """Pick the session for the next segment; discover when none is left.

        The one that is least behind comes first, then the lowest latency score; one never tried
        comes before one whose score is over 1 (wire-video 10.3).
        """
        async with self._finding:
            if not self._sessions:
                await self._discover(job)
        limit_s = max(SHORTEST_ROUND_S, duration_s)

        def rank(session: Session) -> tuple[int, bool, float]:
            behind = int(session.oldest_s() / limit_s)
            score = session.score if session.score is not None else 1.0
            return behind, score > 1.0, score

        return min(self._sessions, key=rank)

    async def _discover(self, job: Job) -> None:
        finder = discovery.Discovery(self.rpc, self.signer, self.caps, self.clock)
        untrusted, trusted = discovery.by_trust(await self._candidates())
        offers: list[discovery.Offer] = []
        reason: NoOrchestrator | None = None
        for pool in (untrusted, trusted):
            if pool and not offers:
                try:
                    offers = await finder.find(pool, job.capabilities, self.wanted)
                except NoOrchestrator as error:
                    reason = error
        if not offers:
            raise reason or NoOrchestrator("the list of orchestrators is empty")
        ordered = discovery.ranked(offers, lambda uri: self._suspended.get(uri, 0) > 0)
        self._suspended = {uri: left - 1 for uri, left in self._suspended.items() if left > 1}
        self._sessions = [self._open(offer) for offer in ordered[: self.wanted]]

    def _open(self, offer: discovery.Offer) -> Session:
        return Session(
            uri=offer.candidate.uri,
            info=offer.info,
            signer=self.signer,
            caps=self.caps,
            clock=self.clock,
            rpc=self.rpc,
            http=self.http,
        )

    async def _candidates(self) -> Sequence[Candidate]:
        """The address list, or the webhook's, kept for a minute and over its failures."""
        if self.webhook is None:
            return self.addresses
        if self._listed is None or time.monotonic() - self._listed[0] > WEBHOOK_CACHE_S:
            try:
                self._listed = (time.monotonic(), await discovery.fetch_webhook(self.webhook))
            except NoOrchestrator:
                if self._listed is None:
                    raise
        return self._listed[1]

    def _punish(self, session: Session, error: Exception) -> None:
        """Drop the session, and suspend its orchestrator, as far as the failure asks for it."""
        if isinstance(error, VerificationFailed) and not error.drops_session:
            return
        if session in self._sessions:
            self._sessions.remove(session)
            self._retired.append(session)
        if not isinstance(error, VerificationFailed):
            self._suspended[session.info.transcoder] = 1


async def gather(*coroutines: Any) -> list[Any]:
    """Run all; when one fails, stop the others and raise its error alone."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
