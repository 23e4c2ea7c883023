"""Every setting of the node, with its type, default and help.

The help texts feed ``podium init`` and the reference pages. Values are what
the operator wrote, checked; what follows from several of them is a property.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from attrs import Attribute, field, frozen, validators
from podium_hookspecs import Secret

from podium.config.address import (
    DEFAULT_PORT,
    ListenAddress,
    normalise_uri,
    parse_account,
    parse_listen,
)
from podium.model import MAX_BODY_BYTES, SESSION_IDLE_S

CONFIG_VERSION = 1
ADMIN_PORT = 7935

Validator = Callable[[Any, "Attribute[Any]", Any], None]


def _checked(parse: Callable[[str], object]) -> Validator:
    """Make a validator of a parser; an empty text is left alone."""

    def check(instance: object, attribute: Attribute[Any], value: str) -> None:
        if value:
            parse(value)

    return check


def _public(text: str) -> ListenAddress:
    return parse_listen(text, host="0.0.0.0", port=DEFAULT_PORT)


def _admin(text: str) -> ListenAddress:
    return parse_listen(text, host="127.0.0.1", port=ADMIN_PORT)


def _folder(text: str | Path) -> Path:
    return Path(text).expanduser()


def _optional_file(text: str | Path | None) -> Path | None:
    return None if text is None else _folder(text)


def _uris(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(normalise_uri(text) for text in texts)


def _both_or_none(instance: NodeSettings, attribute: Attribute[Any], value: Path | None) -> None:
    if (value is None) != (instance.tls_cert is None):
        raise ValueError("tls_cert and tls_key go together: give both or none")


def _private_key(instance: object, attribute: Attribute[Any], value: Secret | None) -> None:
    if value is None:
        return
    digits = value.reveal.removeprefix("0x")
    try:
        key = bytes.fromhex(digits)
    except ValueError:
        key = b""
    if len(digits) != 64 or len(key) != 32 or not any(key):
        raise ValueError("must be a private key: 32 bytes as 64 hex digits")


def _network(instance: object, attribute: Attribute[Any], value: str) -> None:
    if value != "offchain":
        raise ValueError(
            f'there is no chain client for "{value}" in this version; only "offchain" works'
        )


def _account(instance: object, attribute: Attribute[Any], value: str) -> None:
    parse_account(value)


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@frozen(kw_only=True)
class NodeSettings:
    """``[node]``: where the node lives and how much it takes on."""

    data_dir: Path = field(
        default=Path("~/.podium"),
        converter=_folder,
        metadata=_help("Folder for keys, certificates, the database and plugins' state."),
    )
    service_uri: str = field(
        default="",
        converter=normalise_uri,
        metadata=_help(
            "Where gateways reach this node, as https://HOST:PORT. Empty: this machine only, "
            "https://127.0.0.1:PORT."
        ),
    )
    listen: str = field(
        default="0.0.0.0:8935",
        validator=_checked(_public),
        metadata=_help("HOST:PORT of the public port. With http:// in front: plain text and h2c."),
    )
    admin_listen: str = field(
        default="127.0.0.1:7935",
        validator=_checked(_admin),
        metadata=_help("HOST:PORT of /metrics, /healthz and /readyz. Keep it private."),
    )
    max_sessions: int = field(
        default=10, validator=validators.ge(1), metadata=_help("Sessions open at a time.")
    )
    nodes: tuple[str, ...] = field(
        default=(),
        converter=_uris,
        metadata=_help("URIs of further nodes of this orchestrator, told to gateways."),
    )
    tls_cert: Path | None = field(
        default=None,
        converter=_optional_file,
        metadata=_help("PEM certificate of your own; without one a self-signed one is kept."),
    )
    tls_key: Path | None = field(
        default=None,
        converter=_optional_file,
        validator=_both_or_none,
        metadata=_help("PEM private key of that certificate."),
    )
    startup_check: bool = field(
        default=True, metadata=_help("Check after the start that the service URI answers.")
    )
    drain_timeout_s: float = field(
        default=30.0,
        validator=validators.ge(0),
        metadata=_help("Seconds that jobs in flight may take after a stop was asked for."),
    )
    session_idle_s: float = field(
        default=SESSION_IDLE_S,
        validator=validators.gt(0),
        metadata=_help("Seconds without a job after which a session ends."),
    )
    log_format: Literal["auto", "human", "json"] = field(
        default="auto", metadata=_help("auto: human on a terminal, json otherwise.")
    )
    log_level: Literal["debug", "info", "warning", "error"] = field(
        default="info", metadata=_help("Least severe log lines to write.")
    )
    metrics: bool = field(default=True, metadata=_help("Serve /metrics on the admin port."))
    metrics_per_stream: bool = field(
        default=False, metadata=_help("Add manifest_id and sender labels: many more series.")
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
class AccountSettings:
    """``[account]``: the key that signs, and who is paid."""

    private_key: Secret | None = field(
        default=None,
        validator=_private_key,
        metadata=_help(
            "Signs results and receives tickets: 64 hex digits. Without one the node is off "
            "chain: no signatures, no payments."
        ),
    )
    recipient: str = field(
        default="",
        validator=_checked(parse_account),
        metadata=_help("Address that tickets are made out to, when it is not the key's own."),
    )

    @property
    def key_bytes(self) -> bytes | None:
        """The 32 bytes of the private key."""
        if self.private_key is None:
            return None
        return bytes.fromhex(self.private_key.reveal.removeprefix("0x"))

    @property
    def recipient_bytes(self) -> bytes | None:
        """The 20 bytes of the recipient, None when it is the key's own address."""
        return parse_account(self.recipient) if self.recipient else None


