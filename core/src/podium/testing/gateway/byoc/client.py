"""The Gateway client for BYOC: finds who has a capability, pays, sends, reads, settles.

Source: go-livepeer byoc/job_gateway.go, byoc/payment.go.
"""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import time
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Self

import httpx
from attrs import define, field, frozen

from podium.crypto import NoSigner
from podium.testing.gateway.ai.wire import AiHttp
from podium.testing.gateway.byoc.books import Account, Stake, tickets_for
from podium.testing.gateway.byoc.errors import ByocError, JobRefused
from podium.testing.gateway.byoc.wire import (
    job_header,
    payment_header,
    read_token,
    sender_header,
)
from podium.testing.gateway.errors import OrchestratorFailed, TermsRefused
from podium.testing.gateway.requests import SegmentRequest, build_payment
from podium.testing.gateway.tickets import Caps
from podium.testing.gateway.transport import AnswerLost, NotSent, http_client
from podium.wire.pb import lp_rpc_pb2 as net

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from podium.crypto import Signer
    from podium.testing.gateway.ai.wire import Incoming
    from podium.testing.gateway.byoc.wire import Token
    from podium.testing.gateway.discovery import Candidate

CAPABILITY = 37
TOKEN_TIMEOUT_S = 0.5
SEARCH_S = 1.0
HEAD_SLACK_S = 5.0
STREAM_SLACK_S = 10.0
TIMEOUT_S = 70
EVENTS = "text/event-stream"
DONE = "[DONE]"
MAX_LINE_BYTES = 2**21


@frozen
class ByocResult:
    """A request that was done.

    Attributes:
        status: HTTP status: 200.
        content_type: Of the answer.
        metadata: The container's ``X-Metadata``.
        body: The answer; of a stream all its lines.
        events: What a stream's ``data:`` lines said, the balance and the end left out.
        price: Wei a second.
        seconds_billed: As the orchestrator's balance tells.
        tickets: Sent with it.
        balance: Wei that the orchestrator reports; None where it reports none.
        orchestrator: Service URI of who did it.
        attempts: 1 when the first was good.
        first_s: To the answer's head, or a stream's first line.
        seconds: All of it, from the call.
    """

    status: int
    content_type: str
    metadata: str
    body: bytes = field(repr=False)
    events: tuple[str, ...]
    price: int
    seconds_billed: int
    tickets: int
    balance: Fraction | None
    orchestrator: str
    attempts: int
    first_s: float
    seconds: float

    @property
    def fee_wei(self) -> int:
        """What it cost."""
        return self.price * self.seconds_billed


@frozen(kw_only=True)
class Job:
    """A request, ready to be sent to any orchestrator."""

    capability: str
    route: str
    body: bytes = field(repr=False)
    content_type: str
    request: str
    parameters: str
    timeout_s: int
    on_event: Callable[[str], None]


def _ignore(_event: str) -> None:
    return


