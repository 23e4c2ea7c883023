"""The plugins in use: what they brought, how each of them is, and how that changes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING

from attrs import define, field, frozen
from podium_hookspecs import Mount, Pipeline, PluginChanged, Worker, WorkerChanged, WorkerState

from podium.pluginhost.call import Hooks
from podium.pluginhost.context import HostContext, NodeFacts, WorkerDoor
from podium.pluginhost.guarded import GuardedPipeline
from podium.pluginhost.load import Loaded
from podium.pluginhost.parts import Part, conflicts
from podium.pluginhost.status import PluginState, PluginStatus
from podium.pluginhost.ward import Ward
from podium.pluginhost.whose import home, owner_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import FrameType

    from podium_hookspecs import Event, Log, Metrics

    from podium.config.settings import PluginSettings, Settings

BLOCK_WEIGHT = 3
"""Slow calls that one blocked loop counts as."""
REMEMBERED_S = 600.0
"""How long a plugin's state speaks of a blocked loop."""
SLOW_CALL_S = 0.05
"""A hook that takes longer holds up every job of the node."""


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
class Leaving:
    """A plugin that is no part of the node any more, and has yet to end.

    Attributes:
        loaded: What it was.
        ward: Knows when its last job is done.
        pipelines: To be closed.
        workers: To be drained, those that it added itself too.
    """

    loaded: Loaded
    ward: Ward
    pipelines: tuple[GuardedPipeline, ...]
    workers: tuple[Worker, ...]