@frozen(kw_only=True)
class GatewayPrice:
    """One of ``[[payments.per_gateway]]``: a price for one gateway."""

    address: str = field(validator=_account, metadata=_help("The gateway."))
    price_per_unit: Fraction = field(
        validator=validators.ge(Fraction(0)), metadata=_help("Wei for pixels_per_unit pixels.")
    )
    pixels_per_unit: int = field(
        default=1, validator=validators.ge(1), metadata=_help("Pixels that the price buys.")
    )

    @property
    def address_bytes(self) -> bytes:
        """The gateway's 20 bytes."""
        return parse_account(self.address)

    @property
    def wei_per_pixel(self) -> Fraction:
        """Exact."""
        return self.price_per_unit / self.pixels_per_unit


@frozen(kw_only=True)
class PaymentsSettings:
    """``[payments]``: prices and tickets."""

    price_per_unit: Fraction = field(
        default=Fraction(0),
        validator=validators.ge(Fraction(0)),
        metadata=_help('Wei for pixels_per_unit pixels: a whole number, or a text like "0.5".'),
    )
    pixels_per_unit: int = field(
        default=1, validator=validators.ge(1), metadata=_help("Pixels that the price buys.")
    )
    ticket_ev_wei: int = field(
        default=8_000_000_000,
        validator=validators.ge(1),
        metadata=_help("Expected value of one ticket."),
    )
    max_face_value_wei: int = field(
        default=0,
        validator=validators.ge(0),
        metadata=_help("Largest face value of a ticket; 0 sets no limit."),
    )
    auto_adjust_price: bool = field(
        default=True, metadata=_help("Raise the price by what redeeming a ticket costs.")
    )
    per_gateway: tuple[GatewayPrice, ...] = field(
        default=(), metadata=_help("Prices for single gateways, one table each.")
    )

    @property
    def wei_per_pixel(self) -> Fraction:
        """Exact."""
        return self.price_per_unit / self.pixels_per_unit


@frozen(kw_only=True)
class ChainLocalSettings:
    """``[chain.local]``: a fixed view of the chain, for a node with a key and no chain.

    Every sender has this deposit and reserve. Gateways of your own can pay with
    real tickets then, which nobody can redeem: for demos, tests and benches.
    """

    gas_price_wei: int = field(
        default=0, validator=validators.ge(0), metadata=_help("Gas price that tickets allow for.")
    )
    deposit_wei: int = field(
        default=10**18, validator=validators.ge(0), metadata=_help("Deposit of every sender.")
    )
    reserve_wei: int = field(
        default=10**18, validator=validators.ge(0), metadata=_help("Reserve of every sender.")
    )
    pool_size: int = field(
        default=100,
        validator=validators.ge(1),
        metadata=_help("Orchestrators that share each reserve."),
    )
    block_seconds: float = field(
        default=12.0, validator=validators.gt(0), metadata=_help("Seconds between blocks.")
    )


@frozen(kw_only=True)
class ChainSettings:
    """``[chain]``: which network pays."""

    network: str = field(
        default="offchain",
        validator=_network,
        metadata=_help('Only "offchain" in this version; see [chain.local].'),
    )
    local: ChainLocalSettings = field(
        factory=ChainLocalSettings, metadata=_help("The fixed view used instead of a chain.")
    )


@frozen(kw_only=True)
class StorageSettings:
    """``[storage]``: results held for gateways, and bodies held for workers."""

    memory_limit_mb: int = field(
        default=512, validator=validators.ge(1), metadata=_help("Results held in memory, all.")
    )
    object_ttl_s: float = field(
        default=120.0, validator=validators.gt(0), metadata=_help("Seconds that a result is held.")
    )
    objects_per_folder: int = field(
        default=12,
        validator=validators.ge(1),
        metadata=_help("Results held per session and rendition; the oldest go first."),
    )
    spool_limit_mb: int = field(
        default=2048,
        validator=validators.ge(1),
        metadata=_help("Segments received and not yet done, all; further ones are refused."),
    )
    spool_dir: Path | None = field(
        default=None,
        converter=_optional_file,
        metadata=_help("Folder for segments while they are worked on; without one, memory."),
    )


@frozen(kw_only=True)
class LimitsSettings:
    """``[limits]``: what one client may ask of the listener."""

    max_body_bytes: int = field(
        default=MAX_BODY_BYTES,
        validator=[validators.ge(1), validators.le(MAX_BODY_BYTES)],
        metadata=_help("Largest segment; it may only be lowered."),
    )
    max_connections: int = field(
        default=4096, validator=validators.ge(1), metadata=_help("Connections at a time.")
    )
    silent_connections_per_address: int = field(
        default=256,
        validator=validators.ge(1),
        metadata=_help("Connections of one address that have not sent a request yet."),
    )
    head_timeout_s: float = field(
        default=10.0,
        validator=validators.gt(0),
        metadata=_help("Seconds for a request's head, from its first byte."),
    )
    body_stall_timeout_s: float = field(
        default=30.0,
        validator=validators.gt(0),
        metadata=_help("Seconds without a byte after which an upload is given up."),
    )


@frozen(kw_only=True)
class PluginSettings:
    """``[plugins.NAME]``: whether a plugin runs; the other keys are the plugin's own."""

    enabled: bool = field(default=False, metadata=_help("Import and run this plugin."))
    required: bool = field(
        default=True, metadata=_help("The node does not start without this plugin.")
    )
    options: Mapping[str, Any] = field(
        factory=dict, repr=False, metadata=_help("The plugin's own section, not yet checked.")
    )


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
