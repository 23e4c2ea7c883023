"""From settings to parts: each function makes one part of a node."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import field, frozen

from podium.errors import StartupError
from podium.listener import Limits, TlsFiles, make_server, self_signed
from podium.model import PROTOCOL_VERSION
from podium.payments import (
    REDEEM_GAS,
    FixedGasPrice,
    Keeper,
    LocalBroker,
    LocalClock,
    NoPayments,
    PaymentSettings,
    RandSource,
    SenderFunds,
    TicketPayments,
    load_secret,
    nothing_revealed,
)
from podium.pricing import Rate, Rates
from podium.pricing.convert import wei_or_eth
from podium.stores.objects import ObjectStore
from podium.telemetry.logs import make_log
from podium.telemetry.metrics import Telemetry
from podium.telemetry.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import BinaryIO

    from podium_hookspecs import AsgiApp, Event
    from structlog.typing import FilteringBoundLogger

    from podium.config.settings import Settings
    from podium.listener import PodiumServer
    from podium.payments import Broker, Clock, GasPrice, Payments
    from podium.payments.ports import BalanceStore, TicketStore
    from podium.pluginhost import PluginHost
    from podium.pricing.convert import Convert


LOCK_FILE = "lock"


@frozen(kw_only=True)
class Overrides:
    """What tests and benches put in place of the real thing.

    Attributes:
        plugins: Plugins given as objects, by name.
        clock: Chain time.
        broker: Chain view of senders.
        gas_price: Gas price.
        redeem_gas: Gas of one redemption.
        rand: Source of ticket randomness, with its secret.
        token_secret: Secret of auth tokens.
        now: Unix seconds.
        allowed_networks: Networks that are not public, yet may be connected for bodies.
        ask_password: Asks a person for a key file's password; None: nobody is there.
    """

    plugins: Mapping[str, object] = field(factory=dict)
    clock: Clock | None = None
    broker: Broker | None = None
    gas_price: GasPrice | None = None
    redeem_gas: int = REDEEM_GAS
    rand: RandSource | None = None
    token_secret: bytes | None = None
    now: Callable[[], float] = time.time
    allowed_networks: tuple[str, ...] = ()
    ask_password: Callable[[str], str] | None = None


def data_folder(folder: Path) -> BinaryIO:
    """Make the data folder, for its owner only, and take it: one node uses it at a time.

    Returns:
        The open lock; closing it, or the end of the process, lets go.

    Raises:
        StartupError: it cannot be made, or another node has it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / LOCK_FILE).open("ab")
    except OSError as error:
        msg = f"cannot use the data folder {folder}: {error.strerror}; set node.data_dir"
        raise StartupError(msg) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        msg = f"another node uses {folder}: stop it, or set another node.data_dir"
        raise StartupError(msg) from error
    return lock


def public_server(settings: Settings, app: AsgiApp) -> PodiumServer:
    """Bind the public port; its certificate names the host of the service URI."""
    node = settings.node
    address = node.public_address
    tls = None
    if node.tls_cert is not None and node.tls_key is not None:
        tls = TlsFiles(node.tls_cert, node.tls_key)
    elif address.tls:
        host = urlsplit(node.advertised_uri(address.port)).hostname or address.reachable_host
        tls = self_signed(node.data_dir, host)
    tls = tls if address.tls else None
    server = make_server(app, address.host, address.port, tls, limits(settings))
    server.bind()
    return server


def limits(settings: Settings) -> Limits:
    """Bound what clients of the public port may ask."""
    given = settings.limits
    return Limits(
        max_connections=given.max_connections,
        silent_per_address=given.silent_connections_per_address,
        max_streams=given.max_streams,
        max_head_bytes=given.max_head_bytes,
        max_fields=given.max_fields,
        handshake_timeout_s=given.handshake_timeout_s,
        head_timeout_s=given.head_timeout_s,
        write_stall_timeout_s=given.write_stall_timeout_s,
        idle_timeout_s=given.idle_timeout_s,
        graceful_timeout_s=settings.node.drain_timeout_s,
    )


def admin_server(settings: Settings, app: AsgiApp) -> PodiumServer:
    """Bind the admin port: plain text, meant for loopback."""
    address = settings.node.admin_address
    server = make_server(app, address.host, address.port, None, Limits(graceful_timeout_s=1))
    server.bind()
    return server


@frozen(kw_only=True)
class Money:
    """What payments stand on: the chain's views, the fixed local view, or a test's.

    Attributes:
        clock: Blocks and rounds.
        broker: Senders' funds.
        gas_price: What tickets allow for gas.
        redeem_gas: Gas of one redemption.
        store: Keeps winners.
        wei: Converts currencies.
        revealed: Whether a redemption has shown a ticket's randomness.
    """

    clock: Clock
    broker: Broker
    gas_price: GasPrice
    redeem_gas: int
    store: TicketStore
    wei: Convert = wei_or_eth
    revealed: Callable[[int], bool] = nothing_revealed