@define(eq=False)
class ByocGateway:
    """A sender of BYOC requests; any number at a time. Use it as an async context manager.

    Attributes:
        addresses: Orchestrators to ask; see ``discovery.parse_addresses``.
        signer: The wallet; ``NoSigner`` is a Gateway off chain.
        caps: What it is ready to pay; prices are per second.
        token_timeout_s: For each token, the connection included.
        search_s: For all of them.
    """

    addresses: Sequence[Candidate] = ()
    signer: Signer = field(factory=NoSigner)
    caps: Caps = field(factory=Caps)
    token_timeout_s: float = TOKEN_TIMEOUT_S
    search_s: float = SEARCH_S
    http: AiHttp = field(factory=AiHttp, repr=False)
    _asking: httpx.AsyncClient = field(factory=lambda: http_client(http2=True), repr=False)
    _accounts: dict[tuple[str, str], Account] = field(factory=dict)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection; twice is fine."""
        await self.http.close()
        await self._asking.aclose()

    @property
    def accounts(self) -> list[Account]:
        """What orchestrators hold of us."""
        return list(self._accounts.values())

    def account(self, uri: str, capability: str) -> Account:
        """Return what an orchestrator holds of us for a capability."""
        key = f"{CAPABILITY}_{capability}"
        return self._accounts.setdefault((uri, capability), Account(key))

    async def tokens(self, capability: str) -> list[Token]:
        """Ask everyone at once; return the offers with room, the fastest first."""
        found: list[Token] = []

        async def ask(uri: str) -> None:
            token = await self.token(uri, capability)
            if token.capacity > 0:
                found.append(token)

        tasks = [asyncio.create_task(ask(candidate.uri)) for candidate in self.addresses]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self.search_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return found

    async def token(self, uri: str, capability: str) -> Token:
        """Ask one orchestrator.

        Raises:
            OrchestratorFailed: it gave none in time.
        """
        headers = {
            "Livepeer-Eth-Address": sender_header(self.signer),
            "Livepeer-Capability": capability,
        }
        url = f"{uri}/process/token"
        try:
            async with asyncio.timeout(self.token_timeout_s):
                reply = await self._asking.get(url, headers=headers)
        except (httpx.HTTPError, TimeoutError) as error:
            raise OrchestratorFailed(f"{url}: {error or 'too slow'}") from error
        if reply.status_code != 200:
            raise OrchestratorFailed(f"{url} answered {reply.status_code}: {reply.text.strip()}")
        return read_token(reply.content)

    async def run(
        self,
        capability: str,
        body: bytes = b"{}",
        *,
        route: str = "",
        content_type: str = "application/json",
        request: str = "{}",
        parameters: str = "{}",
        timeout_s: int = TIMEOUT_S,
        on_event: Callable[[str], None] = _ignore,
    ) -> ByocResult:
        """Get one request done.

        Args:
            capability: Its name.
            body: What the container gets.
            route: Added to the container's address.
            content_type: Of the body.
            request: A JSON object as text; signed.
            parameters: A JSON object as text; signed.
            timeout_s: What the container may take; paid for beforehand.
            on_event: Called with what each ``data:`` line of a stream says.

        Raises:
            JobRefused: the request is at fault.
            BilledWrongly: it was billed otherwise than agreed.
            ByocError: nobody did it.
        """
        start = time.monotonic()
        job = Job(
            capability=capability,
            route=route.strip("/"),
            body=body,
            content_type=content_type,
            request=request,
            parameters=parameters,
            timeout_s=timeout_s,
            on_event=on_event,
        )
        tokens = await self.tokens(capability)
        last: Exception | None = None
        for attempts, token in enumerate(tokens, 1):
            try:
                return await self._attempt(job, token, attempts, start)
            except (OrchestratorFailed, TermsRefused) as error:
                last = error
        if last is None:
            raise ByocError(f"No orchestrators found for capability {capability}")
        raise ByocError(str(last), attempts=len(tokens)) from last

    async def _attempt(self, job: Job, token: Token, attempts: int, start: float) -> ByocResult:
        """Send a request to one orchestrator.

        Raises:
            OrchestratorFailed: another may do it.
            TermsRefused: its price is too high, or its tickets are.
            JobRefused: the request is at fault.
        """
        account = self.account(token.uri, job.capability)
        account.take_over(token)
        headers, stake = self._pay(job, token, account)
        url = f"{token.uri}/process/request/{job.route}"
        account.begin(stake)
        settled = False
        sent_s = time.monotonic()
        try:
            sending = self.http.post(
                url, SegmentRequest(headers, job.body), job.timeout_s + STREAM_SLACK_S
            )
            async with sending as incoming:
                answer = await _read(incoming, job)
            settled = True
        except NotSent:
            settled = True
            account.drop(stake)
            raise
        finally:
            account.end(settled=settled)
        billed = await self._settle(job, token, stake, answer, time.monotonic() - sent_s)
        if answer.status >= 500:
            raise OrchestratorFailed(f"{url} answered {answer.status}: {answer.text}")
        if answer.status >= 400:
            raise JobRefused(answer.text, status=answer.status, attempts=attempts)
        return ByocResult(
            status=answer.status,
            content_type=answer.content_type,
            metadata=answer.metadata,
            body=answer.body,
            events=tuple(answer.events),
            price=token.price,
            seconds_billed=billed,
            tickets=stake.count,
            balance=answer.balance,
            orchestrator=token.uri,
            attempts=attempts,
            first_s=answer.first_s,
            seconds=time.monotonic() - start,
        )

    async def _settle(
        self, job: Job, token: Token, stake: Stake, answer: _Answer, took_s: float
    ) -> int:
        """Note what a job cost; return the seconds, which are a guess while others run."""
        account = self.account(token.uri, job.capability)
        if not token.price:
            return 0
        if answer.balance is None:  # refused before it began; its tickets may have been taken
            if stake.count and not account.shared:
                fresh = await self.token(token.uri, job.capability)
                taken = fresh.balance - account.balance > stake.value / 2
                (account.confirm if taken else account.drop)(stake)
            return 0
        account.confirm(stake)
        if not account.shared:
            return account.settle(token.price, answer.balance, took_s)
        if not account.running:
            fresh = await self.token(token.uri, job.capability)
            account.settle(token.price, fresh.balance)
            account.shared = False
        return math.ceil(took_s)

    def _pay(self, job: Job, token: Token, account: Account) -> tuple[dict[str, str], Stake]:
        """Return a job's headers, and the tickets in them."""
        headers = {
            "Content-Type": job.content_type,
            "Livepeer": job_header(
                self.signer,
                capability=job.capability,
                job_id=secrets.token_hex(8),
                request=job.request,
                parameters=job.parameters,
                timeout_s=job.timeout_s,
            ),
        }
        if self.caps.max_price is not None and token.price > self.caps.max_price:
            raise TermsRefused(f"{token.uri} asks for {token.price} wei a second")
        count = tickets_for(token, job.timeout_s, account.balance)
        if not count or token.terms is None:
            return headers, Stake()
        self.caps.check(token.terms, count, expired=False)
        price = net.PriceInfo(pricePerUnit=token.price, pixelsPerUnit=1)
        payment = build_payment(self.signer, price, token.terms, range(1, count + 1))
        headers["Livepeer-Payment"] = payment_header(payment)
        return headers, Stake(token.terms.expected_value * count, count)


