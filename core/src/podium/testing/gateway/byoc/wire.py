"""BYOC's headers and tokens as a Gateway writes and reads them (byoc 2.1).

It shares no code with the node's own reading of them.
"""

from __future__ import annotations

import base64
import json
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from podium.crypto import checksum_address, sign_message
from podium.testing.gateway.errors import OrchestratorFailed
from podium.testing.gateway.tickets import TicketTerms
from podium.wire.pb import lp_rpc_pb2 as net

if TYPE_CHECKING:
    from collections.abc import Mapping

    from podium.crypto import Signer

NOBODY = bytes(20)


@frozen
class Token:
    """What an orchestrator offers for one capability.

    Attributes:
        uri: Where jobs go.
        price: Wei a second; 0 is free.
        terms: Of tickets; None where nothing is paid.
        balance: Wei it holds of us, floored.
        capacity: Jobs that could begin now.
    """

    uri: str
    price: int
    terms: TicketTerms | None = field(repr=False)
    balance: int
    capacity: int


def sender_header(signer: Signer) -> str:
    """Return who asks, with the signature over the address; off chain nobody."""
    address = checksum_address(signer.address)
    return _encoded({"addr": address, "sig": _signature(signer, address)})


def job_header(
    signer: Signer, *, capability: str, job_id: str, request: str, parameters: str, timeout_s: int
) -> str:
    """Return a job's description, signed anew."""
    return _encoded(
        {
            "id": job_id,
            "request": request,
            "parameters": parameters,
            "capability": capability,
            "sender": checksum_address(signer.address),
            "sig": _signature(signer, request + parameters),
            "timeout_seconds": timeout_s,
        }
    )


def payment_header(payment: net.Payment) -> str:
    """Return a payment's header."""
    return base64.b64encode(payment.SerializeToString()).decode()


def read_token(text: bytes) -> Token:
    """Read a token.

    Raises:
        OrchestratorFailed: it is none.
    """
    try:
        fields = json.loads(text)
        price = fields["price"]
        params = fields.get("ticket_params")
        return Token(
            uri=str(fields["service_addr"]).rstrip("/"),
            price=int(Fraction(price.get("pricePerUnit", 0), price.get("pixelsPerUnit", 0) or 1)),
            terms=None if params is None else TicketTerms.read(_ticket_params(params)),
            balance=int(fields.get("balance", 0)),
            capacity=int(fields.get("available_capacity", 0)),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OrchestratorFailed(f"a token that cannot be read: {error!r}") from error


def _ticket_params(params: Mapping[str, Any]) -> net.TicketParams:
    expiration = params.get("expiration_params", {})
    return net.TicketParams(
        recipient=_bytes(params, "recipient"),
        face_value=_bytes(params, "face_value"),
        win_prob=_bytes(params, "win_prob"),
        recipient_rand_hash=_bytes(params, "recipient_rand_hash"),
        seed=_bytes(params, "seed"),
        expiration_block=_bytes(params, "expiration_block"),
        expiration_params=net.TicketExpirationParams(
            creation_round=expiration.get("creation_round", 0),
            creation_round_block_hash=_bytes(expiration, "creation_round_block_hash"),
        ),
    )


def _bytes(fields: Mapping[str, Any], name: str) -> bytes:
    return base64.b64decode(fields.get(name, ""))


def _signature(signer: Signer, text: str) -> str:
    """Sign; off chain there is no key, and an empty signature passes for one."""
    if signer.address == NOBODY:
        return ""
    return "0x" + sign_message(signer, text.encode()).hex()


def _encoded(fields: Mapping[str, Any]) -> str:
    return base64.b64encode(json.dumps(fields).encode()).decode()