def local_money(settings: Settings, overrides: Overrides, store: TicketStore) -> Money:
    """Return the fixed view, or what a test puts in its place."""
    local = settings.chain.local
    funds = SenderFunds(local.deposit_wei, local.reserve_wei, pool_size=local.pool_size)
    return Money(
        clock=overrides.clock or LocalClock(overrides.now, local.block_seconds),
        broker=overrides.broker or LocalBroker(funds),
        gas_price=overrides.gas_price or FixedGasPrice(local.gas_price_wei),
        redeem_gas=overrides.redeem_gas,
        store=store,
    )


def payments(
    settings: Settings,
    overrides: Overrides,
    recipient: bytes,
    money: Money,
    emit: Callable[[Event], None],
) -> Payments:
    """Ticket payments wherever there is a recipient; without one everything is free."""
    if not any(recipient):
        return NoPayments()
    return TicketPayments.build(
        PaymentSettings(
            recipient=recipient,
            ticket_ev=settings.payments.ticket_ev_wei,
            max_face_value=settings.payments.max_face_value_wei,
            redeem_gas=money.redeem_gas,
        ),
        rand=overrides.rand or RandSource(load_secret(settings.node.data_dir)),
        clock=money.clock,
        broker=money.broker,
        gas_price=money.gas_price,
        store=money.store,
        on_event=emit,
        revealed=money.revealed,
    )


async def keeper(
    payments: Payments,
    money: Money,
    store: BalanceStore,
    lasts: Callable[[str], bool],
    log: FilteringBoundLogger,
    now: Callable[[], float],
) -> Keeper | None:
    """Put back the balances of the node's earlier life; None where nothing is paid.

    Raises:
        StoreError: they cannot be read.
    """
    if not isinstance(payments, TicketPayments):
        return None
    kept = Keeper(
        payments.ledger,
        payments.intake.nonces,
        money.clock,
        store,
        lasts,
        lambda reason: log.error("balances not written", reason=reason),
        now,
    )
    await kept.restore()
    payments.intake.taken = kept.taken
    return kept


def rates(settings: Settings, wei: Convert) -> Rates:
    """Read the configured prices; ``wei`` converts those in a currency."""
    payments = settings.payments
    return Rates(
        default=Rate(payments.per_pixel, payments.currency),
        gateways={
            "0x" + gateway.address_bytes.hex(): Rate(gateway.per_pixel, gateway.currency)
            for gateway in payments.per_gateway
        },
        auto_adjust=payments.auto_adjust_price,
        wei=wei,
    )


def objects(settings: Settings) -> ObjectStore:
    """Make the store of finished renditions."""
    storage = settings.storage
    return ObjectStore(
        storage.memory_limit_mb * 2**20,
        ttl_s=storage.object_ttl_s,
        monotonic=time.monotonic,
        objects_per_folder=storage.objects_per_folder,
    )


def telemetry(settings: Settings, orchestrator_id: str) -> Telemetry:
    """Make the metrics; a node with an account is known by it, as the reference's are."""
    host = socket.gethostname()
    return Telemetry(
        node_id=host if orchestrator_id == "offchain" else f"{orchestrator_id}-{host}",
        version=PROTOCOL_VERSION,
        per_stream=settings.node.metrics_per_stream,
    )


def watch(host: PluginHost, log: FilteringBoundLogger) -> Watchdog:
    """Watch the running loop, and tell which plugin holds it up."""

    def blocked(plugin: str, where: str, seconds: float) -> None:
        host.blame(plugin, "loop", f"it blocked the node, last in {where}")
        log.warning("event loop was blocked", plugin=plugin, where=where, seconds=round(seconds, 1))

    def hung(plugin: str, where: str, seconds: float) -> None:
        log.error("event loop is blocked", plugin=plugin, where=where, seconds=round(seconds, 1))

    watchdog = Watchdog(host.blocked, blocked, hung)
    watchdog.start(asyncio.get_running_loop())
    return watchdog


def log(settings: Settings) -> FilteringBoundLogger:
    """Make the log; keys and passwords never appear in it."""
    account = settings.account
    given = [
        secret.reveal
        for keys in (account, account.redeemer, account.rewarder)
        for secret in (keys.private_key, keys.password)
        if secret is not None
    ]
    return make_log(
        log_format=settings.node.log_format,
        level=settings.node.log_level,
        secrets=(*given, *(text.removeprefix("0x") for text in given)),
    )
