"""What a plugin under test talks to: a context that remembers, and an observer of events."""

from __future__ import annotations

import asyncio
import threading
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from attrs import define, field, frozen
from podium_hookspecs import Event, PluginError, hookimpl

from podium.model import PROTOCOL_VERSION
from podium.units import WHOLE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path

    from podium_hookspecs import Log, Metrics, Price, PriceRequest, Worker

ETH = Fraction(WHOLE)
P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E", bound=Event)


@frozen
class LogLine:
    """One line that a plugin logged."""

    level: str
    event: str
    facts: dict[str, Any]


@define(eq=False)
class RecordingLog:
    """A log that keeps its lines."""

    lines: list[LogLine] = field(factory=list)

    def debug(self, event: str, **facts: Any) -> None:
        """Keep a line."""
        self.lines.append(LogLine("debug", event, facts))

    def info(self, event: str, **facts: Any) -> None:
        """Keep a line."""
        self.lines.append(LogLine("info", event, facts))

    def warning(self, event: str, **facts: Any) -> None:
        """Keep a line."""
        self.lines.append(LogLine("warning", event, facts))

    def error(self, event: str, **facts: Any) -> None:
        """Keep a line."""
        self.lines.append(LogLine("error", event, facts))


Series = tuple[str, tuple[tuple[str, str], ...]]


@define(eq=False)
class RecordingMetrics:
    """Metrics that keep their values: ``values[name, labels]``, labels as sorted pairs.

    Counters hold their sum, gauges their last value; ``observed`` holds what histograms saw.
    """

    values: dict[Series, float] = field(factory=dict)
    observed: dict[Series, list[float]] = field(factory=dict)
    _names: set[str] = field(factory=set)

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Callable[..., None]:
        """Return ``inc(amount=1, **labels)``."""
        self._declare(name)

        def inc(amount: float = 1, **given: str) -> None:
            series = self._series(name, labels, given)
            self.values[series] = self.values.get(series, 0.0) + amount

        return inc

    def gauge(self, name: str, help: str, labels: Sequence[str] = ()) -> Callable[..., None]:
        """Return ``set(value, **labels)``."""
        self._declare(name)

        def set_(value: float, **given: str) -> None:
            self.values[self._series(name, labels, given)] = value

        return set_

    def histogram(
        self, name: str, help: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Callable[..., None]:
        """Return ``observe(value, **labels)``."""
        self._declare(name)

        def observe(value: float, **given: str) -> None:
            self.observed.setdefault(self._series(name, labels, given), []).append(value)

        return observe

    def _declare(self, name: str) -> None:
        if name in self._names:
            raise ValueError(f"a series named {name!r} is there already")
        self._names.add(name)

    @staticmethod
    def _series(name: str, labels: Sequence[str], given: dict[str, str]) -> Series:
        if set(labels) != set(given):
            raise ValueError(f"{name} has the labels {sorted(labels)}, not {sorted(given)}")
        return name, tuple(sorted(given.items()))


@define(eq=False)
class RecordingContext:
    """A ``PluginContext`` for tests; its log and metrics can be read.

    ``rates`` are currencies in wei, by lower-case name; ``next`` answers ``next_price``,
    ``usage`` ``slots``.
    """

    state_dir: Path
    plugin: str = "under-test"
    node_version: str = PROTOCOL_VERSION
    orchestrator_id: str = "offchain"
    service_uri: str = "https://127.0.0.1:8935"
    log: Log = field(factory=RecordingLog)
    metrics: Metrics = field(factory=RecordingMetrics)
    state: Any = None
    tasks: list[asyncio.Task[None]] = field(factory=list)
    rates: dict[str, Fraction] = field(factory=lambda: {"wei": Fraction(1), "eth": ETH})
    next: Callable[[PriceRequest], Price] | None = None
    usage: tuple[int, int] = (0, 0)
    workers: dict[str, Worker] = field(factory=dict)
    changes: int = 0

    async def run_blocking(
        self, func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:  # fmt: skip
        """Run a blocking function in a thread."""
        return await asyncio.to_thread(func, *args, **kwargs)

    def spawn(self, coroutine: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run a background task; it is in ``tasks``."""
        self.tasks.append(asyncio.get_running_loop().create_task(coroutine, name=name))

    def slots(self) -> tuple[int, int]:
        """Return ``usage``."""
        return self.usage

    def currency(self, name: str) -> Callable[[Fraction], Fraction]:
        """Return a function from an amount of a currency to wei, by ``rates``."""

        def wei(amount: Fraction) -> Fraction:
            if name.lower() not in self.rates:
                raise PluginError(f"there is no price feed for {name.upper()}")
            return amount * self.rates[name.lower()]

        return wei

    def next_price(self, request: PriceRequest) -> Price:
        """Return what ``next`` answers."""
        if self.next is None:
            raise PluginError("there is no price after this plugin's")
        return self.next(request)

    async def add_worker(self, worker: Worker) -> None:
        """Recover and start a worker; it is in ``workers``."""
        if worker.name in self.workers:
            raise PluginError(f"a worker named {worker.name} is there already")
        self.workers[worker.name] = worker
        await worker.recover()
        await worker.start()

    async def remove_worker(self, name: str, *, drain_s: float = 0.0) -> bool:
        """Close a worker that was added."""
        del drain_s
        worker = self.workers.pop(name, None)
        if worker is None:
            return False
        await worker.close()
        return True

    async def close(self) -> None:
        """Close the workers that were added and cancel the tasks; safe to call twice."""
        for name in list(self.workers):
            await self.remove_worker(name)
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def changed(self) -> None:
        """Count that something else is to be advertised, in ``changes``."""
        self.changes += 1


@define(eq=False)
class HookRecorder:
    """A plugin that only listens: give it to a node beside the plugin under test.

    The node may run in a thread of its own, as ``podium_app``'s do.
    """

    events: list[Event] = field(factory=list)
    _heard: threading.Condition = field(factory=threading.Condition)

    @hookimpl
    def podium_on_event(self, event: Event) -> None:
        """Keep the event."""
        with self._heard:
            self.events.append(event)
            self._heard.notify_all()

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one type, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    async def wait_for(self, kind: type[E], count: int = 1, timeout_s: float = 10.0) -> list[E]:
        """Return the events of one type, once there are so many.

        Raises:
            TimeoutError: there are not.
        """

        def wait() -> None:
            with self._heard:
                if not self._heard.wait_for(lambda: len(self.of(kind)) >= count, timeout_s):
                    raise TimeoutError(f"{len(self.of(kind))} of {count} {kind.__name__}")

        await asyncio.to_thread(wait)
        return self.of(kind)
