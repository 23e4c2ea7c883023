"""``events-webhook``: the node's events, POSTed as JSON and signed."""

from __future__ import annotations

import difflib
import hashlib
import hmac
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import podium_hookspecs
from attrs import Attribute, define, field, frozen, validators
from podium_hookspecs import ConfigError, Event, Pipeline, Secret, hookimpl

from podium_observers.http import Endpoint, EndpointError, check_url, tls_context
from podium_observers.pump import Pump, PumpSettings, doc, start_pump
from podium_observers.record import compact
from podium_observers.sink import SinkError

if TYPE_CHECKING:
    from podium_hookspecs import PluginContext

    from podium_observers.record import Record

RETRIED = frozenset({408, 425, 429})
"""Refusals that may pass; so may every status from 500 on."""


def event_names() -> list[str]:
    """Return the names of all events."""
    found = (getattr(podium_hookspecs, name) for name in podium_hookspecs.__all__)
    kinds = [one for one in found if isinstance(one, type) and issubclass(one, Event)]
    return sorted(kind.__name__ for kind in kinds if kind is not Event)


def known_events(instance: object, attribute: Attribute[Any], value: Sequence[str]) -> None:
    """Refuse names that no event has."""
    known = event_names()
    for name in value:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f'there is no event "{name}"{hint}')


def _long_enough(instance: object, attribute: Attribute[Any], value: Secret) -> None:
    if len(value.reveal) < 16:
        raise ValueError("must have at least 16 characters")


@frozen(kw_only=True)
class WebhookConfig(PumpSettings):
    """``[plugins.events-webhook]``: what happens, told to a server of yours."""

    url: Secret = field(
        validator=check_url, metadata=doc("Where events are POSTed. Redirects are not followed.")
    )
    secret: Secret = field(
        validator=_long_enough, metadata=doc("Key of the signature, shared with the server.")
    )
    events: tuple[str, ...] = field(
        default=(), validator=known_events, metadata=doc("Names of the events; empty: all.")
    )
    timeout_s: float = field(
        default=10.0, validator=validators.gt(0), metadata=doc("Seconds for one POST.")
    )
    ca_file: Path | None = field(
        default=None, metadata=doc("PEM certificates to trust beside the system's.")
    )


def sign(secret: Secret, timestamp: str, body: bytes) -> str:
    """Return the signature of a delivery: HMAC-SHA256 over the time, a point and the body."""
    message = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.reveal.encode(), message, hashlib.sha256).hexdigest()


@define(eq=False)
class WebhookSink:
    """POSTs each batch; the server proves nothing, we sign."""

    endpoint: Endpoint
    secret: Secret
    node: dict[str, str]
    now: Callable[[], float] = time.time

    async def send(self, records: Sequence[Record]) -> None:
        """Deliver a batch.

        Raises:
            SinkError: it was not taken; a refusal that would come again is final.
        """
        body = compact({"node": self.node, "events": [record.as_json() for record in records]})
        timestamp = str(int(self.now()))
        headers = {
            "Content-Type": "application/json",
            "Podium-Timestamp": timestamp,
            "Podium-Signature": sign(self.secret, timestamp, body),
        }
        try:
            answer = await self.endpoint.post(body, headers)
        except EndpointError as error:
            raise SinkError(str(error)) from error
        if not 200 <= answer.status < 300:
            retry = answer.status >= 500 or answer.status in RETRIED
            raise SinkError(f"{self.endpoint.host} answered {answer.status}", retry=retry)

    async def close(self) -> None:
        """Close the connections."""
        await self.endpoint.close()


@hookimpl
def podium_config_class() -> type:
    """Name the class of the section."""
    return WebhookConfig


@hookimpl
def podium_pipelines(config: WebhookConfig, context: PluginContext) -> list[Pipeline]:
    """Start the pump."""
    try:
        tls = tls_context(config.ca_file)
    except OSError as error:
        raise ConfigError(f"ca_file: {error.strerror or error}") from error
    node = {
        "orchestrator": context.orchestrator_id,
        "service_uri": context.service_uri,
        "version": context.node_version,
    }
    sink = WebhookSink(Endpoint(config.url, config.timeout_s, tls), config.secret, node)
    context.state = start_pump(context, sink, config)
    return []


@hookimpl
def podium_on_event(event: Event, config: WebhookConfig, context: PluginContext) -> None:
    """Queue what is wanted."""
    pump: Pump | None = context.state
    if pump is not None and (not config.events or type(event).__name__ in config.events):
        pump.put(event)
