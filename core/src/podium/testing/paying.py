"""Paid requests to HTTP pipelines, as a Gateway makes them: AI jobs and BYOC jobs.

Nothing here is shared with the node but the wire's messages and the signature primitives. A
complete Gateway, with selection and retries, is in ``podium.testing.gateway``.
"""

from __future__ import annotations

import json
import math
import ssl
from base64 import b64decode, b64encode
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import httpx
from attrs import define, field, frozen

from podium.crypto import KeySigner, checksum_address, sign_message
from podium.testing.gateway.account import Nonces
from podium.testing.gateway.requests import (
    PAYMENT_HEADER,
    SEGMENT_HEADER,
    build_payment,
    build_segdata,
    orchestrator_request,
)
from podium.testing.gateway.tickets import TicketTerms
from podium.testing.gateway.transport import Rpc
from podium.wire.pb import lp_rpc_pb2 as net

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

BYOC = 37
CALL_TIMEOUT_S = 5.0
MAX_TICKETS = 100
_BYTES = ("recipient", "face_value", "win_prob", "recipient_rand_hash", "seed", "expiration_block")


class NoTerms(Exception):
    """The node has no price, or no ticket parameters, for what was asked."""


@frozen
class Prepared:
    """Where a request goes, and the headers that pay for it.

    Attributes:
        url: The node's address with the path.
        headers: Credentials and payment; good for one request.
        price: Wei for each unit, as it was quoted.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    price: net.PriceInfo


def unverified() -> ssl.SSLContext:
    """Return a context that takes any certificate, as everybody does in this network."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@define(eq=False)
