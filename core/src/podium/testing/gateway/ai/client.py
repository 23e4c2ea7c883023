"""The Gateway client for AI jobs: finds who serves a model, pays, retries, fetches the media.

Source: go-livepeer server/ai_process.go (``processAIRequest``).
"""

from __future__ import annotations

import asyncio
import time
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Self

from attrs import define, field, frozen

from podium.crypto import NoSigner
from podium.testing.gateway.ai.errors import MediaLost, NobodyAnswered, RequestRefused
from podium.testing.gateway.ai.media import fetch, media_urls
from podium.testing.gateway.ai.pipelines import find_pipeline
from podium.testing.gateway.ai.pool import AiDiscovery, Pool
from podium.testing.gateway.ai.requests import ai_capabilities, encode, manifest_id
from podium.testing.gateway.ai.retry import (
    MAX_TRIES,
    RETRY_WINDOW_S,
    SAME_TRIES,
    Reaction,
    reaction_to,
    told_to_client,
    wants_new_terms,
)
from podium.testing.gateway.ai.session import AiSession, Answered, Job, StreamCut
from podium.testing.gateway.ai.wire import AiHttp
from podium.testing.gateway.client import gather
from podium.testing.gateway.errors import NoOrchestrator, OrchestratorFailed, TermsRefused
from podium.testing.gateway.report import counted
from podium.testing.gateway.tickets import AgeClock, Caps
from podium.testing.gateway.transport import Rpc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from podium.crypto import Signer
    from podium.testing.gateway.account import Account
    from podium.testing.gateway.ai.media import Media
    from podium.testing.gateway.ai.pipelines import Upload
    from podium.testing.gateway.ai.session import OnEvent
    from podium.testing.gateway.discovery import Candidate, Offer
    from podium.testing.gateway.tickets import Clock

JOB_TIMEOUT_S = 900.0


@frozen
class AiResult:
    """A job that was done.

    Attributes:
        status: Of the good answer: 200.
        json: The answer; of a stream, the list of its events.
        media: The files that the answer names, in its order.
        units: What was paid for.
        unit: Of what.
        fee_wei: Exact wei that it cost.
        tickets: Sent with the good attempt.
        orchestrator: Service URI of who did it.
        session_id: Its key for our account.
        attempts: 1 when the first was good.
        first_s: The good attempt's first event, or its head.
        seconds: All of it, from the call.
    """

    status: int
    json: Any = field(repr=False)
    media: tuple[Media, ...]
    units: int
    unit: str
    fee_wei: Fraction
    tickets: int
    orchestrator: str
    session_id: str
    attempts: int
    first_s: float
    seconds: float


def _ignore(_event: dict[str, Any]) -> None:
    return


