"""A running node, and the small pieces of its life."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import httpx
from attrs import define, field
from podium_hookspecs import AdmitRequest, Mount, NodeStopping

from podium.crypto import checksum_address
from podium.pricing.explain import explain
from podium.web.asgi import send_text
from podium.web.prices import PRICE_PATH, PriceFace
from podium.web.reload import PLUGINS_PATH, RELOAD_PATH, PluginsFace, ReloadFace
from podium.web.standing import STANDING_PATH, StandingFace

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AsyncExitStack

    from podium_hookspecs import AsgiApp, Event, PriceRequest
    from structlog.typing import FilteringBoundLogger

    from podium.config.settings import Settings
    from podium.listener import PodiumServer
    from podium.onchain.node import OnChainNode
    from podium.payments import Payments
    from podium.pluginhost import PluginHost
    from podium.pricing import PriceBook
    from podium.pricing.explain import Explanation
    from podium.reload import Reloader
    from podium.sessions.registry import Sessions
    from podium.stores.objects import ObjectStore
    from podium.telemetry.metrics import Telemetry
    from podium.web.asgi import Receive, Scope, Send
    from podium.web.orchestrator import OrchestratorService
    from podium.workers.pool import WorkerPool

SWEEP_INTERVAL_S = 1.0
CHECK_TIMEOUT_S = 8.0


@define(eq=False)
class Node:
    """A running orchestrator, as ``running`` gives it.

    Attributes:
        service_uri: Where peers reach it.
        emit: Tells telemetry and plugins of an event.
        onchain: The chain's part; None off chain.
    """

    service_uri: str
    emit: Callable[[Event], None]
    host: PluginHost
    pool: WorkerPool
    sessions: Sessions
    payments: Payments
    book: PriceBook
    telemetry: Telemetry
    log: FilteringBoundLogger
    service: OrchestratorService
    public: PodiumServer
    admin: PodiumServer
    served: asyncio.Task[None]
    reloader: Reloader
    onchain: OnChainNode | None = None

    @property
    def settings(self) -> Settings:
        """What holds now: its plugins may change while the node runs."""
        return self.reloader.settings

    @property
    def ready(self) -> tuple[bool, str]:
        """Whether it takes work, and if not, why."""
        if self.service.draining:
            return False, "draining"
        if not self.service.capabilities.bits:
            return False, "no pipeline has a worker that is up"
        return True, "ok"

    def standing(self) -> dict[str, Any]:
        """Return how it stands, as JSON can hold it."""
        ready, reason = self.ready
        return {
            "version": version("podium"),
            "service_uri": self.service_uri,
            "orchestrator": self.host.facts.orchestrator_id,
            "ready": ready,
            "reason": reason,
            "sessions": len(self.sessions),
            "max_sessions": self.sessions.max_sessions,
            "gateways": sorted(checksum_address(sender) for sender in self.sessions.senders),
        }

    def plugins(self) -> dict[str, Any]:
        """Return how each plugin is, as JSON can hold it."""
        path = self.settings.path
        return {
            "config": "" if path is None else str(path.absolute()),
            "plugins": [status.as_json() for status in self.host.statuses()],
        }

    async def reload(self, dry_run: bool = False) -> dict[str, Any]:
        """Bring the plugins to what the configuration says; return what came of it, as JSON."""
        return (await self.reloader.reload(dry_run=dry_run)).as_json()

    async def explain_price(self, request: PriceRequest) -> Explanation:
        """Return what a sender would be quoted now, and who decided that."""
        asked = frozenset({request.capability})
        admission = await self.host.admit(
            AdmitRequest(request.sender, "discover", capabilities=asked, model=request.model)
        )
        return await explain(
            request,
            self.host.poll_prices(request),
            self.book.rates,
            admission,
            self.payments.tx_cost_multiplier,
            charged=self.payments.charges,
        )

    @property
    def admin_mounts(self) -> tuple[Mount, ...]:
        """The node's own routes for commands that ask it, then those of plugins."""
        return (
            Mount(STANDING_PATH, StandingFace(self.standing), "admin"),
            Mount(PLUGINS_PATH, PluginsFace(self.plugins), "admin"),
            Mount(RELOAD_PATH, ReloadFace(self.reload), "admin"),
            Mount(PRICE_PATH, PriceFace(self.explain_price, self.host.unit_of), "admin"),
            *self.host.mounts,
        )

    async def drain(self, reason: str) -> None:
        """Stop advertising, finish what is in flight, for as long as the settings allow."""
        self.service.draining = True
        self.emit(NodeStopping(reason))
        self.public.stop()
        done, _ = await asyncio.wait({self.served}, timeout=self.settings.node.drain_timeout_s)
        if not done:
            self.public.stop_now()

    async def failed(self) -> None:
        """Return only if the public port stops by itself."""
        await asyncio.wait({self.served})


@define
class Door:
    """The ASGI application that a port is bound with before there is anything behind it."""

    app: AsgiApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or ask the peer for patience."""
        if self.app is None:
            await send_text(send, 503, "starting")
        else:
            await self.app(scope, receive, send)


@define
class Fanout:
    """Where events go: telemetry first, then whoever observes."""

    listeners: list[Callable[[Event], None]] = field(factory=list)

    def __call__(self, event: Event) -> None:
        """Tell everyone, in order."""
        for listener in self.listeners:
            listener(event)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's where it is installed."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop


async def reachable(service_uri: str) -> str:
    """Ask the node for its health by its own service URI; return why that failed, or nothing."""
    client = httpx.AsyncClient(verify=False, trust_env=False, timeout=CHECK_TIMEOUT_S)
    async with client:
        try:
            reply = await client.get(f"{service_uri}/healthz")
        except httpx.HTTPError as error:
            return str(error) or type(error).__name__
    return "" if reply.status_code == httpx.codes.OK else f"it answered {reply.status_code}"


async def serve_until_closed(stack: AsyncExitStack, server: PodiumServer) -> asyncio.Task[None]:
    """Serve until the stack unwinds; return once connections are accepted."""
    task = asyncio.create_task(server.serve())

    async def stop() -> None:
        server.stop_now()
        await asyncio.wait({task})

    stack.push_async_callback(stop)
    await server.ready.wait()
    return task


async def sweep(sessions: Sessions, objects: ObjectStore) -> None:
    """End idle sessions and drop expired results, for ever."""
    while True:
        await asyncio.sleep(SWEEP_INTERVAL_S)
        await sessions.sweep()
        objects.sweep()


async def stop_task(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it is gone."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
