"""Every setting of the node, with its type, default and help.

The help texts feed ``podium init`` and the reference pages. Values are what
the operator wrote, checked; what follows from several of them is a property.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from attrs import Attribute, field, fields, frozen, validators

from podium.config.account import AccountSettings
from podium.config.address import (
    DEFAULT_PORT,
    ListenAddress,
    normalise_uri,
    parse_account,
    parse_listen,
)
from podium.config.chain import ChainSettings
from podium.config.fields import checked, doc, optional_file
from podium.model import MAX_BODY_BYTES, SESSION_IDLE_S

CONFIG_VERSION = 1
ADMIN_PORT = 7935

Validator = Callable[[Any, "Attribute[Any]", Any], None]


def _public(text: str) -> ListenAddress:
    return parse_listen(text, host="0.0.0.0", port=DEFAULT_PORT)


def _admin(text: str) -> ListenAddress:
    return parse_listen(text, host="127.0.0.1", port=ADMIN_PORT)


def _folder(text: str | Path) -> Path:
    return Path(text).expanduser()


def _uris(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(normalise_uri(text) for text in texts)


def _both_or_none(instance: NodeSettings, attribute: Attribute[Any], value: Path | None) -> None:
    if (value is None) != (instance.tls_cert is None):
        raise ValueError("tls_cert and tls_key go together: give both or none")


def _currency(instance: object, attribute: Attribute[Any], value: str) -> None:
    if not (value.isascii() and value.isalpha() and len(value) <= 10):
        raise ValueError("must be letters, as in wei, eth or USD")


def _account(instance: object, attribute: Attribute[Any], value: str) -> None:
    parse_account(value)


@frozen(kw_only=True)
class NodeSettings:
    """``[node]``: where the node lives and how much it takes on."""

    data_dir: Path = field(
        default=Path("~/.podium"),
        converter=_folder,
        metadata=doc("Folder for keys, certificates, the database and plugins' state."),
    )
    service_uri: str = field(
        default="",
        converter=normalise_uri,
        metadata=doc(
            "Where gateways reach this node, as https://HOST:PORT. Empty: this machine only, "
            "https://127.0.0.1:PORT."
        ),
    )
    listen: str = field(
        default="0.0.0.0:8935",
        validator=checked(_public),
        metadata=doc("HOST:PORT of the public port. With http:// in front: plain text and h2c."),
    )
    admin_listen: str = field(
        default="127.0.0.1:7935",
        validator=checked(_admin),
        metadata=doc("HOST:PORT of /metrics, /healthz and /readyz. Keep it private."),
    )
    max_sessions: int = field(
        default=10, validator=validators.ge(1), metadata=doc("Sessions open at a time.")
    )
    nodes: tuple[str, ...] = field(
        default=(),
        converter=_uris,
        metadata=doc("URIs of further nodes of this orchestrator, told to gateways."),
    )
    tls_cert: Path | None = field(
        default=None,
        converter=optional_file,
        metadata=doc("PEM certificate of your own; without one a self-signed one is kept."),
    )
    tls_key: Path | None = field(
        default=None,
        converter=optional_file,
        validator=_both_or_none,
        metadata=doc("PEM private key of that certificate."),
    )
    startup_check: bool = field(
        default=True, metadata=doc("Check after the start that the service URI answers.")
    )
    drain_timeout_s: float = field(
        default=30.0,
        validator=validators.ge(0),
        metadata=doc("Seconds that jobs in flight may take after a stop was asked for."),
    )
    session_idle_s: float = field(
        default=SESSION_IDLE_S,
        validator=validators.gt(0),
        metadata=doc("Seconds without a job after which a session ends."),
    )
    log_format: Literal["auto", "human", "json"] = field(
        default="auto", metadata=doc("auto: human on a terminal, json otherwise.")
    )
    log_level: Literal["debug", "info", "warning", "error"] = field(
        default="info", metadata=doc("Least severe log lines to write.")
    )
    metrics: bool = field(default=True, metadata=doc("Serve /metrics on the admin port."))
    metrics_per_stream: bool = field(
        default=False, metadata=doc("Add manifest_id and sender labels: many more series.")
    )

    @property
    def public_address(self) -> ListenAddress:
        """Where the public port listens."""
        return _public(self.listen)

    @property
    def admin_address(self) -> ListenAddress:
        """Where the admin port listens, always in plain text."""
        address = _admin(self.admin_listen)
        return ListenAddress(address.host, address.port, tls=False)

    def advertised_uri(self, port: int | None = None) -> str:
        """Return the service URI: as configured, or derived from the listener.

        Args:
            port: The port really bound, when the configured one is 0.
        """
        if self.service_uri:
            return self.service_uri
        address = self.public_address
        scheme = "https" if address.tls else "http"
        return f"{scheme}://{address.reachable_host}:{address.port if port is None else port}"


@frozen(kw_only=True)
class GatewayPrice:
    """One of ``[[payments.per_gateway]]``: a price for one gateway."""

    address: str = field(validator=_account, metadata=doc("The gateway."))
    price_per_unit: Fraction = field(
        validator=validators.ge(Fraction(0)), metadata=doc("For pixels_per_unit pixels.")
    )
    pixels_per_unit: int = field(
        default=1, validator=validators.ge(1), metadata=doc("Pixels that the price buys.")
    )
    currency: str = field(
        default="wei", validator=_currency, metadata=doc("Of the price; see [payments].")
    )

    @property
    def address_bytes(self) -> bytes:
        """The gateway's 20 bytes."""
        return parse_account(self.address)

    @property
    def per_pixel(self) -> Fraction:
        """Exact, in the currency."""
        return self.price_per_unit / self.pixels_per_unit


