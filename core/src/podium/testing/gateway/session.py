"""One orchestrator at work for this Gateway: its terms, its account, one attempt per segment.

Source: go-livepeer server/broadcast.go (``BroadcastSession``), server/segment_rpc.go
(``SubmitSegment``).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING

from attrs import define, field, frozen
from google.protobuf.message import DecodeError

from podium.testing.gateway.account import Account, Nonces, Stake
from podium.testing.gateway.errors import OrchestratorFailed, SegmentRefused, TermsRefused
from podium.testing.gateway.requests import (
    build_payment,
    build_segdata,
    build_segment_request,
    orchestrator_request,
)
from podium.testing.gateway.tickets import TicketTerms, estimate_fee
from podium.testing.gateway.transport import AnswerLost, NotSent
from podium.wire.pb import lp_rpc_pb2 as net

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from podium.crypto import Signer
    from podium.testing.gateway.media import Segment
    from podium.testing.gateway.requests import SegmentRequest
    from podium.testing.gateway.tickets import Caps, Clock
    from podium.testing.gateway.transport import Http, Reply, Rpc

TOKEN_LIFE_S = 1800
TOKEN_LAST_PART_S = TOKEN_LIFE_S // 10
REFRESH_TIMEOUT_S = 2.5

NOT_RETRYABLE = frozenset(
    (
        "Unsupported input pixel format",
        "Error initializing filtergraph",
        "Too many outputs",
        "Unsupported input codec",
        "No keyframes in input",
        "Unrecoverable state, restart process",
        "Encoded frames runaway",
        "Decoder not found",
        "Demuxer not found",
        "Encoder not found",
        "Muxer not found",
        "Option not found",
        "Invalid argument",
        "TranscoderInvalidResolution",
        "TranscoderInvalidVideo",
        "TranscoderUnrecognizedFormat",
        "TranscoderUnrecognizedProfile",
        "TranscoderInvalidGOP",
        "TranscoderIncompatibleDevices",
    )
)
"""In-body errors that are the segment's own fault; matched whole (wire-video 6.5)."""


@frozen
class Job:
    """What every segment of a stream has in common."""

    manifest_id: str
    profiles: Sequence[net.VideoProfile]
    capabilities: net.Capabilities


@frozen
class Transcoded:
    """A result as it came: verified by nobody yet. ``info`` is of the time of the result."""

    data: net.TranscodeData
    info: net.OrchestratorInfo
    reply: Reply
    session_id: str
    tickets: int
    debit: Fraction


