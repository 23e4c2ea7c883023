"""The plugin host: what is loaded, what it brought, and how it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field
from podium_hookspecs import (
    Admission,
    AdmitRequest,
    Mount,
    PendingAdmission,
    Pipeline,
    PluginError,
    Price,
    Worker,
    WorkerChanged,
)

from podium.errors import ConfigInvalid, StartupError
from podium.pluginhost.admissions import AdmissionCache
from podium.pluginhost.call import PluginFailure, attempt, attempt_async
from podium.pluginhost.context import HostContext, NodeFacts, WorkerDoor
from podium.pluginhost.discover import Discovered, discover
from podium.pluginhost.load import Loaded, check_config, import_plugin, wanted
from podium.pluginhost.market import Market
from podium.pluginhost.parts import check_parts, conflicts
from podium.pluginhost.quiet import QuietLog
from podium.pluginhost.roster import Leaving, Roster, Services, limit
from podium.pluginhost.status import PluginState, PluginStatus
from podium.pluginhost.ward import Ward
from podium.pluginhost.whose import home, tasks_in

if TYPE_CHECKING:
    from podium_hookspecs import Event, Log, PriceRequest

    from podium.config.settings import PluginSettings, Settings
    from podium.pluginhost.guarded import GuardedPipeline
    from podium.pluginhost.market import Convert

REFUSED = "admission check failed"
NO_PRICE = "no price"
VIDEO = 0
"""The capability of pipelines that name none."""
START_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 10.0


@define(eq=False)
class PluginHost(Roster):
    """All plugins of one node. Make it with ``load`` (or ``inspect``), end it with ``close``."""

    _cache: AdmissionCache = field(init=False)
    _market: Market = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._cache = AdmissionCache(self._services.monotonic)
        self._market = Market(self._first_price)
        super().__attrs_post_init__()

    @classmethod
    async def load(
        cls,
        settings: Settings,
        services: Services,
        *,
        extra_plugins: Mapping[str, object] | None = None,
        reserved_paths: Collection[str] = (),
    ) -> PluginHost:
        """Load every enabled plugin, or say why the node must not start.

        Args:
            settings: Which plugins are enabled, in which order, with which options.
            services: What plugins get of the node.
            extra_plugins: Plugins given as objects instead of entry points, by name.
            reserved_paths: Paths of the core that no plugin may mount.

        Raises:
            ConfigInvalid: a required plugin's section has problems.
            StartupError: a required plugin failed, or two plugins claim one name or path.
        """
        host = await cls.inspect(
            settings, services, extra_plugins=extra_plugins, reserved_paths=reserved_paths
        )
        try:
            host.require()
        except (ConfigInvalid, StartupError):
            await host.close()
            raise
        return host

    @classmethod
    async def inspect(
        cls,
        settings: Settings,
        services: Services,
        *,
        extra_plugins: Mapping[str, object] | None = None,
        reserved_paths: Collection[str] = (),
        market: Market | None = None,
    ) -> PluginHost:
        """Load what can be loaded and keep what went wrong in the statuses."""
        host = cls(services, settings)
        host._market = market or host._market
        extra = extra_plugins or {}
        found = discover()
        for name, plugin in found.items():
            host._statuses[name] = PluginStatus(name, PluginState.NOT_ENABLED, found=plugin)
        for name, section in wanted(settings, extra).items():
            host._start(name, section, extra, found)
        for hook, kind in (
            ("podium_pipelines", Pipeline),
            ("podium_workers", Worker),
            ("podium_asgi", Mount),
        ):
            for name in list(host._loaded):
                host._gather(name, hook, kind)
        host.conflicts += conflicts(host._parts, reserved_paths)
        return host

    def require(self) -> None:
        """Stop the start when it must not go on.

        Raises:
            ConfigInvalid: a required plugin's section has problems.
            StartupError: see ``load``.
        """
        required = [
            status
            for status in self._statuses.values()
            if status.required and status.state is PluginState.FAILED
        ]
        problems = [line for s in required for line in self.config_problems.get(s.name, ())]
        if problems:
            raise ConfigInvalid(problems)
        reasons = self.conflicts + [f"plugin {s.name} failed: {s.reason}" for s in required]
        if reasons:
            raise StartupError("; ".join(reasons))

    def _start(
        self,
        name: str,
        section: PluginSettings,
        extra: Mapping[str, object],
        found: Mapping[str, Discovered],
    ) -> None:
        status = PluginStatus(name, PluginState.OK, "", section.required, found.get(name))
        self._statuses[name] = status
        self._wards[name] = Ward(name, self._judge)
        limit(self._wards[name], section)
        try:
            plugin = extra.get(name)
            if plugin is None:
                plugin = import_plugin(name, found.get(name), sorted(found))
            self._hooks.register(name, plugin)
            base_dir, environ = self._settings.base_dir, self._services.environ
            config = check_config(name, self._hooks, section, base_dir, environ)
            context = attempt(name, "state folder", lambda: self._make_context(name))
            self._loaded[name] = Loaded(name, plugin, config, context)
            self._hooks.equip(name, config=config, context=context)
        except PluginFailure as failure:
            self._withdraw(name, str(failure))
        except ConfigInvalid as invalid:
            self.config_problems[name] = invalid.problems
            self._withdraw(name, "; ".join(invalid.problems))

    def _make_context(self, name: str) -> HostContext:
        state_dir = self._settings.node.data_dir / "plugins" / name
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        services = self._services
        context = HostContext(
            plugin=name,
            node_version=services.facts.version,
            orchestrator_id=services.facts.orchestrator_id,
            service_uri=services.facts.service_uri,
            state_dir=state_dir,
            log=QuietLog(services.log(name), services.monotonic),
            metrics=services.metrics(name),
            on_task_failure=self._wards[name].trouble,
            market=self._market,
            workers=services.workers,
        )
        self._contexts.append(context)
        return context

    def _gather(self, name: str, hook: str, kind: type[Any]) -> None:
        try:
            results = self._hooks.ask(name, hook)
            parts = attempt(name, hook, lambda: check_parts(self._wards[name], kind, results))
        except PluginFailure as failure:
            self._withdraw(name, str(failure))
        else:
            self._parts += parts

    def adopt(
        self, draft: Roster, settings: Settings, leaving: Collection[str], order: list[str]
    ) -> list[Leaving]:
        """Take a draft's plugins in, and let some go, at once (see ``Roster``)."""
        gone = super().adopt(draft, settings, leaving, order)
        self._cache = AdmissionCache(self._services.monotonic)
        return gone

    async def draft(self, settings: Settings, plugins: Mapping[str, object]) -> PluginHost:
        """Load some plugins beside those that run; nobody hears of them until ``adopt``.

        Args:
            settings: With the sections of these plugins only.
            plugins: Imported, by name.
        """
        services = evolve(self._services, on_event=lambda _: None, workers=WorkerDoor())
        market = self._market.fork()
        draft = await PluginHost.inspect(settings, services, extra_plugins=plugins, market=market)
        for name, reason in market.unknown():
            draft._withdraw(name, reason)
        return draft

    async def start(self) -> None:
        """Start the pipelines.

        Raises:
            StartupError: one of a required plugin did not start.
        """
        await self.start_pipelines()
        self.require()

    async def start_pipelines(self) -> None:
        """Start the pipelines; a plugin that has one which does not start is used no more."""
        for part in [part for part in self._parts if part.kind is Pipeline]:
            if part.plugin not in self._loaded:
                continue
            try:
                await attempt_async(
                    part.plugin, f"pipeline {part.key}", part.item.start, START_TIMEOUT_S
                )
            except PluginFailure as failure:
                await self.drop(part.plugin, str(failure))

    async def drop(self, name: str, reason: str) -> None:
        """Use nothing of a plugin from now on, and close its pipelines."""
        mine = [part.item for part in self._parts if part.plugin == name and part.kind is Pipeline]
        for pipeline in mine:
            await self._close_pipeline(name, pipeline, self._services.log(name))
        self._withdraw(name, reason)

    async def end(self, leaving: Leaving) -> None:
        """Close a plugin that is no part of the node any more, and say what it leaves behind."""
        name, context = leaving.loaded.name, leaving.loaded.context
        for pipeline in leaving.pipelines:
            await self._close_pipeline(name, pipeline, context.log)
        await context.close()
        self._contexts = [one for one in self._contexts if one is not context]
        left = tasks_in(home(leaving.loaded.plugin), asyncio.all_tasks())
        if left and name not in self._loaded:
            names = sorted(task.get_name() for task in left)[:10]
            context.log.warning("tasks were left running", count=len(left), tasks=names)

    async def _close_pipeline(self, name: str, pipeline: GuardedPipeline, log: Log) -> None:
        try:
            await attempt_async(name, f"pipeline {pipeline.name}", pipeline.close, CLOSE_TIMEOUT_S)
        except PluginFailure as failure:
            self._services.on_error(name, "close")
            log.warning("pipeline did not close", error=str(failure))

    @property
    def facts(self) -> NodeFacts:
        """What plugins know of the node."""
        return self._services.facts

    def unit_of(self, capability: int) -> str:
        """Return what the work of a capability is counted in; pixels where nobody does it."""
        for pipeline in self.pipelines.values():
            if capability == getattr(pipeline, "capability", VIDEO):
                return pipeline.unit
        return "pixel"

    def price(self, request: PriceRequest) -> Price | None:
        """Ask the plugins for a price; None: the configured price holds.

        Raises:
            PluginError: a plugin failed, so there is no price and no session.
        """
        return self._first_price(request)

    def _first_price(self, request: PriceRequest, after: str = "") -> Price | None:
        """Ask the plugins, or only those after one."""
        try:
            for plugin, answer in self._hooks.decide("podium_price", after=after, request=request):
                return _as_price(plugin, answer, request)
        except PluginFailure as failure:
            self._note(failure)
            raise _as_plugin_error(failure, NO_PRICE) from failure
        return None

    def poll_prices(self, request: PriceRequest) -> list[tuple[str, Price | PluginError | None]]:
        """Ask every plugin that prices, for the operator; return each answer, in order.

        None: the plugin passes. An error: there is no price where nobody before it gave one.
        """
        answers: list[tuple[str, Price | PluginError | None]] = []
        for plugin, answer in self._hooks.poll("podium_price", request=request):
            if isinstance(answer, PluginFailure):
                answers.append((plugin, _as_plugin_error(answer, NO_PRICE)))
                continue
            try:
                price = None if answer is None else _as_price(plugin, answer, request)
            except PluginFailure as failure:
                answers.append((plugin, _as_plugin_error(failure, NO_PRICE)))
            else:
                answers.append((plugin, price))
        return answers

    @property
    def currencies(self) -> frozenset[str]:
        """The currencies of plugins' prices that need a price feed, in lower case."""
        return frozenset(self._market.wanted)

    def open_market(
        self,
        wei: Convert,
        configured: Callable[[PriceRequest], Price],
        *,
        check: bool = True,
    ) -> None:
        """Tell plugins what currencies are in wei, and what the configuration charges.

        Args:
            wei: Converts an amount of a currency; raises ``PluginError`` where it cannot.
            configured: Answers a price request as the configuration does.
            check: Withdraw the plugins that have prices in a currency that has no price.

        Raises:
            StartupError: one of those is required.
        """
        self._market.open(wei, configured)
        if not check:
            return
        for name, reason in self._market.unknown():
            self._withdraw(name, reason)
        self.require()

    async def admit(self, request: AdmitRequest) -> Admission:
        """Ask the plugins whether a sender may come in; an error or a time-out refuses."""
        cached = self._cache.get(request)
        if cached is not None:
            return cached
        try:
            answer = await self._ask_admission(request)
        except PluginFailure as failure:
            self._note(failure)
            return Admission(False, _as_plugin_error(failure, REFUSED).public)
        self._cache.put(request, answer)
        return answer

    async def _ask_admission(self, request: AdmitRequest) -> Admission:
        for plugin, first in self._hooks.decide("podium_admit", request=request):
            answer = first
            if isinstance(answer, PendingAdmission):
                answer = await attempt_async(
                    plugin, "podium_admit", answer.decide, answer.timeout_s
                )
            if isinstance(answer, Admission):
                return answer
            if answer is not None:
                raise PluginFailure(plugin, "podium_admit", f"{answer!r} is no admission")
        return Admission(True)

    def emit(self, event: Event) -> None:
        """Let every plugin hear of an event; their failures are counted."""
        if isinstance(event, WorkerChanged):
            self._worker_changed(event)
        for failure in self._hooks.observe("podium_on_event", event=event):
            self._note(failure)

    def _note(self, failure: PluginFailure) -> None:
        self._services.on_error(failure.plugin, failure.what)
        loaded = self._loaded.get(failure.plugin)
        if loaded is not None:
            loaded.context.log.warning("hook failed", hook=failure.what, error=str(failure))

    async def close(self) -> None:
        """Stop all background work of plugins; safe to call twice."""
        for context in self._contexts:
            await context.close()

    async def stop(self) -> None:
        """Close the pipelines."""
        for part in [part for part in self._parts if part.kind is Pipeline]:
            await self._close_pipeline(part.plugin, part.item, self._services.log(part.plugin))


def _as_price(plugin: str, answer: object, request: PriceRequest) -> Price:
    if isinstance(answer, Price) and answer.unit == request.unit:
        return answer
    raise PluginFailure(plugin, "podium_price", f"{answer!r} is no such price")


def _as_plugin_error(failure: PluginFailure, public: str) -> PluginError:
    """Keep what a plugin raised on purpose; hide everything else from the peer."""
    if isinstance(failure.cause, PluginError):
        return failure.cause
    return PluginError(f"plugin {failure.plugin}: {failure}", public=public)
