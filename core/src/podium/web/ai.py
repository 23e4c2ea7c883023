"""POST /<pipeline>: AI jobs, and any other work with the network's AI credentials (ai 1.5, 2.1).

The face names no pipeline. Headers are checked before the body is read, so that a refusal costs
nothing; the slot is taken before the tickets, since a gateway that is refused for want of one
takes its tickets elsewhere.
"""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from attrs import frozen
from podium_hookspecs import (
    Busy,
    HttpPipeline,
    HttpRequest,
    Job,
    JobBodyRead,
    JobReceived,
    PluginError,
)

from podium.errors import PodiumError
from podium.jobs.spine import Billing, checked, estimated, required
from podium.jobs.till import Ware
from podium.model import BYOC
from podium.web.answer import Answer
from podium.web.asgi import header, read_body, send_text, while_connected
from podium.web.credentials import check_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from podium_hookspecs import Event, Pipeline, Requirements

    from podium.model import AuthToken
    from podium.stores.spool import SpooledBody
    from podium.web.asgi import Receive, Scope, Send
    from podium.web.bodies import Bodies
    from podium.web.orchestrator import OrchestratorService
    from podium.wire.payment import Payment

NO_CAPACITY = "insufficient capacity"


@frozen
class Accepted:
    """A request that was checked and read."""

    pipeline: HttpPipeline
    payment: Payment
    token: AuthToken
    job_id: str
    request: Any
    needs: Requirements
    body: SpooledBody

    @property
    def ware(self) -> Ware:
        """What it buys; its key is the balance that pays."""
        return Ware(self.pipeline.capability, self.needs.model, self.pipeline.unit)


@frozen
class AiFace:
    """Answers for every HTTP pipeline but BYOC's.

    Args:
        service: Identity, tokens, sessions, till and spine of the node.
        pipelines: Returns the node's pipelines by name.
        bodies: Where bodies go.
        on_event: Hears of jobs.
        monotonic: Returns monotonic seconds.
    """

    service: OrchestratorService
    pipelines: Callable[[], Mapping[str, Pipeline]]
    bodies: Bodies
    on_event: Callable[[Event], None]
    monotonic: Callable[[], float]

    def find(self, path: str) -> HttpPipeline | None:
        """Return the pipeline that a path names."""
        pipeline = self.pipelines().get(path.removeprefix("/"))
        if isinstance(pipeline, HttpPipeline) and pipeline.capability != BYOC:
            return pipeline
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request to a path that ``find`` knows."""
        pipeline = self.find(scope["path"])
        if pipeline is None or scope["method"] != "POST":
            await send_text(send, 405, "Method Not Allowed")
            return
        answer = Answer(send)
        async with AsyncExitStack() as stack:
            try:
                stack.enter_context(self.service.spine.hold(pipeline))
                accepted = await self._accept(pipeline, scope, receive, stack)
                await while_connected(receive, self._work(accepted, answer))
            except (PluginError, PodiumError) as error:
                await answer.refuse(error)

    async def _accept(
        self, pipeline: HttpPipeline, scope: Scope, receive: Receive, stack: AsyncExitStack
    ) -> Accepted:
        """Do all checks that cost nothing, then read the body and have the pipeline read it."""
        _, payment, token = await check_headers(self.service, scope)
        job_id = f"{token.session_id}-{secrets.token_hex(6)}"
        self.on_event(JobReceived(job_id, token.session_id, payment.sender, pipeline.name))
        started_s = self.monotonic()
        body = self.bodies.new(pipeline.max_body_bytes)
        stack.push_async_callback(body.close)
        await read_body(receive, body.write, self.bodies.stall_timeout_s)
        seconds = self.monotonic() - started_s
        self.on_event(JobBodyRead(job_id, token.session_id, body.size_bytes, seconds))
        content_type = header(scope, b"content-type")
        request = await checked(pipeline.parse(HttpRequest("", content_type, body)))
        needs = required(pipeline, request)
        return Accepted(pipeline, payment, token, job_id, request, needs, body)

    async def _work(self, accepted: Accepted, answer: Answer) -> None:
        """Take a slot, then the payment, then do the job."""
        spine, pipeline = self.service.spine, accepted.pipeline
        async with AsyncExitStack() as stack:
            try:
                reserve = spine.reserve(pipeline, accepted.needs)
                reserved = await stack.enter_async_context(reserve)
            except PluginError as error:
                raise Busy(str(error), public=NO_CAPACITY) from error
            billing = await self._pay(accepted, stack)
            await spine.run_reserved(
                self._job(accepted), pipeline, billing, answer.deliver, reserved
            )

    async def _pay(self, accepted: Accepted, stack: AsyncExitStack) -> Billing:
        """Take the tickets, and hold what the job may cost."""
        till, payment, ware = self.service.till, accepted.payment, accepted.ware
        units = estimated(accepted.pipeline, accepted.request)
        await till.receive(payment, ware.key, ware.key)
        hold = till.charge(payment, ware.key, ware.key, ware, units)
        stack.callback(hold.release)
        return Billing(payment.sender, ware.key, hold.wei_per_unit, hold.spent)

    def _job(self, accepted: Accepted) -> Job:
        pipeline = accepted.pipeline
        return Job(
            id=accepted.job_id,
            session_id=accepted.token.session_id,
            sender=accepted.payment.sender,
            pipeline=pipeline.name,
            capability=pipeline.capability,
            model=accepted.needs.model,
            timeout_s=pipeline.timeout_s(accepted.request),
            request=accepted.request,
            body=accepted.body,
        )