@frozen(kw_only=True)
class PaymentsSettings:
    """``[payments]``: prices and tickets."""

    price_per_unit: Fraction = field(
        default=Fraction(0),
        validator=validators.ge(Fraction(0)),
        metadata=doc('For pixels_per_unit pixels: a whole number, or a text like "0.5".'),
    )
    pixels_per_unit: int = field(
        default=1, validator=validators.ge(1), metadata=doc("Pixels that the price buys.")
    )
    currency: str = field(
        default="wei",
        validator=_currency,
        metadata=doc(
            'Of the price: "wei", "eth", or one that the chain\'s price feed knows, as "USD".'
        ),
    )
    ticket_ev_wei: int = field(
        default=8_000_000_000,
        validator=validators.ge(1),
        metadata=doc("Expected value of one ticket."),
    )
    max_face_value_wei: int = field(
        default=0,
        validator=validators.ge(0),
        metadata=doc("Largest face value of a ticket; 0 sets no limit."),
    )
    auto_adjust_price: bool = field(
        default=True, metadata=doc("Raise the price by what redeeming a ticket costs.")
    )
    per_gateway: tuple[GatewayPrice, ...] = field(
        default=(), metadata=doc("Prices for single gateways, one table each.")
    )

    @property
    def per_pixel(self) -> Fraction:
        """Exact, in the currency."""
        return self.price_per_unit / self.pixels_per_unit


@frozen(kw_only=True)
class StorageSettings:
    """``[storage]``: results held for gateways, and bodies held for workers."""

    memory_limit_mb: int = field(
        default=512, validator=validators.ge(1), metadata=doc("Results held in memory, all.")
    )
    object_ttl_s: float = field(
        default=120.0,
        validator=validators.gt(0),
        metadata=doc("Seconds that a result is held."),
    )
    objects_per_folder: int = field(
        default=12,
        validator=validators.ge(1),
        metadata=doc("Results held per session and rendition; the oldest go first."),
    )
    spool_limit_mb: int = field(
        default=2048,
        validator=validators.ge(1),
        metadata=doc("Segments received and not yet done, all; further ones are refused."),
    )
    spool_dir: Path | None = field(
        default=None,
        converter=optional_file,
        metadata=doc("Folder for segments while they are worked on; without one, memory."),
    )


