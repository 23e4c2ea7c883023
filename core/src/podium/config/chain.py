"""``[chain]``: which network pays, and how it is reached."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from attrs import Attribute, field, frozen, validators

from podium.config.address import parse_account
from podium.config.fields import checked, doc

OFFCHAIN = "offchain"


def _rpc_urls(instance: ChainSettings, attribute: Attribute[Any], value: tuple[str, ...]) -> None:
    for url in value:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be http:// or https:// URLs of JSON-RPC endpoints")
    if instance.network != OFFCHAIN and not value:
        raise ValueError(f'network "{instance.network}" needs at least one JSON-RPC endpoint')


@frozen(kw_only=True)
class ChainLocalSettings:
    """``[chain.local]``: a fixed view of the chain, for a node with a key and no chain.

    Every sender has this deposit and reserve. Gateways of your own can pay with
    real tickets then, which nobody can redeem: for demos, tests and benches.
    """

    gas_price_wei: int = field(
        default=0,
        validator=validators.ge(0),
        metadata=doc("Gas price that tickets allow for."),
    )
    deposit_wei: int = field(
        default=10**18, validator=validators.ge(0), metadata=doc("Deposit of every sender.")
    )
    reserve_wei: int = field(
        default=10**18, validator=validators.ge(0), metadata=doc("Reserve of every sender.")
    )
    pool_size: int = field(
        default=100,
        validator=validators.ge(1),
        metadata=doc("Orchestrators that share each reserve."),
    )
    block_seconds: float = field(
        default=12.0, validator=validators.gt(0), metadata=doc("Seconds between blocks.")
    )


@frozen(kw_only=True)
class ChainSettings:
    """``[chain]``: which network pays, and how it is reached."""

    network: str = field(
        default=OFFCHAIN,
        validator=validators.min_len(1),
        metadata=doc(
            '"offchain", "arbitrum-one-mainnet", "arbitrum-sepolia", "devnet", or a name of your '
            "own with a controller."
        ),
    )
    rpc_urls: tuple[str, ...] = field(
        default=(),
        validator=_rpc_urls,
        metadata=doc(
            "JSON-RPC endpoints, best first. With two or more, one may fail, hang or lag."
        ),
    )
    controller: str = field(
        default="",
        validator=checked(parse_account),
        metadata=doc("The protocol's Controller contract; known for Arbitrum One."),
    )
    poll_interval_s: float = field(
        default=0.0,
        validator=validators.ge(0),
        metadata=doc("Seconds between looks for a new block; 0: the network's own."),
    )
    confirmations: int = field(
        default=0,
        validator=validators.ge(0),
        metadata=doc("Blocks until a transaction counts as final; 0: the network's own."),
    )
    min_gas_price_wei: int = field(
        default=0,
        validator=validators.ge(0),
        metadata=doc("Gas never counts as cheaper than this."),
    )
    max_gas_price_wei: int = field(
        default=0,
        validator=validators.ge(0),
        metadata=doc("No transaction is sent while gas costs more; 0 sets no limit."),
    )
    transaction_timeout_s: float = field(
        default=60.0,
        validator=validators.gt(0),
        metadata=doc("Seconds after which a transaction that is not mined is replaced."),
    )
    max_replacements: int = field(
        default=5,
        validator=validators.ge(0),
        metadata=doc("Times that a transaction is replaced, each with higher fees."),
    )
    redeem_batch: int = field(
        default=20,
        validator=[validators.ge(1), validators.le(50)],
        metadata=doc("Tickets redeemed by one transaction, at most."),
    )
    reward: Literal["auto", "on", "off"] = field(
        default="auto",
        metadata=doc(
            "Call rewards each round. auto: while this key's own orchestrator is registered."
        ),
    )
    initialize_rounds: bool = field(
        default=False, metadata=doc("Initialize rounds that nobody else has initialized.")
    )
    initialize_max_delay_s: float = field(
        default=30.0,
        validator=validators.ge(0),
        metadata=doc("A random wait up to this comes first, so that not all nodes do it."),
    )
    price_feed: str = field(
        default="",
        validator=checked(parse_account),
        metadata=doc("Chainlink feed for prices in a currency; known for Arbitrum One."),
    )
    local: ChainLocalSettings = field(
        factory=ChainLocalSettings,
        metadata=doc("The fixed view used instead of a chain, off chain."),
    )

    @property
    def on_chain(self) -> bool:
        """Whether there is a chain at all."""
        return self.network != OFFCHAIN

    @property
    def controller_bytes(self) -> bytes | None:
        """The Controller's 20 bytes, None when the network's own is meant."""
        return parse_account(self.controller) if self.controller else None

    @property
    def price_feed_bytes(self) -> bytes | None:
        """The feed's 20 bytes, None when the network's own is meant."""
        return parse_account(self.price_feed) if self.price_feed else None