@define
class _Answer:
    """An answer as it is read."""

    status: int
    content_type: str
    metadata: str
    balance: Fraction | None
    body: bytes = b""
    events: list[str] = field(factory=list)
    first_s: float = 0.0

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace").strip()


async def _read(incoming: Incoming, job: Job) -> _Answer:
    headers = incoming.headers
    after = headers.get("livepeer-balance")
    answer = _Answer(
        incoming.status,
        incoming.content_type,
        headers.get("x-metadata", ""),
        None if after is None else Fraction(after),
        first_s=incoming.head_s,
    )
    if incoming.content_type != EVENTS:
        answer.body = await incoming.read()
        return answer
    lines = bytearray()
    async for line in _lines(incoming.pieces()):
        lines += line + b"\n"
        said = _said(line)
        if DONE in said:
            answer.body = bytes(lines)
            return answer
        balance = _balance(said)
        if balance is not None:
            answer.balance = balance
        elif said:
            answer.events.append(said)
            job.on_event(said)
    raise AnswerLost("the stream ended without [DONE]")


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = b""
    async for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line
        if len(rest) > MAX_LINE_BYTES:
            raise AnswerLost(f"a line of the stream is longer than {MAX_LINE_BYTES} bytes")
    if rest:
        yield rest


def _said(line: bytes) -> str:
    name, _, text = line.decode("utf-8", "replace").rstrip("\r").partition(":")
    return text.strip() if name == "data" else ""


def _balance(said: str) -> Fraction | None:
    """Return the balance that an orchestrator's own event tells."""
    if not said.startswith('{"balance":'):
        return None
    try:
        event: dict[str, Any] = json.loads(said, parse_float=Fraction, parse_int=Fraction)
    except ValueError:
        return None
    return event["balance"] if set(event) == {"balance"} else None
