"""The section ``[plugins.byoc]`` of the configuration."""

from __future__ import annotations

from fractions import Fraction

from attrs import field, frozen, validators
from podium_hookspecs import Secret

MAX_CAPACITY = 100_000
MAX_NAME_CHARS = 256
ADDRESS = r"0x[0-9a-fA-F]{40}"


@frozen(kw_only=True)
class ExecutorConfig:
    """``[[plugins.byoc.executors]]``: an HTTP service that need not register."""

    name: str = field(
        validator=[validators.min_len(1), validators.max_len(MAX_NAME_CHARS)],
        metadata={"help": "Name that gateways ask for; several executors may share one."},
    )
    url: str = field(
        validator=validators.matches_re(r"https?://[^/?#\s]+[^?#\s]*"),
        metadata={"help": "Where it is; a request's path is added to it."},
    )
    capacity: int = field(
        default=1,
        validator=[validators.ge(1), validators.le(MAX_CAPACITY)],
        metadata={"help": "Requests it takes at a time."},
    )
    price: Fraction = field(
        default=Fraction(0),
        validator=validators.ge(Fraction(0)),
        metadata={"help": "Price of one second. A name has one price: that of its last executor."},
    )
    currency: str = field(
        default="wei",
        metadata={"help": 'Of the price: "wei", "eth", or one of the node\'s price feed.'},
    )
    token: Secret | None = field(
        default=None,
        metadata={"help": "Sent to it as `Authorization: Bearer`."},
    )
    health_path: str = field(
        default="",
        validator=validators.matches_re(r"(/[^?#\s]*)?"),
        metadata={
            "help": "Asked by GET now and then; 200 is healthy. Empty: a connection is enough."
        },
    )


@frozen(kw_only=True)
class GatewayPrice:
    """``[[plugins.byoc.gateway_prices]]``: what one gateway pays for a name."""

    gateway: str = field(
        validator=validators.matches_re(ADDRESS), metadata={"help": "Address of the gateway."}
    )
    name: str = field(validator=validators.min_len(1), metadata={"help": "Name it asks for."})
    price: Fraction = field(
        validator=validators.ge(Fraction(0)), metadata={"help": "Price of one second."}
    )
    currency: str = field(
        default="wei",
        metadata={"help": 'Of the price: "wei", "eth", or one of the node\'s price feed.'},
    )


@frozen(kw_only=True)
class ByocConfig:
    """Options of the BYOC plugin; without a secret nobody can register from outside."""

    secret: Secret | None = field(
        default=None,
        metadata={
            "help": "What executors send as `Authorization` to register. Without one, only those"
            " of this file are known."
        },
    )
    executors: tuple[ExecutorConfig, ...] = field(
        default=(), metadata={"help": "Executors that need not register, one table each."}
    )
    gateway_prices: tuple[GatewayPrice, ...] = field(
        default=(), metadata={"help": "Prices for single gateways, one table each."}
    )
    currencies: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": 'Currencies of the price feed in which executors may register, as `["USD"]`.'
        },
    )
    allow_private: bool = field(
        default=True,
        metadata={
            "help": "Executors may register with an address of this machine or a private network."
        },
    )
    verify_tls: bool = field(
        default=False, metadata={"help": "Check the certificates of executors' https addresses."}
    )
    heartbeat_s: float = field(
        default=0.0,
        validator=validators.ge(0),
        metadata={
            "help": "An executor that has not registered again for so many seconds is removed."
            " 0: it stays."
        },
    )
    health_interval_s: float = field(
        default=10.0,
        validator=validators.gt(0),
        metadata={"help": "Seconds between two health checks of an executor that has a path."},
    )
    max_timeout_s: float = field(
        default=3600.0,
        validator=validators.gt(0),
        metadata={"help": "Longest a request may take, whatever its sender says."},
    )
    idle_timeout_s: float = field(
        default=600.0,
        validator=validators.gt(0),
        metadata={"help": "Longest silence inside a reply that has begun."},
    )
    max_request_mb: int = field(
        default=64,
        validator=[validators.ge(1), validators.le(286)],
        metadata={"help": "Largest request body, MiB."},
    )
    max_reply_mb: int = field(
        default=64,
        validator=validators.ge(1),
        metadata={"help": "Largest reply that is not a stream of events, MiB; held in memory."},
    )
