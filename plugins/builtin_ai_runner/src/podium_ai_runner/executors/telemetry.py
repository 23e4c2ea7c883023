"""Log lines and metrics of every step in a runner's life."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from attrs import define, field

from podium_ai_runner.executors.values import SlotState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from podium_hookspecs import Log, Metrics

    from podium_ai_runner.executors.values import Key, Progress, SlotStatus

START_BUCKETS_S = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 180, 300, 600)
LABELS = ("pipeline", "model_name")


@define(eq=False)
class Telemetry:
    """Of all slots; make one for each node."""

    log: Log
    _starts: Callable[..., None] = field(init=False)
    _failures: Callable[..., None] = field(init=False)
    _losses: Callable[..., None] = field(init=False)
    _evictions: Callable[..., None] = field(init=False)
    _pulls: Callable[..., None] = field(init=False)
    _seconds: Callable[..., None] = field(init=False)
    _states: Callable[..., None] = field(init=False)
    _pulled: dict[str, int] = field(factory=dict, init=False)

    @classmethod
    def of(cls, log: Log, metrics: Metrics) -> Telemetry:
        """Declare the series."""
        made = cls(log)
        made._starts = metrics.counter("runner_starts_total", "Runners that became ready", LABELS)
        made._failures = metrics.counter(
            "runner_start_failures_total", "Runners that did not become ready", LABELS
        )
        made._losses = metrics.counter(
            "runner_losses_total", "Runners that died or had to be replaced", LABELS
        )
        made._evictions = metrics.counter(
            "runner_evictions_total", "Runners ended to make room, or by an operator", LABELS
        )
        made._pulls = metrics.counter("image_pulls_total", "Images fetched", ("outcome",))
        made._seconds = metrics.histogram(
            "runner_start_seconds", "From the decision to start to ready", START_BUCKETS_S, LABELS
        )
        made._states = metrics.gauge(
            "runner_slots", "Slots by what they are doing", ("device", "state")
        )
        return made

    def starting(self, slot: str, key: Key, what: str) -> None:
        """A runner is being started."""
        self.log.info("runner starts", slot=slot, **_facts(key), what=what)

    def started(self, slot: str, key: Key, version: str, seconds: float) -> None:
        """A runner is ready."""
        self._starts(**_labels(key))
        self._seconds(seconds, **_labels(key))
        self.log.info(
            "runner ready", slot=slot, **_facts(key), version=version, seconds=round(seconds, 3)
        )

    def start_failed(self, slot: str, key: Key, reason: str, retry_s: float, tail: str) -> None:
        """A runner did not become ready."""
        self._failures(**_labels(key))
        self.log.error(
            "runner did not start",
            **{"slot": slot, **_facts(key), "reason": reason, "log_tail": tail},
            retry_s=round(retry_s, 1),
        )

    def lost(self, slot: str, key: Key, reason: str, tail: str) -> None:
        """A runner died, or is being ended because it does not work."""
        self._losses(**_labels(key))
        self.log.warning("runner lost", slot=slot, **_facts(key), reason=reason, log_tail=tail)

    def evicted(self, slot: str, key: Key, reason: str) -> None:
        """A good runner is ended."""
        self._evictions(**_labels(key))
        self.log.info("runner ends", slot=slot, **_facts(key), reason=reason)

    def executor_down(self, slot: str, kind: str, reason: str) -> None:
        """Nothing can be started."""
        self.log.error("executor down", slot=slot, executor=kind, reason=reason)

    def executor_back(self, slot: str, kind: str) -> None:
        """It can again."""
        self.log.info("executor back", slot=slot, executor=kind)

    def fault(self, slot: str, error: BaseException) -> None:
        """A step failed in a way that nobody thought of."""
        self.log.error("slot fault", slot=slot, error=repr(error))

    def swept(self, kind: str, count: int) -> None:
        """Runners nobody owned any more were ended."""
        self.log.warning("leftover runners ended", executor=kind, count=count)

    def pulling(self, progress: Progress) -> None:
        """An image is being fetched: a line for each tenth of it."""
        tenth = progress.percent // 10
        if self._pulled.get(progress.image) != tenth:
            self._pulled[progress.image] = tenth
            self.log.info(
                "image pull",
                image=progress.image,
                percent=progress.percent,
                layers=f"{progress.layers_done}/{progress.layers}",
                size_bytes=progress.bytes_done,
            )

    def pulled(self, image: str, reason: str = "") -> None:
        """An image is here; or it is not, with the reason."""
        self._pulled.pop(image, None)
        self._pulls(outcome="failed" if reason else "ok")
        if reason:
            self.log.error("image pull failed", image=image, reason=reason)
        else:
            self.log.info("image pulled", image=image)

    def states(self, slots: Iterable[SlotStatus]) -> None:
        """Set the gauges to what all slots are doing now, device by device."""
        now = Counter((slot.device, slot.state) for slot in slots)
        for device in {device for device, _ in now}:
            for state in SlotState:
                self._states(now[device, state], device=device, state=state.value)


def _labels(key: Key) -> dict[str, str]:
    return {"pipeline": key.pipeline, "model_name": key.model}


def _facts(key: Key) -> dict[str, str]:
    return {"pipeline": key.pipeline, "model": key.model}
