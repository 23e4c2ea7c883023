"""``auth-webhook``: a server of the operator's decides which gateways may come in.

It speaks the network's orchestrator auth webhook: ``POST {"id": "<address>"}``; 200 with JSON
lets in, all else keeps out. Source: go-livepeer server/rpc.go, authenticateBroadcaster.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen, validators
from podium_hookspecs import (
    Admission,
    AdmitRequest,
    ConfigError,
    PendingAdmission,
    Pipeline,
    PluginError,
    Price,
    Secret,
    hookimpl,
)

from podium_observers.address import checksum_address
from podium_observers.http import Endpoint, EndpointError, check_url, tls_context
from podium_observers.pump import doc
from podium_observers.record import compact

if TYPE_CHECKING:
    from podium_hookspecs import PluginContext

    from podium_observers.http import Answer

KNOWN_S = 1800.0
"""So long a gateway that was let in may send jobs: as long as the token it got lives."""

KNOWN_LIMIT = 10_000
MAX_REASON_CHARS = 500
FIRST_OTHER_WORK = 27
"""Capabilities from here on are no video: they are not priced by the pixel."""

NO_ANSWER = "the auth webhook cannot be asked"
BAD_ANSWER = "the auth webhook gave no usable answer"


@frozen(kw_only=True)
class AuthConfig:
    """``[plugins.auth-webhook]``: a server of yours lets gateways in, or not."""

    url: Secret = field(
        validator=check_url, metadata=doc("The server's URL. Redirects are not followed.")
    )
    timeout_s: float = field(
        default=5.0,
        validator=[validators.gt(0), validators.le(60)],
        metadata=doc("Seconds for an answer; without one the gateway is refused."),
    )
    price_always: bool = field(
        default=False,
        metadata=doc(
            "Use the answer's price for every request for video. The network's rule is: only for "
            "requests that name no capabilities."
        ),
    )
    authorization: Secret | None = field(
        default=None, metadata=doc("Sent as the header Authorization.")
    )
    ca_file: Path | None = field(
        default=None, metadata=doc("PEM certificates to trust beside the system's.")
    )


@define(eq=False)
class Gatekeeper:
    """Asks the server, and remembers whom it let in.

    Args:
        endpoint: The server.
        config: The section.
        monotonic: Seconds.
    """

    endpoint: Endpoint
    config: AuthConfig
    monotonic: Callable[[], float] = time.monotonic
    _known: OrderedDict[bytes, float] = field(factory=OrderedDict, init=False)

    def knows(self, sender: bytes) -> bool:
        """Whether a gateway was let in lately, and not kept out since."""
        return self._known.get(sender, 0.0) > self.monotonic()

    async def ask(self, request: AdmitRequest) -> Admission | None:
        """Ask for one gateway; None: it may come in, at the usual price.

        Raises:
            PluginError: there was no usable answer: the gateway is refused. What runs of it goes
                on: a server that is away for a minute ends no stream.
        """
        answer = await self._post(request.sender)
        if answer.status != 200:
            self._known.pop(request.sender, None)
            return Admission(False, _reason(answer))
        price = read_price(answer.body)
        self._known[request.sender] = self.monotonic() + KNOWN_S
        self._known.move_to_end(request.sender)
        if len(self._known) > KNOWN_LIMIT:
            self._known.popitem(last=False)
        return Admission(True, price=price) if price and self._prices(request) else None

    async def _post(self, sender: bytes) -> Answer:
        headers = {"Content-Type": "application/json"}
        if self.config.authorization is not None:
            headers["Authorization"] = self.config.authorization.reveal
        try:
            return await self.endpoint.post(compact({"id": checksum_address(sender)}), headers)
        except EndpointError as error:
            raise PluginError(f"auth webhook: {error}", public=NO_ANSWER) from error

    def _prices(self, request: AdmitRequest) -> bool:
        """Whether the answer's price is for this request."""
        if request.capabilities is None:
            return True
        video = request.model is None and max(request.capabilities, default=0) < FIRST_OTHER_WORK
        return self.config.price_always and video


def read_price(body: bytes) -> Price | None:
    """Return the price in an answer, None where it has none.

    Raises:
        PluginError: it is not JSON as agreed; a bad price is no free work.
    """
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _bad("it is not JSON") from error
    if told is None:
        return None
    if not isinstance(told, dict):
        raise _bad("it is no JSON object")
    info = told.get("priceInfo")
    if info is None:
        return None
    if not isinstance(info, dict):
        raise _bad("priceInfo is no object")
    amount, pixels = info.get("pricePerUnit"), info.get("pixelsPerUnit")
    if type(amount) is not int or type(pixels) is not int or amount < 0 or pixels < 1:
        raise _bad("priceInfo needs a pricePerUnit >= 0 and a pixelsPerUnit >= 1, whole numbers")
    return Price(Fraction(amount, pixels), "pixel")


def _bad(what: str) -> PluginError:
    return PluginError(f"auth webhook: {what}", public=BAD_ANSWER)


def _reason(answer: Answer) -> str:
    """Return the text of a refusal, as the gateway gets it."""
    words = " ".join(answer.body.decode(errors="replace").split())
    text = "".join(filter(str.isprintable, words))[:MAX_REASON_CHARS]
    return text or f"the auth webhook answered {answer.status}"


@hookimpl
def podium_config_class() -> type:
    """Name the class of the section."""
    return AuthConfig


@hookimpl
def podium_pipelines(config: AuthConfig, context: PluginContext) -> list[Pipeline]:
    """Make the client; its connections end with the node."""
    try:
        tls = tls_context(config.ca_file)
    except OSError as error:
        raise ConfigError(f"ca_file: {error.strerror or error}") from error
    endpoint = Endpoint(config.url, config.timeout_s, tls)
    context.state = Gatekeeper(endpoint, config)
    context.spawn(endpoint.close_at_end(), name="connections")
    return []


@hookimpl
def podium_admit(
    request: AdmitRequest, config: AuthConfig, context: PluginContext
) -> PendingAdmission | None:
    """Ask at every discovery; for a job only where the gateway was not let in lately."""
    gatekeeper: Gatekeeper = context.state
    if request.stage == "job" and gatekeeper.knows(request.sender):
        return None

    async def decide() -> Admission | None:
        return await gatekeeper.ask(request)

    return PendingAdmission(decide, config.timeout_s)
