"""Requests as a Gateway makes them, byte by byte; every part can be bent for a hostile test.

Source: wire-video 3.2, 5.1 to 5.3; payments 3.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from attrs import field, frozen

from podium.crypto import Signer, checksum_address, keccak256, sign_message
from podium.testing.gateway import profiles as ladder
from podium.testing.gateway.tickets import TicketTerms, word
from podium.wire.pb import lp_rpc_pb2 as net

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Edit = Callable[[net.SegData], None]

PAYMENT_HEADER = "Livepeer-Payment"
SEGMENT_HEADER = "Livepeer-Segment"
SEGMENT_TYPE = "video/MP2T"
URI_TYPE = "application/vnd+livepeer.uri"


@frozen
class SegmentRequest:
    """A ``POST /segment`` ready to send; also what the benchmarks send."""

    headers: Mapping[str, str]
    body: bytes = field(repr=lambda body: f"<{len(body)} bytes>")


def orchestrator_request(
    signer: Signer, capabilities: net.Capabilities | None = None
) -> net.OrchestratorRequest:
    """Ask for an ``OrchestratorInfo``: signed over the checksummed text of the address."""
    return net.OrchestratorRequest(
        address=signer.address,
        sig=sign_message(signer, checksum_address(signer.address).encode()),
        capabilities=capabilities,
    )


def build_payment(
    signer: Signer,
    price: net.PriceInfo | None,
    terms: TicketTerms | None = None,
    nonces: Iterable[int] = (),
) -> net.Payment:
    """Make a payment with one ticket per nonce; no nonces make one with sender and price only.

    Args:
        signer: The sender's wallet.
        price: The price last quoted; None leaves it out.
        terms: The parameters to pay with.
        nonces: Of each ticket; the wire takes any, an orchestrator each once.
    """
    payment = net.Payment(sender=signer.address, expected_price=price)
    numbers = list(nonces)
    if terms is None or not numbers:
        return payment
    payment.ticket_params.CopyFrom(terms.message)
    payment.ticket_params.ClearField("expiration_params")
    payment.expiration_params.CopyFrom(terms.message.expiration_params)
    for nonce in numbers:
        sig = signer.sign_digest(terms.ticket_hash(signer.address, nonce))
        payment.ticket_sender_params.add(sender_nonce=nonce, sig=sig)
    return payment


def segment_bytes_to_sign(segdata: net.SegData) -> bytes:
    """Return what a segment's signature covers (wire-video 5.3)."""
    return b"".join(
        (
            segdata.manifestId,
            word(abs(segdata.seq)),
            segdata.hash[-32:].rjust(32, b"\0"),
            *(keccak256(p.name.encode())[:4].hex().encode() for p in ladder.attached(segdata)),
        )
    )


def build_segdata(
    signer: Signer,
    *,
    token: net.AuthToken | None,
    manifest_id: str,
    seq: int,
    body: bytes,
    duration_ms: int,
    profiles: Sequence[net.VideoProfile],
    capabilities: net.Capabilities | None = None,
    before_signing: Edit | None = None,
    after_signing: Edit | None = None,
) -> net.SegData:
    """Make the credentials of one segment.

    ``before_signing`` and ``after_signing`` change the message in place: a lie that is signed,
    and a change that the signature does not know of.
    """
    segdata = net.SegData(
        manifestId=manifest_id.encode(),
        seq=seq,
        hash=keccak256(body),
        profiles=b"invalid",
        duration=duration_ms,
        capabilities=capabilities,
        auth_token=token,
    )
    ladder.attach(segdata, profiles)
    if before_signing is not None:
        before_signing(segdata)
    segdata.sig = sign_message(signer, segment_bytes_to_sign(segdata))
    if after_signing is not None:
        after_signing(segdata)
    return segdata


def build_segment_request(
    segdata: net.SegData,
    payment: net.Payment | None,
    body: bytes,
    *,
    headers: Mapping[str, str] | None = None,
) -> SegmentRequest:
    """Put credentials, payment and body together; ``headers`` replaces any of ours.

    ``payment`` None is what an off-chain Gateway sends: the header, and nothing in it.
    """
    ours = {
        PAYMENT_HEADER: "" if payment is None else _header(payment.SerializeToString()),
        SEGMENT_HEADER: _header(segdata.SerializeToString()),
        "Content-Type": SEGMENT_TYPE,
    }
    return SegmentRequest(ours | dict(headers or {}), body)


def _header(data: bytes) -> str:
    return b64encode(data).decode()
