"""The composition root: the only module that wires the parts of a node together."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from attrs import define, field
from podium_hookspecs import Mount, NodeStarted

from podium import assembly, crypto
from podium.assembly import Overrides
from podium.errors import ConfigInvalid
from podium.faces import Faces
from podium.jobs.spine import Spine
from podium.jobs.till import Till, is_ware_key
from podium.model import PROTOCOL_VERSION
from podium.node import (
    Door,
    Fanout,
    Node,
    serve_until_closed,
    stop_task,
    sweep,
)
from podium.pluginhost import NodeFacts, PluginHost, Services, WorkerDoor
from podium.pricing import PriceBook
from podium.reload import Reloader
from podium.sessions.registry import Sessions
from podium.sessions.tokens import Tokens
from podium.stores.sqlite import Database
from podium.telemetry.logs import EventLog
from podium.telemetry.plugin_metrics import PluginMetrics
from podium.telemetry.statement import Statement
from podium.web.admin import make_admin_app
from podium.web.advertise import advertise, hardware
from podium.web.ledger import LEDGER_PATH, LedgerFace
from podium.web.orchestrator import OrchestratorService
from podium.web.routes import CORE_PATHS
from podium.workers.pool import WorkerPool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from structlog.typing import FilteringBoundLogger

    from podium.assembly import Money
    from podium.config.settings import Settings
    from podium.crypto import Signer
    from podium.onchain.node import OnChainNode
    from podium.payments import Payments
    from podium.stores.objects import ObjectStore
    from podium.telemetry.metrics import Telemetry

DATABASE = "podium.sqlite3"


@define(eq=False)
class _Builder:
    """Puts a node together, step by step; what has to be stopped goes onto the stack."""

    settings: Settings
    overrides: Overrides
    stack: AsyncExitStack
    emit: Fanout = field(factory=Fanout)
    door: Door = field(factory=Door)
    admin_door: Door = field(factory=Door)
    statement: Statement = field(factory=Statement)
    workers: WorkerDoor = field(factory=WorkerDoor)
    log: FilteringBoundLogger = field(init=False)
    database: Database = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.log = assembly.log(self.settings)

    async def build(self) -> Node:
        """Bind, load, start, serve: in the order in which a problem is cheapest to find."""
        settings, stack = self.settings, self.stack
        stack.enter_context(assembly.data_folder(settings.node.data_dir))
        signer = await self._signer()
        recipient = settings.account.recipient_bytes or signer.address
        public = assembly.public_server(settings, self.door)
        stack.callback(public.close)
        admin = assembly.admin_server(settings, self.admin_door)
        stack.callback(admin.close)
        service_uri = settings.node.advertised_uri(public.port)
        orchestrator_id = crypto.checksum_address(recipient) if any(recipient) else "offchain"
        telemetry = assembly.telemetry(settings, orchestrator_id)
        log = EventLog(self.log)
        self.emit.listeners += [telemetry.on_event, log.on_event, self.statement.on_event]
        facts = NodeFacts(PROTOCOL_VERSION, orchestrator_id, service_uri)
        host = await self._host(facts, telemetry)
        onchain, money = await self._chain(signer, recipient, host.currencies)
        payments, book = await self._payments(recipient, host, money)
        pool, sessions, objects = self._work()
        till = Till(payments, book)
        spine = Spine(sessions, pool, host, till, self.emit, time.monotonic, host.hold)
        service = self._service(service_uri, signer, sessions, spine, till, host, pool)
        reloader = await self._start_work(host, pool, service)
        self.door.app = Faces(
            settings=settings,
            allowed_networks=self.overrides.allowed_networks,
            service=service,
            host=host,
            pool=pool,
            objects=objects,
            orchestrator_id=orchestrator_id,
            stack=stack,
            emit=self.emit,
            stopping=public.stopping,
        ).public()
        node = Node(
            service_uri=service_uri,
            emit=self.emit,
            host=host,
            pool=pool,
            sessions=sessions,
            payments=payments,
            book=book,
            telemetry=telemetry,
            log=self.log,
            service=service,
            public=public,
            admin=admin,
            served=await serve_until_closed(stack, public),
            reloader=reloader,
            onchain=onchain,
        )
        self._open_admin(node)
        await serve_until_closed(stack, admin)
        stack.push_async_callback(stop_task, asyncio.create_task(sweep(sessions, objects)))
        self.emit(NodeStarted(PROTOCOL_VERSION, service_uri, settings.node.max_sessions))
        return node

    def _service(
        self,
        service_uri: str,
        signer: Signer,
        sessions: Sessions,
        spine: Spine,
        till: Till,
        host: PluginHost,
        pool: WorkerPool,
    ) -> OrchestratorService:
        """Make what answers discovery; it hears of everything that changes its answer."""
        service = OrchestratorService(
            service_uri=service_uri,
            nodes=self.settings.node.nodes,
            signer=signer,
            tokens=Tokens(self.overrides.now, self.overrides.token_secret),
            sessions=sessions,
            spine=spine,
            till=till,
            now_advertised=lambda: advertise(tuple(host.pipelines.values()), pool),
            hardware=lambda: hardware(pool),
        )
        pool.on_usage, self.workers.changed = service.used, service.changed
        self.emit.listeners.append(service.on_event)
        return service

    async def _start_work(
        self, host: PluginHost, pool: WorkerPool, service: OrchestratorService
    ) -> Reloader:
        """Start pipelines and workers; return what changes them from now on."""
        self.stack.push_async_callback(host.stop)
        await host.start()
        await pool.start(host.workers)
        plugins, changed = self.overrides.plugins, service.changed
        reloader = Reloader(self.settings, host, pool, plugins, CORE_PATHS, changed, self.log)
        reloader.begin()
        self.stack.push_async_callback(reloader.close)
        return reloader

    def _open_admin(self, node: Node) -> None:
        if node.onchain is not None:
            node.telemetry.watch_chain(node.onchain.figures)
            node.telemetry.watch_gas(node.onchain.gas_prices)
        ledger = Mount(LEDGER_PATH, LedgerFace(self.statement), "admin")
        render = node.telemetry.render if self.settings.node.metrics else None
        self.admin_door.app = make_admin_app(
            render, lambda: node.ready, lambda: (ledger, *node.admin_mounts)
        )

    async def _host(self, facts: NodeFacts, telemetry: Telemetry) -> PluginHost:
        services = Services(
            facts=facts,
            log=lambda plugin: self.log.bind(plugin=plugin),
            metrics=partial(PluginMetrics, telemetry.registry),
            on_event=self.emit,
            on_error=telemetry.plugin_error,
            workers=self.workers,
        )
        host = await PluginHost.load(
            self.settings,
            services,
            extra_plugins=self.overrides.plugins,
            reserved_paths=CORE_PATHS,
        )
        self.stack.push_async_callback(host.close)
        self.emit.listeners.append(host.emit)
        self.stack.callback(assembly.watch(host, self.log).stop)
        return host

    async def _signer(self) -> Signer:
        """Hold the account's key; off chain there may be none."""
        account = self.settings.account
        if not account.given:
            if self.settings.chain.on_chain:
                raise ConfigInvalid(["account: a chain needs a key: keystore or private_key"])
            return crypto.NoSigner()
        if account.key_bytes is not None and not self.settings.chain.on_chain:
            return crypto.KeySigner(account.key_bytes)
        from podium.onchain.connect import unlock

        return await asyncio.to_thread(unlock, account, "account", self.overrides.ask_password)

    async def _chain(
        self, signer: Signer, recipient: bytes, currencies: frozenset[str]
    ) -> tuple[OnChainNode | None, Money]:
        """Connect to the chain, if there is one; what it needs is imported only then."""
        database = self.database = await Database.open(self.settings.node.data_dir / DATABASE)
        self.stack.push_async_callback(database.close)
        if not self.settings.chain.on_chain:
            return None, assembly.local_money(self.settings, self.overrides, database)
        from podium.chain.signer import LocalSigner
        from podium.onchain.build import OnChainBuilder

        assert isinstance(signer, LocalSigner)
        ask, emit = self.overrides.ask_password, self.emit
        builder = OnChainBuilder(
            self.settings, database, signer, recipient, emit, self.log, self.stack, ask, currencies
        )
        onchain = await builder.build()
        money = assembly.Money(
            clock=onchain.clock,
            broker=onchain.broker,
            gas_price=onchain.gas,
            redeem_gas=onchain.chain.network.redeem_gas,
            store=onchain.redeemer,
            wei=onchain.wei,
            revealed=onchain.redeemer.has_revealed,
        )
        return onchain, money

    async def _payments(
        self, recipient: bytes, host: PluginHost, money: Money
    ) -> tuple[Payments, PriceBook]:
        payments = assembly.payments(self.settings, self.overrides, recipient, money, self.emit)
        kept = await assembly.keeper(
            payments, money, self.database.balances, is_ware_key, self.log, self.overrides.now
        )
        if kept is not None:
            self.stack.push_async_callback(kept.close)
            self.stack.push_async_callback(stop_task, asyncio.create_task(kept.run()))
        self.stack.push_async_callback(payments.drain)
        rates = assembly.rates(self.settings, money.wei)
        host.open_market(money.wei, rates.decide)
        return payments, PriceBook(rates, host.price, payments.tx_cost_multiplier, self.emit)

    def _work(self) -> tuple[WorkerPool, Sessions, ObjectStore]:
        """Make the workers' pool, the sessions and their results, which end together."""
        pool = self.workers.pool = WorkerPool(self.emit)
        self.stack.push_async_callback(pool.close)
        objects = assembly.objects(self.settings)

        async def on_close(session_id: str) -> None:
            objects.end_session(session_id)
            await pool.end_session(session_id)

        sessions = Sessions(
            self.settings.node.max_sessions,
            on_event=self.emit,
            on_close=on_close,
            monotonic=time.monotonic,
            idle_s=self.settings.node.session_idle_s,
        )
        self.stack.push_async_callback(sessions.close)
        return pool, sessions, objects


@asynccontextmanager
async def running(settings: Settings, overrides: Overrides | None = None) -> AsyncIterator[Node]:
    """Run a node; leaving the context stops it at once (``Node.drain`` first, to do it gently).

    Raises:
        StartupError: one sentence about what to do.
        ConfigInvalid: a plugin's section has problems.
    """
    async with AsyncExitStack() as stack:
        yield await _Builder(settings, overrides or Overrides(), stack).build()
