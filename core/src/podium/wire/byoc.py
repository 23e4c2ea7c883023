"""What BYOC writes into headers and tokens: JSON, in base64 where it is a header (byoc 2.1)."""

from __future__ import annotations

import base64
import binascii
import json
import re
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from attrs import frozen

from podium.crypto import ZERO_ADDRESS
from podium.errors import WireError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from podium.wire.payment import TicketParams

MAX_HEADER_CHARS = 64 * 2**10
MAX_TIMEOUT_S = 2**31
INT64_MAX = 2**63 - 1
_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})*")
_SIGNATURE_CHARS = 130


@frozen
class JobRequest:
    """A job as its header describes it.

    Attributes:
        id: The sender's own name of it.
        request: JSON text; signed.
        parameters: JSON text; signed.
        capability: Name of what is to run it.
        sender: Address as written, not yet proved.
        sig: Over ``request`` and ``parameters``, as they are written, one after the other.
        timeout_s: Seconds; 0 when it was left out.
    """

    id: str
    request: str
    parameters: str
    capability: str
    sender: str
    sig: str
    timeout_s: int

    @property
    def signed_bytes(self) -> bytes:
        """What the signature covers: neither the name nor the time limit."""
        return (self.request + self.parameters).encode(errors="surrogatepass")


@frozen
class JobSender:
    """Who asks for a token, as its header says: echoed in the token."""

    address: str
    sig: str


@frozen
class Token:
    """What a token says (byoc 2.1).

    Attributes:
        sender: Who asked.
        params: Parameters of tickets, None where nothing is paid.
        balance: Wei the sender has for this capability.
        price: Whole wei a second.
        service_uri: Where jobs go.
        capacity: Jobs that could begin now.
    """

    sender: JobSender
    params: TicketParams | None
    balance: Fraction | int
    price: int
    service_uri: str
    capacity: int


def decode_job(header: str) -> JobRequest:
    """Read the header ``Livepeer``.

    Raises:
        WireError: it is not a job.
    """
    fields = _json_object(header)
    timeout_s = fields.get("timeout_seconds") or 0
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int):
        raise WireError("timeout_seconds is no whole number")
    return JobRequest(
        id=_text(fields, "id"),
        request=_text(fields, "request"),
        parameters=_text(fields, "parameters"),
        capability=_text(fields, "capability"),
        sender=_text(fields, "sender"),
        sig=_text(fields, "sig"),
        timeout_s=min(timeout_s, MAX_TIMEOUT_S),
    )


def encode_job(job: JobRequest) -> str:
    """Return the header's value."""
    fields = {
        "id": job.id,
        "request": job.request,
        "parameters": job.parameters,
        "capability": job.capability,
        "sender": job.sender,
        "sig": job.sig,
        "timeout_seconds": job.timeout_s,
    }
    return base64.b64encode(json.dumps(fields).encode()).decode()


def decode_sender(header: str) -> JobSender:
    """Read the header ``Livepeer-Eth-Address``.

    Raises:
        WireError: it is not an address and a signature.
    """
    fields = _json_object(header)
    return JobSender(_text(fields, "addr"), _text(fields, "sig"))


def encode_sender(sender: JobSender) -> str:
    """Return the header's value."""
    text = json.dumps({"addr": sender.address, "sig": sender.sig})
    return base64.b64encode(text.encode()).decode()


def address_bytes(text: str) -> bytes:
    """Return the 20 bytes of an address, zeros where the text is none."""
    return bytes.fromhex(text[2:]) if _ADDRESS.fullmatch(text) else ZERO_ADDRESS


def signature_bytes(text: str) -> bytes:
    """Return a signature's bytes; ``0x`` goes only where the text is longer without it.

    Raises:
        WireError: that is not hexadecimal.

    Source: go-livepeer byoc/job_orchestrator.go, verifyTokenCreds.
    """
    digits = text[2:] if len(text) > _SIGNATURE_CHARS else text
    if not _HEX.fullmatch(digits):
        raise WireError("the signature is not hexadecimal")
    return bytes.fromhex(digits)


def json_object(text: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        WireError: it is something else.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError("not JSON") from error
    if not isinstance(value, dict):
        raise WireError("no JSON object")
    return value


def encode_token(token: Token) -> str:
    """Return a token as JSON; members that are zero are left out, as the network's are."""
    price = {"pricePerUnit": token.price} if token.price else {}
    whole = max(-INT64_MAX, min(token.balance // 1, INT64_MAX))
    fields: dict[str, Any] = {
        "sender_address": {"addr": token.sender.address, "sig": token.sender.sig},
        "ticket_params": None if token.params is None else _params(token.params),
        "balance": int(whole) or None,
        "price": price | {"pixelsPerUnit": 1},
        "service_addr": token.service_uri,
        "available_capacity": max(token.capacity, 0) or None,
        "LastNonce": 0,
    }
    present = {name: value for name, value in fields.items() if value is not None}
    return json.dumps(present, separators=(",", ":")) + "\n"


def decimal(amount: Fraction | int, places: int = 0) -> str:
    """Write an exact amount with so many decimals, half a unit rounded away from zero."""
    units = (abs(Fraction(amount)) * 10**places * 2 + 1) // 2
    digits = str(units).rjust(places + 1, "0")
    sign = "-" if amount < 0 and units else ""
    return f"{sign}{digits[:-places]}.{digits[-places:]}" if places else f"{sign}{digits}"


def _params(params: TicketParams) -> dict[str, Any]:
    expiration = params.expiration_params
    members: dict[str, Any] = {
        "recipient": _base64(params.recipient),
        "face_value": _base64(_big_endian(params.face_value)),
        "win_prob": _base64(_big_endian(params.win_prob)),
        "recipient_rand_hash": _base64(params.recipient_rand_hash),
        "seed": _base64(_big_endian(params.seed)),
        "expiration_block": _base64(_big_endian(params.expiration_block)),
    }
    if expiration is not None:
        inner = {
            "creation_round": expiration.creation_round,
            "creation_round_block_hash": _base64(expiration.block_hash),
        }
        members["expiration_params"] = {name: value for name, value in inner.items() if value}
    return {name: value for name, value in members.items() if value}


def _big_endian(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _json_object(header: str) -> dict[str, Any]:
    if not header or len(header) > MAX_HEADER_CHARS:
        raise WireError("no header, or a very long one")
    try:
        text = base64.b64decode(header, validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise WireError("not base64 of text") from error
    return json_object(text)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise WireError(f"{name} is no text")
    return value