@frozen(kw_only=True)
class LimitsSettings:
    """``[limits]``: what one client may ask of the listener."""

    max_body_bytes: int = field(
        default=MAX_BODY_BYTES,
        validator=[validators.ge(1), validators.le(MAX_BODY_BYTES)],
        metadata=doc("Largest segment; it may only be lowered."),
    )
    max_connections: int = field(
        default=4096, validator=validators.ge(1), metadata=doc("Connections at a time.")
    )
    silent_connections_per_address: int = field(
        default=256,
        validator=validators.ge(1),
        metadata=doc("Connections of one address that have not sent a request yet."),
    )
    max_streams: int = field(
        default=500,
        validator=[validators.ge(1), validators.le(100_000)],
        metadata=doc("Requests at once on one HTTP/2 connection: a gateway may use just one."),
    )
    max_head_bytes: int = field(
        default=2**20,
        validator=[validators.ge(64 * 2**10), validators.le(2**24)],
        metadata=doc("Size of a request's head: payments of many tickets lie in it."),
    )
    max_fields: int = field(
        default=256,
        validator=[validators.ge(64), validators.le(10_000)],
        metadata=doc("Header fields of one request: proxies add some."),
    )
    handshake_timeout_s: float = field(
        default=10.0, validator=validators.gt(0), metadata=doc("Seconds for a TLS handshake.")
    )
    head_timeout_s: float = field(
        default=10.0,
        validator=validators.gt(0),
        metadata=doc("Seconds for a request's head, from its first byte."),
    )
    body_stall_timeout_s: float = field(
        default=30.0,
        validator=validators.gt(0),
        metadata=doc("Seconds without a byte after which an upload is given up."),
    )
    write_stall_timeout_s: float = field(
        default=60.0,
        validator=validators.gt(0),
        metadata=doc("Seconds after which a client that does not read its replies is dropped."),
    )
    idle_timeout_s: float = field(
        default=600.0,
        validator=validators.ge(1),
        metadata=doc("Seconds without a request after which a connection is closed."),
    )
    byoc_replay_window_s: float = field(
        default=0.0,
        validator=validators.ge(0),
        metadata=doc(
            "Seconds in which a signed BYOC job is taken once. 0: as often as it is sent; the"
            " network's own gateways sign like requests alike."
        ),
    )


@frozen(kw_only=True)
class PluginSettings:
    """``[plugins.NAME]``: whether a plugin runs; the other keys are the plugin's own."""

    enabled: bool = field(default=False, metadata=doc("Import and run this plugin."))
    required: bool = field(
        default=True, metadata=doc("The node does not start without this plugin.")
    )
    max_jobs: int | None = field(
        default=None,
        validator=validators.optional(validators.ge(1)),
        metadata=doc("Jobs of this plugin at a time; without it, as many as its workers take."),
    )
    max_queue: int | None = field(
        default=None,
        validator=validators.optional(validators.ge(0)),
        metadata=doc("Jobs that may wait for their turn; without it, any number."),
    )
    job_timeout_s: float | None = field(
        default=None,
        validator=validators.optional(validators.gt(0)),
        metadata=doc("Seconds that one job may run; without it, as long as it asks for."),
    )
    max_output_mb: int = field(
        default=4096,
        validator=validators.ge(1),
        metadata=doc("What one job may give back, in MiB; a job that gives more is ended."),
    )
    options: Mapping[str, Any] = field(
        factory=dict, repr=False, metadata=doc("The plugin's own section, not yet checked.")
    )


HOST_KEYS = tuple(key.name for key in fields(PluginSettings) if key.name != "options")
"""Keys of a plugin's section that are the node's, so no plugin can have them for its own."""


@frozen(kw_only=True)
class Settings:
    """The whole file, checked.

    Attributes:
        path: The file it came from; None for values made in code.
        given: Dotted names of the settings that the file gives; all others are defaults.
    """

    node: NodeSettings = field(factory=NodeSettings)
    account: AccountSettings = field(factory=AccountSettings)
    payments: PaymentsSettings = field(factory=PaymentsSettings)
    chain: ChainSettings = field(factory=ChainSettings)
    storage: StorageSettings = field(factory=StorageSettings)
    limits: LimitsSettings = field(factory=LimitsSettings)
    plugins: Mapping[str, PluginSettings] = field(factory=dict)
    path: Path | None = None
    given: frozenset[str] = frozenset()

    @property
    def base_dir(self) -> Path:
        """What relative paths of the file are relative to."""
        return Path() if self.path is None else self.path.parent
