"""How this Gateway stands with one orchestrator: its terms, our accounts with it, what to pay.

Source: go-livepeer server/broadcast.go (``BroadcastSession``), server/segment_rpc.go.
"""

from __future__ import annotations

import asyncio
import time
from fractions import Fraction
from typing import TYPE_CHECKING

from attrs import define, field

from podium.testing.gateway.account import Account, Nonces, Stake
from podium.testing.gateway.errors import OrchestratorFailed, TermsRefused
from podium.testing.gateway.requests import build_payment, orchestrator_request
from podium.testing.gateway.tickets import TicketTerms

if TYPE_CHECKING:
    from podium.crypto import Signer
    from podium.testing.gateway.tickets import Caps, Clock
    from podium.testing.gateway.transport import Rpc
    from podium.wire.pb import lp_rpc_pb2 as net

TOKEN_LIFE_S = 1800
TOKEN_LAST_PART_S = TOKEN_LIFE_S // 10
REFRESH_TIMEOUT_S = 2.5


@define(eq=False)
class Standing:
    """What holds between this Gateway and one orchestrator for one kind of job.

    Attributes:
        uri: Where it was found: the address that gRPC goes to.
        info: What it said last; its address for jobs, price, ticket parameters and token.
        unit: What its price is for.
        accounts: One per session id that it gave us; the last is in use.
    """

    uri: str
    info: net.OrchestratorInfo
    signer: Signer
    caps: Caps
    clock: Clock
    rpc: Rpc = field(repr=False)
    unit: str = "pixel"
    accounts: list[Account] = field(factory=list)
    _stale: bool = False
    _nonces: Nonces = field(factory=Nonces)
    _first_price: Fraction | None = None
    _received: float = field(factory=time.monotonic)
    _refreshing: asyncio.Lock = field(factory=asyncio.Lock)

    def __attrs_post_init__(self) -> None:
        self.adopt(self.info)
        self._first_price = self.price

    @property
    def account(self) -> Account:
        """The account of the session id in use."""
        return self.accounts[-1]

    @property
    def price(self) -> Fraction | None:
        """Wei per unit; None from an orchestrator off chain."""
        price = self.info.price_info
        if not self.info.HasField("price_info") or price.pixelsPerUnit == 0:
            return None
        return Fraction(price.pricePerUnit, price.pixelsPerUnit)

    def expire(self) -> None:
        """The orchestrator says that its terms are used up: ask for new ones before the next."""
        self._stale = True

    async def refresh_if_due(self, capabilities: net.Capabilities) -> None:
        """Ask for new terms when the token is in its last tenth or the parameters are expired.

        Raises:
            OrchestratorFailed: it gave none; the session is lost.
        """
        async with self._refreshing:
            if not self._due():
                return
            request = orchestrator_request(self.signer, capabilities)
            info = await self.rpc.get_orchestrator(self.uri, request, REFRESH_TIMEOUT_S)
            if not info.HasField("auth_token"):
                raise OrchestratorFailed(f"{self.uri} gave no auth token")
            self.adopt(info)

    def adopt(self, info: net.OrchestratorInfo) -> None:
        """Take new terms; a new session id begins a new account."""
        self.info = info
        self._received, self._stale = time.monotonic(), False
        session_id = info.auth_token.session_id
        if not self.accounts or self.account.session_id != session_id:
            self.accounts.append(Account(session_id))

    def pay(self, fee: Fraction) -> tuple[net.Payment | None, Stake]:
        """Make the payment of a job and put its credit at stake.

        Returns:
            The payment, None for a Gateway off chain, and what it put at stake.

        Raises:
            TermsRefused: the price rose or the parameters are not acceptable.
        """
        price = self.price
        if price is None or not self.info.HasField("ticket_params"):
            free = Stake(Fraction(0), Fraction(0), ())
            return (build_payment(self.signer, None) if any(self.signer.address) else None), free
        if self._first_price is not None and price > self.caps.price_rise * self._first_price:
            raise TermsRefused(
                f"{self.uri} raised its price from {float(self._first_price):g} "
                f"to {float(price):g} wei per {self.unit}"
            )
        terms = TicketTerms.read(self.info.ticket_params)
        value = terms.expected_value
        count = self.account.count(fee, value) if price else 0
        if price:
            self.caps.check(terms, max(1, count), expired=self._expired(terms))
        nonces = self._nonces.take(terms.recipient_rand_hash, count)
        payment = build_payment(self.signer, self.info.price_info, terms, nonces)
        return payment, self.account.stage(value, nonces)

    def _due(self) -> bool:
        if self._stale or self.info.auth_token.expiration - time.time() < TOKEN_LAST_PART_S:
            return True
        if not self.info.HasField("ticket_params"):
            return False
        return self._expired(TicketTerms.read(self.info.ticket_params))

    def _expired(self, terms: TicketTerms) -> bool:
        return self.clock.expired(terms.expiration_block, time.monotonic() - self._received)
