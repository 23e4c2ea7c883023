"""The plugin host: what is loaded, what it brought, and how it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from podium_hookspecs import (
    Admission,
    AdmitRequest,
    HttpPipeline,
    Mount,
    PendingAdmission,
    Pipeline,
    PluginChanged,
    PluginError,
    Price,
    Worker,
)

from podium.errors import ConfigInvalid, StartupError
from podium.pluginhost.admissions import AdmissionCache
from podium.pluginhost.call import Hooks, PluginFailure, attempt, attempt_async
from podium.pluginhost.context import HostContext, NodeFacts, WorkerDoor
from podium.pluginhost.discover import Discovered, discover
from podium.pluginhost.load import Loaded, check_config, import_plugin, wanted
from podium.pluginhost.market import Market
from podium.pluginhost.status import PluginState, PluginStatus

if TYPE_CHECKING:
    from podium_hookspecs import Event, Log, Metrics, PriceRequest

    from podium.config.settings import PluginSettings, Settings
    from podium.pluginhost.market import Convert

REFUSED = "admission check failed"
NO_PRICE = "no price"
VIDEO = 0
"""The capability of pipelines that name none."""


@frozen(kw_only=True)
class Services:
    """What the host needs of the node to serve its plugins.

    Attributes:
        facts: What plugins may know of the node.
        log: Makes a plugin's log.
        metrics: Makes a plugin's metrics.
        on_event: Hears of plugins' states (``PluginChanged``).
        on_error: Told the plugin and the hook of each failed call.
        workers: The way to the node's workers.
        environ: Where plugins' secrets may come from.
        monotonic: Returns monotonic seconds.
    """

    facts: NodeFacts
    log: Callable[[str], Log]
    metrics: Callable[[str], Metrics]
    on_event: Callable[[Event], None] = lambda _: None
    on_error: Callable[[str, str], None] = lambda _plugin, _hook: None
    workers: WorkerDoor = field(factory=WorkerDoor)
    environ: Mapping[str, str] = field(default=os.environ, repr=False)
    monotonic: Callable[[], float] = time.monotonic


@frozen
class _Part:
    """Something a plugin brought."""

    plugin: str
    key: str
    item: Any


@define(eq=False)
class PluginHost:
    """All plugins of one node. Make it with ``load`` (or ``inspect``), end it with ``close``."""

    _services: Services
    _settings: Settings
    _statuses: dict[str, PluginStatus] = field(factory=dict)
    _loaded: dict[str, Loaded] = field(factory=dict)
    _contexts: list[HostContext] = field(factory=list)
    _parts: dict[type, list[_Part]] = field(factory=dict)
    _hooks: Hooks = field(factory=Hooks)
    _cache: AdmissionCache = field(init=False)
    _market: Market = field(init=False)
    config_problems: dict[str, tuple[str, ...]] = field(factory=dict, init=False)
    """Problems of each plugin's section: ``plugins.NAME.key: text``."""
    conflicts: list[str] = field(factory=list, init=False)
    """Names and paths that two plugins claim, or a plugin and the core."""

    def __attrs_post_init__(self) -> None:
        self._cache = AdmissionCache(self._services.monotonic)
        self._market = Market(self._first_price)

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
    ) -> PluginHost:
        """Load what can be loaded and keep what went wrong in the statuses."""
        host = cls(services, settings)
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
        host._find_conflicts(reserved_paths)
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
            log=services.log(name),
            metrics=services.metrics(name),
            on_task_failure=self.degrade,
            market=self._market,
            workers=services.workers,
        )
        self._contexts.append(context)
        return context

    def _gather(self, name: str, hook: str, kind: type[Any]) -> None:
        try:
            results = self._hooks.ask(name, hook)
            parts = attempt(name, hook, lambda: _parts(name, kind, results))
        except PluginFailure as failure:
            self._withdraw(name, str(failure))
        else:
            self._parts.setdefault(kind, []).extend(parts)

    def _withdraw(self, name: str, reason: str) -> None:
        """Use nothing of a plugin from now on."""
        self._hooks.forget(name)
        self._loaded.pop(name, None)
        for kind, parts in self._parts.items():
            self._parts[kind] = [part for part in parts if part.plugin != name]
        self._change(name, PluginState.FAILED, reason)

    def _change(self, name: str, state: PluginState, reason: str) -> None:
        status = self._statuses[name]
        if (status.state, status.reason) == (state, reason):
            return
        status.state, status.reason = state, reason
        self._services.on_event(PluginChanged(name, state.value, reason))

    def _find_conflicts(self, reserved_paths: Collection[str]) -> None:
        for kind, what in ((Pipeline, "pipeline"), (Worker, "worker")):
            owners: dict[str, str] = {}
            for part in self._parts.get(kind, ()):
                if part.key in owners:
                    names = f"{owners[part.key]} and {part.plugin}"
                    self.conflicts.append(f"the {what} {part.key} is claimed by {names}")
                owners[part.key] = part.plugin
        self._find_path_conflicts(reserved_paths)

    def _find_path_conflicts(self, reserved_paths: Collection[str]) -> None:
        """Find paths claimed twice; an HTTP pipeline claims the one of its name."""
        served = [
            _Part(part.plugin, f"/{part.key}", Mount(f"/{part.key}", _nothing))
            for part in self._parts.get(Pipeline, ())
            if isinstance(part.item, HttpPipeline)
        ]
        mounts = [*self._parts.get(Mount, []), *served]
        for index, part in enumerate(mounts):
            taken = [(path, "the core") for path in reserved_paths]
            taken += [
                (earlier.item.path, earlier.plugin)
                for earlier in mounts[:index]
                if earlier.item.surface == part.item.surface
            ]
            self.conflicts += [
                f"the path {part.item.path} is claimed by {owner} and {part.plugin}"
                for path, owner in taken
                if _overlap(path, part.item.path)
            ]

    @property
    def facts(self) -> NodeFacts:
        """What plugins know of the node."""
        return self._services.facts

    @property
    def pipelines(self) -> dict[str, Pipeline]:
        """The pipelines by name."""
        return {part.key: part.item for part in self._parts.get(Pipeline, ())}

    def unit_of(self, capability: int) -> str:
        """Return what the work of a capability is counted in; pixels where nobody does it."""
        for pipeline in self.pipelines.values():
            if capability == getattr(pipeline, "capability", VIDEO):
                return pipeline.unit
        return "pixel"

    @property
    def workers(self) -> tuple[Worker, ...]:
        """The workers, not yet started."""
        return tuple(part.item for part in self._parts.get(Worker, ()))

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """The extra routes, of both surfaces."""
        return tuple(part.item for part in self._parts.get(Mount, ()))

    def owner(self, item: Pipeline | Worker | Mount) -> str:
        """Return the name of the plugin that brought something."""
        return next(p.plugin for parts in self._parts.values() for p in parts if p.item is item)

    def is_required(self, name: str) -> bool:
        """True when the node must not run without this plugin."""
        return self._statuses[name].required

    def statuses(self) -> list[PluginStatus]:
        """Return how every installed or enabled plugin is, by name."""
        return [self._statuses[name] for name in sorted(self._statuses)]

    def degrade(self, name: str, reason: str) -> None:
        """Note that a part of a plugin failed; the rest goes on."""
        if self._statuses[name].state is not PluginState.FAILED:
            self._change(name, PluginState.DEGRADED, reason)

    def recover(self, name: str) -> None:
        """Note that a degraded plugin is well again."""
        if self._statuses[name].state is PluginState.DEGRADED:
            self._change(name, PluginState.OK, "")

    def fail(self, name: str, reason: str) -> None:
        """Withdraw everything that a plugin brought."""
        self._withdraw(name, reason)

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


def _parts(name: str, kind: type[Any], results: Sequence[Any]) -> list[_Part]:
    """Check what a register hook returned."""
    parts = []
    for result in results:
        if not isinstance(result, list | tuple):
            raise PluginError(f"returned {type(result).__name__}, not a list of {kind.__name__}")
        for item in result:
            if not isinstance(item, kind):
                raise PluginError(f"gave {item!r}, which is no {kind.__name__}")
            parts.append(_Part(name, item.path if kind is Mount else item.name, item))
    return parts


def _as_price(plugin: str, answer: object, request: PriceRequest) -> Price:
    if isinstance(answer, Price) and answer.unit == request.unit:
        return answer
    raise PluginFailure(plugin, "podium_price", f"{answer!r} is no such price")


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    """Stand for an application where only its path counts."""


def _overlap(one: str, other: str) -> bool:
    """True when a request could belong to both paths."""
    return one == other or one.startswith(other + "/") or other.startswith(one + "/")


def _as_plugin_error(failure: PluginFailure, public: str) -> PluginError:
    """Keep what a plugin raised on purpose; hide everything else from the peer."""
    if isinstance(failure.cause, PluginError):
        return failure.cause
    return PluginError(f"plugin {failure.plugin}: {failure}", public=public)
