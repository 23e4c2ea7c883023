"""The process's metrics, in a registry of its own."""

from __future__ import annotations

from attrs import define, field
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180, 600)


@define
class Metrics:
    """What ``/metrics`` shows."""

    registry: CollectorRegistry = field(factory=CollectorRegistry)
    requests: Counter = field(init=False)
    seconds: Histogram = field(init=False)
    waiting: Gauge = field(init=False)
    ready: Gauge = field(init=False)

    def __attrs_post_init__(self) -> None:
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "runner_requests", "Requests of the pipeline", ["status"], registry=self.registry
        )
        self.seconds = Histogram(
            "runner_request_seconds",
            "From a request's head to its reply's end",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.waiting = Gauge(
            "runner_requests_admitted", "Requests that wait or run", registry=self.registry
        )
        self.ready = Gauge(
            "runner_model_ready", "1 when the model is loaded", registry=self.registry
        )

    def text(self) -> bytes:
        """Return the exposition format."""
        return generate_latest(self.registry)