class Payer:
    """A wallet that pays for single requests.

    Attributes:
        signer: The wallet.
    """

    signer: KeySigner
    _nonces: Nonces = field(factory=Nonces)
    _tls: ssl.SSLContext = field(factory=unverified)

    async def __call__(
        self, uri: str, target: str, body: bytes = b"", **more: Any
    ) -> httpx.Response:
        """Send one request and read the whole answer; see ``prepare`` for the arguments."""
        async with self.stream(uri, target, body, **more) as reply:
            await reply.aread()
        return reply

    @asynccontextmanager
    async def stream(
        self,
        uri: str,
        target: str,
        body: bytes = b"",
        *,
        content_type: str = "application/json",
        reply_timeout_s: float = 60.0,
        **more: Any,
    ) -> AsyncIterator[httpx.Response]:
        """Send one request; leaving the block early is a client that goes away."""
        prepared = await self.prepare(uri, target, **more)
        headers = {"Content-Type": content_type, **prepared.headers}
        async with (
            httpx.AsyncClient(verify=self._tls, timeout=reply_timeout_s) as client,
            client.stream("POST", prepared.url, headers=headers, content=body) as reply,
        ):
            yield reply

    async def prepare(
        self,
        uri: str,
        target: str,
        *,
        capability: int = BYOC,
        model: str = "",
        units: int = 60,
        route: str = "",
        parameters: Mapping[str, Any] | None = None,
        timeout_s: int = 60,
    ) -> Prepared:
        """Get the node's terms, and sign and pay a request.

        Args:
            uri: The node's, such as ``app.uri``.
            target: A BYOC capability's name; with another ``capability`` the pipeline's.
            capability: Network number; 37 is BYOC.
            model: Model identifier, for all but BYOC.
            units: How many units the tickets must cover.
            route: What follows ``/process/request/``, for BYOC.
            parameters: Of the job, for BYOC.
            timeout_s: How long the job may take, for BYOC.

        Raises:
            NoTerms: the node does not sell it.
        """
        if capability == BYOC:
            return await self._byoc(uri, target, route, dict(parameters or {}), timeout_s, units)
        return await self._ai(uri, target, capability, model, units)

    async def _ai(self, uri: str, target: str, capability: int, model: str, units: int) -> Prepared:
        wanted = net.Capabilities(bitstring=[1 << capability], capacities={capability: 1})
        wanted.constraints.PerCapability[capability].models[model].warm = False
        rpc = Rpc()
        try:
            question = orchestrator_request(self.signer, wanted)
            info = await rpc.get_orchestrator(uri, question, CALL_TIMEOUT_S)
        finally:
            await rpc.close()
        credentials = build_segdata(
            self.signer,
            token=info.auth_token,
            manifest_id=f"{capability}_{model}",
            seq=0,
            body=b"",
            duration_ms=0,
            profiles=[],
            capabilities=wanted,
        )
        terms = info.ticket_params if info.HasField("ticket_params") else None
        headers = {
            SEGMENT_HEADER: b64encode(credentials.SerializeToString()).decode(),
            PAYMENT_HEADER: self._payment(info.price_info, terms, units),
        }
        return Prepared(f"{uri}/{target.lstrip('/')}", headers, info.price_info)

    async def _byoc(
        self,
        uri: str,
        name: str,
        route: str,
        parameters: dict[str, Any],
        timeout_s: int,
        units: int,
    ) -> Prepared:
        address = checksum_address(self.signer.address)
        async with httpx.AsyncClient(verify=self._tls, timeout=CALL_TIMEOUT_S) as client:
            reply = await client.get(
                f"{uri}/process/token",
                headers={
                    "Livepeer-Eth-Address": _base64_json(
                        {"addr": address, "sig": self._signature(address)}
                    ),
                    "Livepeer-Capability": name,
                },
            )
        if reply.status_code != httpx.codes.OK:
            raise NoTerms(f"{name}: {reply.status_code} {reply.text.strip()}")
        token = reply.json()
        if not token.get("available_capacity"):
            raise NoTerms(f"nobody offers {name} now")
        quoted = token.get("price", {})
        price = net.PriceInfo(
            pricePerUnit=quoted.get("pricePerUnit", 0), pixelsPerUnit=quoted.get("pixelsPerUnit", 1)
        )
        job = {
            "request": "{}",
            "parameters": json.dumps(parameters),
            "capability": name,
            "sender": address,
            "timeout_seconds": timeout_s,
        }
        job["sig"] = self._signature(f"{job['request']}{job['parameters']}")
        headers = {"Livepeer": _base64_json(job)}
        if price.pricePerUnit:
            terms = _ticket_params(token["ticket_params"])
            headers[PAYMENT_HEADER] = self._payment(price, terms, max(units, timeout_s))
        return Prepared(f"{uri}/process/request/{route}", headers, price)

    def _payment(
        self, price: net.PriceInfo | None, params: net.TicketParams | None, units: int
    ) -> str:
        if params is None or price is None or not price.pricePerUnit:
            payment = build_payment(self.signer, price)
        else:
            terms = TicketTerms.read(params)
            cost = units * Fraction(price.pricePerUnit, price.pixelsPerUnit or 1)
            wanted = math.ceil(cost / (terms.expected_value or 1))
            count = min(MAX_TICKETS, max(1, wanted))
            nonces = self._nonces.take(terms.recipient_rand_hash, count)
            payment = build_payment(self.signer, price, terms, nonces)
        return b64encode(payment.SerializeToString()).decode()

    def _signature(self, text: str) -> str:
        return "0x" + sign_message(self.signer, text.encode()).hex()


def _base64_json(value: Mapping[str, Any]) -> str:
    return b64encode(json.dumps(value).encode()).decode()


def _ticket_params(token: Mapping[str, Any]) -> net.TicketParams:
    params = net.TicketParams()
    for name in _BYTES:
        setattr(params, name, b64decode(token.get(name, "")))
    inner = token.get("expiration_params", {})
    params.expiration_params.creation_round = inner.get("creation_round", 0)
    block_hash = b64decode(inner.get("creation_round_block_hash", ""))
    params.expiration_params.creation_round_block_hash = block_hash
    return params
