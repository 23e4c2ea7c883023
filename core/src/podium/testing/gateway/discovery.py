"""Where orchestrators come from, and who of them will do (wire-video 10.1, 10.2).

Source: go-livepeer discovery/discovery.go, discovery/wh_discovery.go.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
from attrs import frozen

from podium.testing.gateway.capabilities import compatible
from podium.testing.gateway.errors import CallRefused, GatewayError, InputError, NoOrchestrator
from podium.testing.gateway.requests import orchestrator_request
from podium.testing.gateway.tickets import TicketTerms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from podium.crypto import Signer
    from podium.testing.gateway.tickets import Caps, Clock
    from podium.testing.gateway.transport import Rpc
    from podium.wire.pb import lp_rpc_pb2 as net

DEFAULT_PORT = 8935
TRUSTED = 1.0
WEBHOOK_TIMEOUT_S = 3.0
FIRST_LOOK_S = 0.5
CUT_OFF_S = 6.0
NO_KEY = (
    "it was asked without a key: where an orchestrator wants a signature, "
    "give --key-file or PODIUM_GATEWAY_KEY"
)


@frozen
class Candidate:
    """An orchestrator to ask; a score of 1 or more is trusted, 0 is not, between is neither."""

    uri: str
    score: float = TRUSTED


@frozen
class Offer:
    """An orchestrator's answer that will do; ``latency_s`` from question to answer."""

    candidate: Candidate
    info: net.OrchestratorInfo
    latency_s: float


def parse_addresses(text: str) -> tuple[Candidate, ...]:
    """Read an address list: commas between, default host 127.0.0.1, port 8935, scheme https.

    Raises:
        InputError: an entry is no address.
    """
    return tuple(Candidate(_uri(entry.strip())) for entry in text.split(",") if entry.strip())


def _uri(entry: str) -> str:
    scheme, found, rest = entry.rpartition("://")
    parts = urlsplit(f"{scheme if found else 'https'}://{rest}")
    try:
        port = parts.port or DEFAULT_PORT
    except ValueError as error:
        raise InputError(f"{entry!r} is not an orchestrator's address: {error}") from error
    if parts.scheme not in ("http", "https"):
        raise InputError(f"{entry!r} must start with https:// or http://")
    host = parts.hostname or "127.0.0.1"
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


async def fetch_webhook(url: str) -> tuple[Candidate, ...]:
    """Read an address list from a webhook: ``[{"address": ..., "score": ...}]``.

    Raises:
        NoOrchestrator: it did not answer with such a list within 3 s.
    """
    try:
        async with httpx.AsyncClient(timeout=WEBHOOK_TIMEOUT_S, trust_env=False) as client:
            reply = await client.get(url)
        reply.raise_for_status()
        return parse_webhook(reply.json())
    except (httpx.HTTPError, ValueError, TypeError) as error:
        raise NoOrchestrator(f"the webhook {url} gave no list: {error}") from error


def parse_webhook(entries: Any) -> tuple[Candidate, ...]:
    """Keep the entries that have an absolute address; a missing score is 0."""
    if not isinstance(entries, list):
        raise ValueError("not a JSON array")
    found = []
    for entry in entries:
        address = entry.get("address") if isinstance(entry, dict) else None
        if not isinstance(address, str):
            continue
        parts = urlsplit(address)
        if parts.scheme in ("http", "https") and parts.hostname:
            found.append(Candidate(address.rstrip("/"), float(entry.get("score") or 0)))
    return tuple(found)


def by_trust(candidates: Sequence[Candidate]) -> tuple[list[Candidate], list[Candidate]]:
    """Split into the untrusted, which are asked first, and the trusted."""
    untrusted = [c for c in candidates if c.score == 0]
    return untrusted, [c for c in candidates if c.score >= TRUSTED]


