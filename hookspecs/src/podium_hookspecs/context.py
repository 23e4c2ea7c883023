"""What the host gives each plugin. Nothing here is shared between plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from fractions import Fraction
    from pathlib import Path

    from podium_hookspecs.money import Price, PriceRequest
    from podium_hookspecs.worker import Worker

P = ParamSpec("P")
R = TypeVar("R")


class Log(Protocol):
    """A structured log: an event name, then facts. Never a secret, never a whole request."""

    def debug(self, event: str, **facts: Any) -> None:
        """For the developer."""

    def info(self, event: str, **facts: Any) -> None:
        """For the operator, in normal times."""

    def warning(self, event: str, **facts: Any) -> None:
        """The operator may have to act."""

    def error(self, event: str, **facts: Any) -> None:
        """The operator has to act."""


class Metrics(Protocol):
    """The plugin's own series; their names get the prefix ``podium_<plugin>_``."""

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Callable[..., None]:
        """Return ``inc(amount=1, **labels)``."""

    def gauge(self, name: str, help: str, labels: Sequence[str] = ()) -> Callable[..., None]:
        """Return ``set(value, **labels)``."""

    def histogram(
        self, name: str, help: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Callable[..., None]:
        """Return ``observe(value, **labels)``."""


class PluginContext(Protocol):
    """A plugin's view of the node.

    Attributes:
        plugin: The plugin's name, as in ``[plugins.NAME]``.
        node_version: Version that the node advertises.
        orchestrator_id: Checksummed address of the ticket recipient, or ``"offchain"``.
        service_uri: Where peers reach this node, without a trailing slash.
        state_dir: A folder of the plugin's own, kept over restarts.
        log: Bound to the plugin's name.
        metrics: The plugin's own series.
        state: Whatever the plugin keeps between its hooks; None at first. Hooks are functions of
            a module, and a module keeps no state: two nodes in one process share it.
    """

    plugin: str
    node_version: str
    orchestrator_id: str
    service_uri: str
    state_dir: Path
    log: Log
    metrics: Metrics
    state: Any

    def run_blocking(
        self, func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Awaitable[R]:
        """Run a blocking function in the plugin's own bounded thread pool."""

    def spawn(self, coroutine: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run a background task until shutdown; its failure is logged and degrades the plugin.

        Raises:
            PluginError: 1000 of them run already.
        """

    async def add_worker(self, worker: Worker) -> None:
        """Give the node one more worker while it runs; it is recovered and started.

        Raises:
            PluginError: a worker of that name is there already.

        .. versionadded:: 1.2
        """

    async def remove_worker(self, name: str, *, drain_s: float = 0.0) -> bool:
        """Close a worker that ``add_worker`` gave; False when there is none of that name.

        Args:
            name: The worker's name.
            drain_s: How long its running jobs may still take; it gets no new ones meanwhile.

        .. versionadded:: 1.2
        """

    def changed(self) -> None:
        """Say that what this plugin's pipelines offer has changed, so it is advertised anew.

        .. versionadded:: 1.2
        """

    def slots(self) -> tuple[int, int]:
        """Return the slots of the workers that are up: those in use, and all. (0, 0) at start.

        .. versionadded:: 1.2
        """

    def currency(self, name: str) -> Callable[[Fraction], Fraction]:
        """Return ``wei(amount)``, which says what an amount of a currency is in wei, exactly.

        Ask for each currency at start, in a register hook: then the node looks after its price,
        and the plugin fails at once where none can be had. ``wei`` raises ``PluginError`` while
        no price is known.

        Args:
            name: ``"wei"``, ``"eth"``, or a currency of the node's price feed, as ``"USD"``;
                upper or lower case are the same.

        .. versionadded:: 1.2
        """

    def next_price(self, request: PriceRequest) -> Price:
        """Return what would be charged without this plugin, for ``podium_price`` to build on.

        That is the answer of the plugins after it in the file, at last the configured price.

        Raises:
            PluginError: one of them refuses; let it through.

        .. versionadded:: 1.2
        """