@define(eq=False)
class Roster:
    """The plugins of one node, or of a draft of it."""

    _services: Services
    _settings: Settings
    _statuses: dict[str, PluginStatus] = field(factory=dict)
    _loaded: dict[str, Loaded] = field(factory=dict)
    _contexts: list[HostContext] = field(factory=list)
    _parts: list[Part] = field(factory=list)
    _wards: dict[str, Ward] = field(factory=dict)
    _hooks: Hooks = field(init=False)
    config_problems: dict[str, tuple[str, ...]] = field(factory=dict, init=False)
    """Problems of each plugin's section: ``plugins.NAME.key: text``."""
    conflicts: list[str] = field(factory=list, init=False)
    """Names and paths that two plugins claim, or a plugin and the core."""

    def __attrs_post_init__(self) -> None:
        self._hooks = Hooks(self._timed, lambda: self._skipped)

    @property
    def pipelines(self) -> dict[str, Pipeline]:
        """The pipelines by name, but those of plugins that are withdrawn for a while."""
        return {part.key: part.item for part in self._offered(Pipeline)}

    @property
    def loaded(self) -> Mapping[str, Loaded]:
        """The plugins in use by name, in the order in which they are asked."""
        return self._loaded

    @property
    def services(self) -> Services:
        """What the node gives its plugins."""
        return self._services

    @property
    def pipeline_owners(self) -> dict[str, str]:
        """The plugin of each pipeline, those that are withdrawn for a while too."""
        return {part.key: part.plugin for part in self._parts if part.kind is Pipeline}

    def workers_of(self, name: str) -> list[Worker]:
        """Return the workers of one plugin, those that it added itself too."""
        brought = [p.item for p in self._parts if p.kind is Worker and p.plugin == name]
        context = self._loaded[name].context if name in self._loaded else None
        return brought if context is None else [*brought, *context.added_workers]

    @property
    def workers(self) -> tuple[Worker, ...]:
        """The workers that plugins brought when they were loaded."""
        return tuple(part.item for part in self._parts if part.kind is Worker)

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """The extra routes, of both surfaces."""
        return tuple(part.item for part in self._offered(Mount))

    def _offered(self, kind: type) -> Iterator[Part]:
        return (part for part in self._parts if part.kind is kind and not part.ward.withdrawn)

    def plugin_of(self, kind: type, key: str) -> str | None:
        """Return the name of the plugin that brought what has this name or path."""
        found = (part.plugin for part in self._parts if part.kind is kind and part.key == key)
        return next(found, None)

    def owner(self, item: Pipeline | Worker | Mount) -> str:
        """Return the name of the plugin that brought something."""
        return next(part.plugin for part in self._parts if item is part.item or item is part.given)

    @staticmethod
    def hold(pipeline: Pipeline) -> AbstractContextManager[None]:
        """Keep a pipeline's plugin open while a job needs it."""
        return pipeline.ward.hold() if isinstance(pipeline, GuardedPipeline) else nullcontext()

    def is_required(self, name: str) -> bool:
        """True when the node must not run without this plugin."""
        return self._statuses[name].required

    def statuses(self) -> list[PluginStatus]:
        """Return how every installed or enabled plugin is, by name."""
        return [self._statuses[name] for name in sorted(self._statuses)]

    def degrade(self, name: str, reason: str) -> None:
        """Note that a part of a plugin failed; the rest goes on."""
        if (ward := self._wards.get(name)) is not None:
            ward.trouble("host", reason)

    def recover(self, name: str) -> None:
        """Note that a degraded plugin is well again."""
        if (ward := self._wards.get(name)) is not None:
            ward.clear()

    def fail(self, name: str, reason: str) -> None:
        """Withdraw everything that a plugin brought."""
        self._withdraw(name, reason)

    def _withdraw(self, name: str, reason: str) -> None:
        """Use nothing of a plugin from now on."""
        self._hooks.forget(name)
        self._loaded.pop(name, None)
        self._wards.pop(name, None)
        self._parts = [part for part in self._parts if part.plugin != name]
        self._change(name, PluginState.FAILED, reason)

    def _judge(self, ward: Ward) -> None:
        """Bring a plugin's state up to its conduct."""
        if self._wards.get(ward.plugin) is not ward:
            return  # it is not part of the node any more
        state = PluginState.DEGRADED if ward.troubles else PluginState.OK
        self._change(ward.plugin, PluginState.FAILED if ward.withdrawn else state, ward.reason)

    def _change(self, name: str, state: PluginState, reason: str) -> None:
        status = self._statuses[name]
        if (status.state, status.reason) == (state, reason):
            return
        status.state, status.reason = state, reason
        self._services.on_event(PluginChanged(name, state.value, reason))

    def _worker_changed(self, event: WorkerChanged) -> None:
        """Have a plugin's state say that a worker of it is down."""
        name = self.plugin_of(Worker, event.worker)
        ward = None if name is None else self._wards.get(name)
        if ward is None:
            return
        about = f"worker {event.worker}"
        if event.state == WorkerState.DOWN.value:
            ward.trouble(about, f"{about} is down: {event.reason}")
        else:
            ward.clear(about)

    def _timed(self, name: str, hook: str, seconds: float) -> None:
        """Hold a plugin's hook to its budget of time."""
        ward = self._wards.get(name)
        if ward is None:
            return
        if seconds <= SLOW_CALL_S:
            ward.good(hook)
        else:
            limit_ms = SLOW_CALL_S * 1000
            ward.strike(hook, f"{hook} takes more than {limit_ms:g} ms, and all else waits for it")

    @property
    def _skipped(self) -> frozenset[str]:
        """The plugins that are asked nothing for a while; one that is required always is."""
        gone = (name for name, ward in self._wards.items() if ward.withdrawn)
        return frozenset(name for name in gone if not self._statuses[name].required)

    def blocked(self, frame: FrameType | None) -> tuple[str, str] | None:
        """Return the plugin whose code a stack is in, and where; None when it is nobody's."""
        return owner_of(frame, {name: home(one.plugin) for name, one in list(self._loaded.items())})

    def blame(self, name: str, about: str, reason: str) -> None:
        """Count something that a plugin did to the whole node."""
        if (ward := self._wards.get(name)) is not None:
            self._services.on_error(name, about)
            ward.strike(about, reason, BLOCK_WEIGHT)
            ward.trouble(about, reason)
            ward.later(REMEMBERED_S, lambda: ward.clear(about))

    def conflicts_with(
        self, draft: Roster, leaving: Collection[str], reserved_paths: Collection[str]
    ) -> list[str]:
        """Find what a draft's plugins and those that stay both claim."""
        stay = [part for part in self._parts if part.plugin not in leaving]
        return conflicts([*stay, *draft._parts], reserved_paths)

    def adopt(
        self, draft: Roster, settings: Settings, leaving: Collection[str], order: list[str]
    ) -> list[Leaving]:
        """Take a draft's plugins in, and let some go, at once.

        Args:
            draft: Made with ``inspect``, started, and no more used after this.
            settings: Hold from now on.
            leaving: Names of plugins that go; a draft may bring another of the same name.
            order: Names of all plugins, in the order in which they are asked.

        Returns:
            Those that go, to be ended with ``end``.
        """
        gone = [self._let_go(name) for name in leaving if name in self._loaded]
        self._settings = settings
        self._hooks.take_over(draft._hooks, order)
        loaded = self._loaded | draft._loaded
        self._loaded = {name: loaded[name] for name in order if name in loaded}
        self._wards |= draft._wards
        self._contexts += draft._contexts
        self.config_problems |= draft.config_problems
        self._parts = sorted(
            [*self._parts, *draft._parts], key=lambda part: order.index(part.plugin)
        )
        for name, ward in draft._wards.items():
            ward.changed = self._judge
            draft._loaded[name].context.move_in(self._services.workers)
        self._take_statuses(draft, settings, order)
        return gone

    def _take_statuses(self, draft: Roster, settings: Settings, order: list[str]) -> None:
        """Take over how a draft's plugins are, and which of the others are still there."""
        for name in [name for name in self._statuses if name not in order]:
            if name not in draft._statuses:
                self._change(name, PluginState.NOT_ENABLED, "")
                del self._statuses[name]
        for name, status in draft._statuses.items():
            old = self._statuses.get(name)
            idle = status.state is PluginState.NOT_ENABLED
            if old is not None and idle and name in order:
                old.found = status.found  # it goes on as it was, or still fails
                continue
            self._statuses[name] = status
            if old is None or (old.state, old.reason) != (status.state, status.reason):
                self._services.on_event(PluginChanged(name, status.state.value, status.reason))
        for name, ward in self._wards.items():
            section = settings.plugins.get(name)
            if section is not None:
                self._statuses[name].required = section.required
                limit(ward, section)

    def _let_go(self, name: str) -> Leaving:
        loaded, ward = self._loaded.pop(name), self._wards.pop(name)
        mine = [part for part in self._parts if part.plugin == name]
        self._parts = [part for part in self._parts if part.plugin != name]
        self._hooks.forget(name)
        ward.closed = True
        workers = loaded.context.hand_in_workers()
        loaded.context.move_in(WorkerDoor())
        return Leaving(
            loaded,
            ward,
            tuple(part.item for part in mine if part.kind is Pipeline),
            (*(part.item for part in mine if part.kind is Worker), *workers),
        )


def limit(ward: Ward, section: PluginSettings) -> None:
    """Hold a plugin's jobs to what its section says."""
    ward.job_timeout_s = section.job_timeout_s
    ward.max_output_bytes = section.max_output_mb * 2**20
