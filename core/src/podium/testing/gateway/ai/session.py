"""One orchestrator at work on one model for this Gateway: one attempt per job.

Source: go-livepeer server/ai_session.go, server/ai_process.go (``submit...``).
"""

from __future__ import annotations

import json
import time
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from podium.testing.gateway.ai.errors import AnswerRefused
from podium.testing.gateway.ai.events import read_events
from podium.testing.gateway.ai.requests import build_ai_request
from podium.testing.gateway.errors import OrchestratorFailed
from podium.testing.gateway.standing import Standing
from podium.testing.gateway.transport import AnswerLost, NotSent

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium.testing.gateway.ai.pipelines import BatchPipeline
    from podium.testing.gateway.ai.wire import AiHttp, Incoming
    from podium.wire.pb import lp_rpc_pb2 as net

    OnEvent = Callable[[dict[str, Any]], None]

EVENT_STREAM = "text/event-stream"


class StreamCut(AnswerLost):
    """A stream broke off when some of it had been passed on: it cannot be tried again."""

    code = "ai_stream_cut"


@frozen
class Job:
    """One request, ready to be sent to any orchestrator.

    Attributes:
        pipeline: What is asked for.
        model: Of whom.
        capabilities: What the orchestrator must have.
        units: What it is paid by.
        content: Content type and body.
        timeout_s: For one attempt.
        on_event: Called with each event of a streamed answer.
    """

    pipeline: BatchPipeline
    model: str
    capabilities: net.Capabilities
    units: int
    content: tuple[str, bytes] = field(repr=False)
    timeout_s: float
    on_event: OnEvent


@frozen
class Answered:
    """A good answer: its JSON (a stream: the list of its events), and what it cost."""

    answer: Any = field(repr=False)
    status: int
    fee: Fraction
    tickets: int
    session_id: str
    first_s: float


@define(eq=False, kw_only=True)
class AiSession(Standing):
    """A session with one orchestrator for one model.

    Attributes:
        http: Carries the jobs.
        warm: The orchestrator says that the model is loaded.
        score: Seconds that the last job took by its units; None before the first.
    """

    http: AiHttp = field(repr=False)
    warm: bool = False
    score: float | None = None

    async def attempt(self, job: Job) -> Answered:
        """Make one attempt at a job: pay, send, read the answer, settle.

        Raises:
            TermsRefused: the price rose or the parameters are not acceptable; nothing was sent.
            AnswerRefused: an answer other than 200.
            StreamCut: a stream broke off.
            OrchestratorFailed: anything else.
        """
        start = time.monotonic()
        account, info = self.account, self.info
        fee = job.units * (self.price or Fraction(0))
        payment, stake = self.pay(fee)
        request = build_ai_request(
            self.signer, info, job.pipeline, job.model, job.capabilities, payment, job.content
        )
        url = f"{info.transcoder}/{job.pipeline.name}"
        taken = False
        try:
            async with self.http.post(url, request, job.timeout_s) as incoming:
                if incoming.status != 200:
                    text = await incoming.refusal()
                    raise AnswerRefused(info.transcoder, incoming.status, text)
                account.accept(stake)
                taken = True
                answer, first_s = await _read(incoming, job, start)
        except NotSent:
            account.restore(stake)
            raise
        except BaseException:  # a cancelled request was sent, too
            if not taken:
                account.lose(stake)
            raise
        account.settle(stake, fee)
        self.score = (time.monotonic() - start) / max(1, job.units)
        return Answered(
            answer=answer,
            status=incoming.status,
            fee=fee,
            tickets=len(stake.nonces),
            session_id=account.session_id,
            first_s=first_s,
        )


async def _read(incoming: Incoming, job: Job, start: float) -> tuple[Any, float]:
    """Return the answer, and the seconds to its first event or, without events, to its head."""
    if incoming.content_type != EVENT_STREAM:
        body = await incoming.read()
        try:
            return json.loads(body), incoming.head_s
        except (ValueError, RecursionError) as error:
            raise AnswerLost(f"an answer of {job.pipeline.name} that is no JSON") from error
    events: list[dict[str, Any]] = []
    first_s = 0.0
    try:
        async for event in read_events(incoming.pieces()):
            first_s = first_s or time.monotonic() - start
            events.append(event)
            job.on_event(event)
    except OrchestratorFailed as error:
        if events:
            raise StreamCut(str(error)) from error
        raise
    return events, first_s