@define(eq=False)
class Session:
    """A session with one orchestrator.

    Attributes:
        uri: Where it was found: the address that gRPC goes to.
        info: What it said last; its address for segments, price, ticket parameters and token.
        score: Latency of the last segment over max(1.5 s, its duration); None before the first.
        accounts: One per session id that it gave us; the last is in use.
    """

    uri: str
    info: net.OrchestratorInfo
    signer: Signer
    caps: Caps
    clock: Clock
    rpc: Rpc = field(repr=False)
    http: Http = field(repr=False)
    score: float | None = None
    accounts: list[Account] = field(factory=list)
    in_flight: list[float] = field(factory=list)
    _nonces: Nonces = field(factory=Nonces)
    _first_price: Fraction | None = None
    _received: float = field(factory=time.monotonic)
    _refreshing: asyncio.Lock = field(factory=asyncio.Lock)

    def __attrs_post_init__(self) -> None:
        self._adopt(self.info)
        self._first_price = self.price

    @property
    def account(self) -> Account:
        """The account of the session id in use."""
        return self.accounts[-1]

    @property
    def price(self) -> Fraction | None:
        """Wei per pixel; None from an orchestrator off chain."""
        price = self.info.price_info
        if not self.info.HasField("price_info") or price.pixelsPerUnit == 0:
            return None
        return Fraction(price.pricePerUnit, price.pixelsPerUnit)

    def oldest_s(self) -> float:
        """Seconds since the oldest segment in flight was sent; 0 when none is."""
        return time.monotonic() - min(self.in_flight) if self.in_flight else 0.0

    async def refresh_if_due(self, job: Job) -> None:
        """Ask for new terms when the token is in its last tenth or the parameters are expired.

        Raises:
            OrchestratorFailed: it gave none; the session is lost.
        """
        async with self._refreshing:
            if not self._due():
                return
            request = orchestrator_request(self.signer, job.capabilities)
            info = await self.rpc.get_orchestrator(self.uri, request, REFRESH_TIMEOUT_S)
            if not info.HasField("auth_token"):
                raise OrchestratorFailed(f"{self.uri} gave no auth token")
            self._adopt(info)

    def _due(self) -> bool:
        if self.info.auth_token.expiration - time.time() < TOKEN_LAST_PART_S:
            return True
        if not self.info.HasField("ticket_params"):
            return False
        return self._expired(TicketTerms.read(self.info.ticket_params))

    def _expired(self, terms: TicketTerms) -> bool:
        return self.clock.expired(terms.expiration_block, time.monotonic() - self._received)

    def _adopt(self, info: net.OrchestratorInfo) -> None:
        self.info = info
        self._received = time.monotonic()
        session_id = info.auth_token.session_id
        if not self.accounts or self.account.session_id != session_id:
            self.accounts.append(Account(session_id))

    async def transcode(self, segment: Segment, job: Job) -> Transcoded:
        """Make one attempt at a segment: pay, send, read the result, settle.

        Raises:
            TermsRefused: the price rose or the parameters are not acceptable; nothing was sent.
            SegmentRefused: the segment is at fault.
            OrchestratorFailed: anything else.
        """
        account, info, price = self.account, self.info, self.price or Fraction(0)
        payment, stake = self._pay(segment, job)
        request = self._request(segment, job, payment)
        with self._flying():
            try:
                reply = await self.http.segment(info.transcoder, request, segment.duration_s)
            except NotSent:
                account.restore(stake)
                raise
            except AnswerLost:
                account.accept(stake)
                raise
            except BaseException:  # a cancelled request was sent, too
                account.lose(stake)
                raise
        self.score = reply.total_s / max(1.5, segment.duration_s)
        return self._read(reply, account, stake, price)

    @contextmanager
    def _flying(self) -> Iterator[None]:
        start = time.monotonic()
        self.in_flight.append(start)
        try:
            yield
        finally:
            self.in_flight.remove(start)

    def _pay(self, segment: Segment, job: Job) -> tuple[net.Payment | None, Stake]:
        """Make the payment of a segment and put its credit at stake."""
        price = self.price
        free = Stake(Fraction(0), Fraction(0), ())
        if price is None or not self.info.HasField("ticket_params"):
            return (build_payment(self.signer, None) if any(self.signer.address) else None), free
        if self._first_price is not None and price > self.caps.price_rise * self._first_price:
            raise TermsRefused(
                f"{self.uri} raised its price from {float(self._first_price):g} "
                f"to {float(price):g} wei per pixel"
            )
        terms = TicketTerms.read(self.info.ticket_params)
        value = terms.expected_value
        fee = estimate_fee(job.profiles, segment.duration_ms, price)
        count = self.account.count(fee, value) if price else 0
        if price:
            self.caps.check(terms, max(1, count), expired=self._expired(terms))
        nonces = self._nonces.take(terms.recipient_rand_hash, count)
        payment = build_payment(self.signer, self.info.price_info, terms, nonces)
        return payment, self.account.stage(value, nonces)

    def _request(self, segment: Segment, job: Job, payment: net.Payment | None) -> SegmentRequest:
        segdata = build_segdata(
            self.signer,
            token=self.info.auth_token,
            manifest_id=job.manifest_id,
            seq=segment.seq,
            body=segment.data,
            duration_ms=segment.duration_ms,
            profiles=job.profiles,
            capabilities=job.capabilities,
        )
        return build_segment_request(segdata, payment, segment.data)

    def _read(self, reply: Reply, account: Account, stake: Stake, price: Fraction) -> Transcoded:
        if reply.status != 200:
            account.lose(stake)
            text = reply.body.decode("utf-8", "replace").strip()
            raise OrchestratorFailed(f"{self.uri} answered {reply.status}: {text}")
        account.accept(stake)
        try:
            result = net.TranscodeResult.FromString(reply.body)
        except DecodeError as error:
            raise OrchestratorFailed(f"{self.uri} sent a result that cannot be read") from error
        if result.HasField("info"):
            self._adopt(result.info)
        if result.WhichOneof("result") == "error":
            refused = result.error in NOT_RETRYABLE
            raise (SegmentRefused if refused else OrchestratorFailed)(result.error)
        if result.WhichOneof("result") is None:
            raise OrchestratorFailed("UnknownResponse")
        debit = price * sum(piece.pixels for piece in result.data.segments)
        account.settle(stake, debit)
        return Transcoded(
            data=result.data,
            info=self.info,
            reply=reply,
            session_id=account.session_id,
            tickets=len(stake.nonces),
            debit=debit,
        )

    async def end(self) -> None:
        """Tell the orchestrator that the session is over; it may be gone already."""
        try:
            await self.rpc.end_session(self.uri, self.info.auth_token)
        except OrchestratorFailed:
            return  # it forgets the session by itself when it has been idle
