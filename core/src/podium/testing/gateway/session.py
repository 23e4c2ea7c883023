"""One orchestrator at work for this Gateway: its terms, its account, one attempt per segment.

Source: go-livepeer server/broadcast.go (``BroadcastSession``), server/segment_rpc.go
(``SubmitSegment``).
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING

from attrs import define, field, frozen
from google.protobuf.message import DecodeError

from podium.testing.gateway.errors import OrchestratorFailed, SegmentRefused
from podium.testing.gateway.requests import build_segdata, build_segment_request
from podium.testing.gateway.standing import Standing
from podium.testing.gateway.tickets import estimate_fee
from podium.testing.gateway.transport import AnswerLost, NotSent
from podium.wire.pb import lp_rpc_pb2 as net

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from podium.testing.gateway.account import Account, Stake
    from podium.testing.gateway.media import Segment
    from podium.testing.gateway.requests import SegmentRequest
    from podium.testing.gateway.transport import Http, Reply

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


@define(eq=False, kw_only=True)
class Session(Standing):
    """A session with one orchestrator, for the segments of one stream.

    Attributes:
        http: Carries the segments.
        score: Latency of the last segment over max(1.5 s, its duration); None before the first.
        in_flight: When each segment in flight was sent.
    """

    http: Http = field(repr=False)
    score: float | None = None
    in_flight: list[float] = field(factory=list)

    def oldest_s(self) -> float:
        """Seconds since the oldest segment in flight was sent; 0 when none is."""
        return time.monotonic() - min(self.in_flight) if self.in_flight else 0.0

    async def transcode(self, segment: Segment, job: Job) -> Transcoded:
        """Make one attempt at a segment: pay, send, read the result, settle.

        Raises:
            TermsRefused: the price rose or the parameters are not acceptable; nothing was sent.
            SegmentRefused: the segment is at fault.
            OrchestratorFailed: anything else.
        """
        account, info, price = self.account, self.info, self.price or Fraction(0)
        payment, stake = self.pay(estimate_fee(job.profiles, segment.duration_ms, price))
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
            self.adopt(result.info)
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
