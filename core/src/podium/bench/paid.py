"""Ready-made requests of a Gateway: real signatures, real tickets, fresh nonces.

What a Gateway does before it sends is done here before anything is timed.
"""

from __future__ import annotations

import secrets
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Self

from attrs import define, field

from podium.bench.load import Connection, LoadError, Request
from podium.bench.server import METHOD
from podium.crypto import KeySigner, keccak256
from podium.testing.gateway.profiles import DEFAULT_LADDER, parse_ladder
from podium.testing.gateway.requests import (
    build_payment,
    build_segdata,
    build_segment_request,
    orchestrator_request,
)
from podium.testing.gateway.tickets import TicketTerms
from podium.wire.pb import lp_rpc_pb2 as net

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NONCES_PER_PARAMS = 600
SEGMENT_MS = 2000
GRPC_PREFIX_BYTES = 5
"""Not compressed, then the message's length."""

GATEWAY_KEY = b"\x67" * 32
"""A throwaway private key."""


def grpc_body(message: bytes) -> bytes:
    """Frame one message."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def discovery(signer: KeySigner) -> Request:
    """Return a signed GetOrchestrator call."""
    body = grpc_body(orchestrator_request(signer).SerializeToString())
    headers = (("content-type", "application/grpc"), ("te", "trailers"))
    return Request(METHOD, headers, body)


def discover(connection: Connection, signer: KeySigner) -> net.OrchestratorInfo:
    """Call GetOrchestrator.

    Raises:
        LoadError: there was no answer, or one without ticket parameters and price.
    """
    answer = connection.request(discovery(signer))
    if answer.trailers.get(b"grpc-status") != b"0":
        reason = answer.trailers.get(b"grpc-message", b"").decode()
        raise LoadError(f"GetOrchestrator failed: {reason}")
    info = net.OrchestratorInfo.FromString(answer.body[GRPC_PREFIX_BYTES:])
    if not (info.HasField("ticket_params") and info.HasField("price_info")):
        raise LoadError("GetOrchestrator gave no ticket parameters")
    return info


@define
class Sender:
    """One session of a Gateway: makes paid segments, all with the same body.

    It keeps its token, and asks for new ticket parameters when their nonces are used up.
    """

    connection: Connection
    body: bytes = field(repr=False)
    info: net.OrchestratorInfo = field(repr=False)
    signer: KeySigner
    profiles: Sequence[net.VideoProfile] = field(repr=False)
    _digest: bytes = field(repr=False)
    _nonces: Iterator[int] = field(factory=lambda: iter(range(1, NONCES_PER_PARAMS + 1)))
    _seqs: Iterator[int] = field(factory=count)
    _manifest_id: str = field(factory=lambda: secrets.token_hex(4))

    @classmethod
    def open(cls, connection: Connection, body: bytes) -> Self:
        """Get a token over a connection."""
        signer = KeySigner(GATEWAY_KEY)
        info = discover(connection, signer)
        return cls(connection, body, info, signer, parse_ladder(DEFAULT_LADDER), keccak256(body))

    def segments(self, number: int) -> list[Request]:
        """Return the next paid segments, with a ticket each."""
        return [self._segment() for _ in range(number)]

    def _segment(self) -> Request:
        nonce = next(self._nonces, None)
        if nonce is None:
            fresh = discover(self.connection, self.signer)
            self.info.ticket_params.CopyFrom(fresh.ticket_params)
            self._nonces = iter(range(1, NONCES_PER_PARAMS + 1))
            nonce = next(self._nonces)
        terms = TicketTerms.read(self.info.ticket_params)
        payment = build_payment(self.signer, self.info.price_info, terms, [nonce])
        segdata = build_segdata(
            self.signer,
            token=self.info.auth_token,
            manifest_id=self._manifest_id,
            seq=next(self._seqs),
            body=b"",
            duration_ms=SEGMENT_MS,
            profiles=self.profiles,
            before_signing=partial(_set_hash, self._digest),
        )
        made = build_segment_request(segdata, payment, self.body)
        headers = tuple((name.lower(), value) for name, value in made.headers.items())
        return Request("/segment", headers, self.body)


def _set_hash(digest: bytes, segdata: net.SegData) -> None:
    """Give the hash that is known already: hashing for each segment would take most of the time."""
    segdata.hash = digest


def check_result(body: bytes) -> None:
    """Check one segment's result.

    Raises:
        LoadError: it is no success.
    """
    result = net.TranscodeResult.FromString(body)
    if result.WhichOneof("result") != "data":
        raise LoadError(f"the segment failed: {result.error}")
