"""GET /process/token and POST /process/request/...: work of a name of one's own (byoc 2).

The face names no pipeline: a name belongs to whichever pipeline of capability 37 offers it. What
is refused gets the network's answer in the network's order; only the body is read before a slot
is taken, so that a slow sender holds none.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from contextlib import AsyncExitStack, suppress
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from podium_hookspecs import (
    AdmitRequest,
    HttpPipeline,
    HttpRequest,
    Job,
    JobBodyRead,
    JobReceived,
    PaymentRefused,
    PluginError,
    Requirements,
)

from podium import crypto
from podium.errors import PaymentError, PodiumError, ReserveTooLow, SenderError, WireError
from podium.jobs.spine import Billing, checked, estimated, required
from podium.jobs.till import Ware
from podium.model import BYOC
from podium.web.asgi import header, read_body, send_text, while_connected
from podium.web.byoc_answer import JobAnswer
from podium.web.errors import ByocFull, ByocRefused
from podium.wire import byoc as codec
from podium.wire.payment import decode_payment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from podium_hookspecs import Event, Pipeline, Price

    from podium.stores.spool import SpooledBody
    from podium.web.asgi import Receive, Scope, Send
    from podium.web.bodies import Bodies
    from podium.web.orchestrator import OrchestratorService
    from podium.wire.byoc import JobRequest, JobSender
    from podium.wire.payment import TicketParams
    from podium.workers.pool import WorkerPool

PREFIX = "/process/"
TOKEN_PATH = "/process/token"
JOB_PATH = "/process/request"
SENDER = b"livepeer-eth-address"
CAPABILITY = b"livepeer-capability"
JOB = b"livepeer"
PAYMENT = b"livepeer-payment"

NOT_ALLOWED = "Method not allowed"
NO_SENDER = "Must have eth address and signature on address in Livepeer-Eth-Address header"
BAD_SENDER = "Invalid eth address header "
NO_CAPABILITY = (
    "Job capabilities not provided, must provide comma separated capabilities in"
    " Livepeer-Capability header"
)
BAD_JOB = "Could not verify job creds"
NO_TIMEOUT = "no timeout_seconds set with request, timeout_seconds is required"
NO_ROOM = "No capacity available for capability"
NO_PRICE = "Could not get job price"
NO_BALANCE = "Insufficient balance for request"
BAD_REQUEST = "Unable to unmarshal job request details err="
MAX_ID_CHARS = 64
REMEMBERED_JOBS = 100_000


@define(eq=False)
class Replays:
    """Signed jobs of the last seconds: one that was taken is not taken again.

    Off unless the operator knows the gateways: the network's own sign like requests alike.

    Args:
        window_s: How long a job is remembered.
        monotonic: Returns monotonic seconds.
    """

    window_s: float
    monotonic: Callable[[], float]
    _seen: OrderedDict[tuple[bytes, bytes], float] = field(factory=OrderedDict, init=False)

    def take(self, sender: bytes, digest: bytes) -> bool:
        """Remember a job; False if it was there already."""
        now = self.monotonic()
        while self._seen and (
            len(self._seen) > REMEMBERED_JOBS or next(iter(self._seen.values())) < now
        ):
            self._seen.popitem(last=False)
        if (sender, digest) in self._seen:
            return False
        self._seen[sender, digest] = now + self.window_s
        return True


@frozen
class Accepted:
    """A job that was checked and read.

    Attributes:
        sender: 20 bytes; zeros off chain.
        needs: Of a worker.
        price: What an admission set, if it did.
    """

    job: JobRequest
    sender: bytes
    pipeline: HttpPipeline
    job_id: str
    request: Any
    needs: Requirements
    body: SpooledBody
    price: Price | None

    @property
    def ware(self) -> Ware:
        """What it buys; its key is the balance that pays."""
        return _ware(self.pipeline, self.job.capability)

    @property
    def timeout_s(self) -> float:
        """Seconds the job may take."""
        return min(self.job.timeout_s, self.pipeline.timeout_s(self.request))


def _ware(pipeline: Pipeline, name: str) -> Ware:
    return Ware(BYOC, name, pipeline.unit, whole_wei=True)


@frozen(kw_only=True)
class ByocFace:
    """Answers for every pipeline of capability 37.

    Args:
        service: Identity, till and spine of the node.
        pipelines: Returns the node's pipelines by name.
        pool: The workers, for how many jobs could begin now.
        bodies: Where bodies go.
        on_event: Hears of jobs.
        monotonic: Returns monotonic seconds.
        replays: Jobs that were taken, if they are remembered.
    """

    service: OrchestratorService
    pipelines: Callable[[], Mapping[str, Pipeline]]
    pool: WorkerPool
    bodies: Bodies
    on_event: Callable[[Event], None]
    monotonic: Callable[[], float]
    replays: Replays | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request to a path below ``/process/``."""
        path = scope["path"]
        if path == TOKEN_PATH:
            await self._token(scope, send)
        elif path == JOB_PATH:
            await _redirect(send, f"{JOB_PATH}/")
        elif path.startswith(f"{JOB_PATH}/") and not {".", ".."} & set(path.split("/")):
            await self._job(scope, receive, send, path.removeprefix(f"{JOB_PATH}/"))
        else:
            await send_text(send, 404, "404 page not found")

    def find(self, name: str) -> tuple[HttpPipeline, int] | None:
        """Return the pipeline that offers a name, and how many jobs could begin now."""
        found = None
        workers = self.pool.up
        for pipeline in self.pipelines().values():
            if not isinstance(pipeline, HttpPipeline) or pipeline.capability != BYOC:
                continue
            offered = sum(o.capacity for o in pipeline.offers(workers) if o.name == name)
            if offered:
                free = self.pool.free(pipeline.name, Requirements({BYOC}, name))
                if found is None or free > found[1]:
                    found = pipeline, free
        return found

    # ------------------------------------------------------------ tokens

    async def _token(self, scope: Scope, send: Send) -> None:
        if scope["method"] != "GET":
            await send_text(send, 405, NOT_ALLOWED)
            return
        try:
            body = (await self._make_token(scope)).encode()
        except PodiumError as error:
            await JobAnswer(send).refuse(error)
            return
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _make_token(self, scope: Scope) -> str:
        text = header(scope, SENDER)
        if not text:
            raise ByocRefused(NO_SENDER)
        asking, sender = self._proved_sender(text)
        name = header(scope, CAPABILITY)
        if not name:
            raise ByocRefused(NO_CAPABILITY)
        found = self.find(name)
        admitted = await self.service.spine.admit(
            AdmitRequest(sender, "discover", capabilities=frozenset({BYOC}), model=name)
        )
        price, params, balance = 0, None, Fraction(0)
        if self.service.till.verifies:
            ware = None if found is None else _ware(found[0], name)
            price, params = await self._terms(sender, ware, admitted.price)
            balance = self._balance(sender, Ware(BYOC, name).key)
        capacity = 0 if found is None or self.service.draining else found[1]
        uri = self.service.service_uri
        return codec.encode_token(codec.Token(asking, params, balance, price, uri, capacity))

    def _proved_sender(self, text: str) -> tuple[JobSender, bytes]:
        """Return who asks; off chain the signature only has to be one in form."""
        try:
            asking = codec.decode_sender(text)
            signature = codec.signature_bytes(asking.sig)
        except WireError as error:
            raise ByocRefused(BAD_SENDER) from error
        sender = codec.address_bytes(asking.address)
        if self.service.till.verifies and not self.service.signed_by(sender, signature):
            raise ByocRefused(BAD_SENDER)
        return asking, sender

    async def _terms(
        self, sender: bytes, ware: Ware | None, admitted: Price | None
    ) -> tuple[int, TicketParams | None]:
        """Return price and ticket parameters; what nobody offers costs nothing."""
        till, price = self.service.till, 0
        if ware is not None:
            try:
                info = await till.price(sender, ware.key, admitted, ware)
            except ReserveTooLow as error:
                raise ByocFull(f"Could not get price err={error}") from error
            except SenderError as error:
                raise ByocRefused(f"Could not get price err={error}") from error
            price = info.price_per_unit
        try:
            return price, await till.payments.offer(sender, Fraction(price))
        except SenderError as error:
            raise ByocRefused(f"Could not get ticket params err={error}") from error

    def _balance(self, sender: bytes, key: str) -> Fraction:
        return self.service.till.payments.balance(sender, key) or Fraction(0)

    # ------------------------------------------------------------ jobs

    async def _job(self, scope: Scope, receive: Receive, send: Send, route: str) -> None:
        if scope["method"] != "POST":
            await send_text(send, 405, NOT_ALLOWED)
            return
        answer = JobAnswer(send)
        async with AsyncExitStack() as stack:
            try:
                accepted = await self._accept(scope, receive, route, stack)
                payment = header(scope, PAYMENT)
                await while_connected(receive, self._work(accepted, payment, answer))
            except (PluginError, PodiumError) as error:
                await answer.refuse(error)

    async def _accept(
        self, scope: Scope, receive: Receive, route: str, stack: AsyncExitStack
    ) -> Accepted:
        """Do all checks that cost nothing, then read the body and have the pipeline read it."""
        job, sender = self._proved_job(header(scope, JOB))
        name = job.capability
        found = None if self.service.draining else self.find(name)
        if found is None:
            raise ByocFull(NO_ROOM)
        pipeline = found[0]
        job_id = secrets.token_hex(8)
        admitted = await self.service.spine.admit(
            AdmitRequest(sender, "job", job_id, frozenset({BYOC}), name)
        )
        self.on_event(JobReceived(job_id, job_id, sender, pipeline.name))
        body = await self._read(receive, job_id, pipeline, stack)
        request = await checked(
            pipeline.parse(
                HttpRequest(
                    path=route,
                    content_type=header(scope, b"content-type"),
                    body=body,
                    name=name,
                    timeout_s=float(job.timeout_s),
                    parameters=_parameters(job.parameters),
                )
            )
        )
        needs = required(pipeline, request)
        return Accepted(job, sender, pipeline, job_id, request, needs, body, admitted.price)

    def _proved_job(self, text: str) -> tuple[JobRequest, bytes]:
        """Return the job of a header, and whose it is."""
        try:
            job = codec.decode_job(text)
            signature = codec.signature_bytes(job.sig)
        except WireError as error:
            raise ByocRefused(BAD_JOB) from error
        sender = codec.address_bytes(job.sender)
        digest = crypto.keccak256(job.signed_bytes)
        if self.service.till.verifies and crypto.recover(digest, signature) != sender:
            raise ByocRefused(BAD_JOB)
        if job.timeout_s <= 0:
            raise ByocRefused(NO_TIMEOUT)
        return job, sender

    async def _read(
        self, receive: Receive, job_id: str, pipeline: HttpPipeline, stack: AsyncExitStack
    ) -> SpooledBody:
        started_s = self.monotonic()
        body = self.bodies.new(pipeline.max_body_bytes)
        stack.push_async_callback(body.close)
        await read_body(receive, body.write, self.bodies.stall_timeout_s)
        seconds = self.monotonic() - started_s
        self.on_event(JobBodyRead(job_id, job_id, body.size_bytes, seconds))
        return body

    async def _work(self, accepted: Accepted, payment: str, answer: JobAnswer) -> None:
        """Take a slot, then the payment, then do the job."""
        spine, pipeline = self.service.spine, accepted.pipeline
        async with AsyncExitStack() as stack:
            try:
                reserve = spine.reserve(pipeline, accepted.needs)
                reserved = await stack.enter_async_context(reserve)
            except PluginError as error:
                raise ByocFull(NO_ROOM) from error
            self._take_once(accepted)
            billing = await self._pay(accepted, payment)
            try:
                codec.json_object(accepted.job.request)
            except WireError as error:
                raise ByocRefused(f"{BAD_REQUEST}{error}") from error
            answer.timeout_s = accepted.timeout_s
            answer.balance = lambda: self._balance(billing.sender, billing.key)
            labels = {"sender_job": _label(accepted.job)}
            await spine.run_reserved(
                _as_job(accepted), pipeline, billing, answer.deliver, reserved, labels
            )

    def _take_once(self, accepted: Accepted) -> None:
        """Refuse a job that was taken before, where that is remembered."""
        if self.replays is None:
            return
        digest = crypto.keccak256(accepted.job.signed_bytes)
        if not self.replays.take(accepted.sender, digest):
            raise ByocRefused(BAD_JOB)

    async def _pay(self, accepted: Accepted, payment: str) -> Billing:
        """Take the tickets, if the work has a price, and see that its beginning is covered."""
        till, sender, ware = self.service.till, accepted.sender, accepted.ware
        if not till.payments.charges:
            return Billing(sender, ware.key, Fraction(0))
        rate = till.payments.fixed_price(sender, ware.key)
        if rate is None:
            try:
                info = await till.price(sender, ware.key, accepted.price, ware)
            except SenderError as error:
                raise ByocRefused(NO_PRICE) from error
            rate = info.wei_per_unit
        if rate:
            if payment:
                await self._take(sender, ware, payment)
                # The first tickets fix the price that they were made for.
                rate = till.payments.fixed_price(sender, ware.key) or rate
            self._cover(accepted, rate)
        return Billing(sender, ware.key, rate, left=lambda: till.payments.balance(sender, ware.key))

    def _cover(self, accepted: Accepted, rate: Fraction) -> None:
        """See that the balance covers what the pipeline asks for."""
        sender, key = accepted.sender, accepted.ware.key
        try:
            units = estimated(accepted.pipeline, accepted.request)
            self.service.till.cover(sender, key, rate, units)
        except PaymentError as error:
            self.on_event(PaymentRefused(sender, key, str(error), ticket=False))
            raise ByocRefused(NO_BALANCE) from error

    async def _take(self, sender: bytes, ware: Ware, text: str) -> None:
        """Credit a payment's tickets; a payment that is no good leaves the balance as it is."""
        key = ware.key
        try:
            payment = decode_payment(text)
        except WireError as error:
            self.on_event(PaymentRefused(sender, key, str(error), ticket=False))
            return
        if payment.sender != sender:
            return  # nobody pays for others: whose would the balance be?
        with suppress(PaymentError):  # of which payments tell
            await self.service.till.receive(payment, key, key, ware)


def _as_job(accepted: Accepted) -> Job:
    return Job(
        id=accepted.job_id,
        session_id=accepted.job_id,
        sender=accepted.sender,
        pipeline=accepted.pipeline.name,
        capability=BYOC,
        model=accepted.needs.model,
        timeout_s=accepted.timeout_s,
        request=accepted.request,
        body=accepted.body,
    )


def _label(job: JobRequest) -> str:
    """Return the sender's name of a job as logs may show it."""
    return "".join(c for c in job.id[:MAX_ID_CHARS] if c.isprintable())


def _parameters(text: str) -> Mapping[str, Any]:
    try:
        return codec.json_object(text)
    except WireError:
        return {}


async def _redirect(send: Send, path: str) -> None:
    headers = [(b"location", path.encode()), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 307, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