@define(eq=False)
class AiGateway:
    """A sender of AI jobs; any number at a time. Use it as an async context manager.

    Attributes:
        addresses: Orchestrators to ask; see ``discovery.parse_addresses``.
        signer: The wallet; ``NoSigner`` is a Gateway off chain.
        caps: What it is ready to pay; prices are per unit of the pipeline.
        clock: What it knows of L1 blocks.
        retry_window_s: The last try begins within this time of the first.
        timeout_s: For one attempt.
    """

    addresses: Sequence[Candidate] = ()
    signer: Signer = field(factory=NoSigner)
    caps: Caps = field(factory=Caps)
    clock: Clock = field(factory=AgeClock)
    retry_window_s: float = RETRY_WINDOW_S
    timeout_s: float = JOB_TIMEOUT_S
    rpc: Rpc = field(factory=Rpc, repr=False)
    http: AiHttp = field(factory=AiHttp, repr=False)
    _pools: dict[str, Pool] = field(factory=dict)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection; twice is fine."""
        await self.http.close()
        await self.rpc.close()

    @property
    def accounts(self) -> list[tuple[str, Account]]:
        """Every account, closed ones included, with the orchestrator's key for its balance."""
        return [
            (key, account)
            for key, pool in self._pools.items()
            for session in (*pool.retired, *pool.sessions)
            for account in session.accounts
        ]

    async def run(
        self,
        pipeline: str,
        model: str,
        fields: Mapping[str, Any] | None = None,
        upload: Upload | None = None,
        *,
        stream: bool = False,
        on_event: OnEvent = _ignore,
    ) -> AiResult:
        """Get one job done.

        Args:
            pipeline: Its name, such as ``image-to-text``.
            model: The model's name.
            fields: Of the request.
            upload: Its file, for pipelines that take one.
            stream: Ask for events (llm).
            on_event: Called with each event.

        Raises:
            InputError: the request is not one that a Gateway would send.
            RequestRefused: the request is at fault.
            NobodyAnswered: every try failed, or there is nobody to try.
            StreamCut: a stream broke off.
            MediaLost: the answer came, a file of it did not.
        """
        start = time.monotonic()
        given = {**(fields or {}), **({"stream": True} if stream else {})}
        job = await asyncio.to_thread(self._prepare, pipeline, model, given, upload, on_event)
        session, answered, attempts = await self._retry(job, start)
        try:
            urls = media_urls(job.pipeline, answered.answer)
            media = await gather(*(fetch(job.pipeline, url, self.http) for url in urls))
        except OrchestratorFailed as error:
            raise MediaLost(str(error), attempts=attempts) from error
        return AiResult(
            status=answered.status,
            json=answered.answer,
            media=tuple(media),
            units=job.units,
            unit=job.pipeline.unit,
            fee_wei=answered.fee,
            tickets=answered.tickets,
            orchestrator=session.info.transcoder,
            session_id=answered.session_id,
            attempts=attempts,
            first_s=answered.first_s,
            seconds=time.monotonic() - start,
        )

    def _prepare(
        self,
        pipeline: str,
        model: str,
        fields: Mapping[str, Any],
        upload: Upload | None,
        on_event: OnEvent,
    ) -> Job:
        """Measure and encode a request: may take long, so not on the event loop."""
        kind = find_pipeline(pipeline)
        full = kind.complete(model, fields, upload)
        return Job(
            pipeline=kind,
            model=model,
            capabilities=ai_capabilities(kind.capability, model),
            units=kind.units(full, upload),
            content=encode(kind, full, upload),
            timeout_s=self.timeout_s,
            on_event=on_event,
        )

    async def _retry(self, job: Job, start: float) -> tuple[AiSession, Answered, int]:
        """Try until it is done, the request is at fault, or there were tries enough."""
        pool = self._pool(job)
        tried: list[AiSession] = []
        last: Exception | None = None
        attempts = 0
        while attempts < MAX_TRIES:
            if last is not None and time.monotonic() - start > self.retry_window_s:
                break
            try:
                session = await pool.pick(tried)
            except NoOrchestrator as error:
                raise NobodyAnswered(str(last or error), attempts=attempts) from error
            attempts += 1
            tried.append(session)
            try:
                await session.refresh_if_due(job.capabilities)
                return session, await session.attempt(job), attempts
            except StreamCut:
                raise
            except (OrchestratorFailed, TermsRefused) as error:
                last = error
                self._react(pool, session, tried, error, attempts)
        raise NobodyAnswered(
            f"{counted(attempts, 'attempt')} failed: {last}", attempts=attempts
        ) from last

    def _react(
        self,
        pool: Pool,
        session: AiSession,
        tried: list[AiSession],
        error: Exception,
        attempts: int,
    ) -> None:
        text = str(error)
        then = reaction_to(text)
        if then is Reaction.STOP:
            pool.suspend(session)
            raise RequestRefused(told_to_client(text), attempts=attempts) from error
        if then is Reaction.SAME and tried.count(session) >= SAME_TRIES:
            then = Reaction.SUSPEND
        if then is Reaction.SUSPEND:
            pool.suspend(session)
        elif wants_new_terms(text):
            session.expire()

    def _pool(self, job: Job) -> Pool:
        key = manifest_id(job.pipeline.capability, job.model)
        if key not in self._pools:
            self._pools[key] = Pool(
                capability=job.pipeline.capability,
                model=job.model,
                capabilities=job.capabilities,
                addresses=self.addresses,
                finder=AiDiscovery(self.rpc, self.signer, self.caps, self.clock, job.pipeline.unit),
                open_session=lambda offer, warm: self._open(offer, job.pipeline.unit, warm=warm),
            )
        return self._pools[key]

    def _open(self, offer: Offer, unit: str, *, warm: bool) -> AiSession:
        return AiSession(
            uri=offer.candidate.uri,
            info=offer.info,
            signer=self.signer,
            caps=self.caps,
            clock=self.clock,
            rpc=self.rpc,
            unit=unit,
            http=self.http,
            warm=warm,
        )