@frozen
class Discovery:
    """Asks every candidate at once, and keeps the answers that this Gateway accepts.

    Attributes:
        unit: What prices are for.
    """

    rpc: Rpc
    signer: Signer
    caps: Caps
    clock: Clock
    unit: str = "pixel"

    async def find(
        self, candidates: Sequence[Candidate], job: net.Capabilities, wanted: int
    ) -> list[Offer]:
        """Ask all candidates; return good answers, quickest first.

        Ends when all have answered or ``wanted`` are good; else looks at 0.5, 1, 2 and 4 s and is
        content with one; gives up at 6 s.

        Raises:
            NoOrchestrator: none is good; says why of each.
        """
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(self._ask(candidate, job)) for candidate in candidates]
        offers: list[Offer] = []
        reasons: list[str] = []
        pending = set(tasks)
        started, look_s = time.monotonic(), FIRST_LOOK_S
        try:
            while pending and len(offers) < wanted:
                left = min(look_s, CUT_OFF_S) - (time.monotonic() - started)
                done, pending = await asyncio.wait(
                    pending, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED
                )
                _sort_out(done, offers, reasons)
                if done:
                    continue
                if offers or look_s >= CUT_OFF_S:
                    break
                look_s = min(look_s * 2, CUT_OFF_S)
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        if not offers:
            late = [f"{len(pending)} gave no answer within {CUT_OFF_S:.0f} s"] if pending else []
            why = "; ".join(reasons + late) or "the list is empty"
            raise NoOrchestrator(f"no orchestrator will do: {why}")
        return sorted(offers, key=lambda offer: offer.latency_s)

    async def _ask(self, candidate: Candidate, job: net.Capabilities) -> Offer:
        start = time.monotonic()
        request = orchestrator_request(self.signer, job)
        try:
            info = await self.rpc.get_orchestrator(candidate.uri, request, CUT_OFF_S)
        except CallRefused as error:
            if any(self.signer.address):
                raise
            raise CallRefused(f"{error}; {NO_KEY}") from error
        self.check(info, job)
        return Offer(candidate, info, time.monotonic() - start)

    def check(self, info: net.OrchestratorInfo, job: net.Capabilities) -> None:
        """Accept an answer, or say why not.

        Raises:
            NoOrchestrator: it cannot do the job.
            TermsRefused: its price or parameters are not acceptable.
        """
        if not info.transcoder:
            raise NoOrchestrator("it does no work itself")
        if not info.HasField("auth_token"):
            raise NoOrchestrator("it gave no auth token")
        if not compatible(job, info.capabilities):
            raise NoOrchestrator("it cannot do this job (incompatible capabilities)")
        if any(self.signer.address):
            self._check_terms(info)

    def _check_terms(self, info: net.OrchestratorInfo) -> None:
        price = info.price_info
        if not info.address or not info.HasField("ticket_params"):
            raise NoOrchestrator("it takes no tickets (ticketParams is nil)")
        if price.pixelsPerUnit <= 0 or price.pricePerUnit < 0:
            raise NoOrchestrator("it gave no usable price")
        if price.pricePerUnit == 0:
            return
        most = self.caps.max_price
        if most is not None and price.pricePerUnit > most * price.pixelsPerUnit:
            asked = price.pricePerUnit / price.pixelsPerUnit
            raise NoOrchestrator(
                f"its price of {asked:g} wei per {self.unit} is over the limit of {float(most):g}"
            )
        terms = TicketTerms.read(info.ticket_params)
        expired = self.clock.expired(terms.expiration_block, 0.0)
        self.caps.check(terms, 1, expired=expired)


def _sort_out(done: set[asyncio.Task[Offer]], offers: list[Offer], reasons: list[str]) -> None:
    for task in done:
        error = task.exception()
        if error is None:
            offers.append(task.result())
        elif isinstance(error, GatewayError):
            reasons.append(str(error))
        else:
            raise error


def ranked(offers: Sequence[Offer], suspended: Callable[[str], bool]) -> list[Offer]:
    """Put orchestrators that failed recently last, keeping the order otherwise."""
    return sorted(offers, key=lambda offer: suspended(offer.info.transcoder))
