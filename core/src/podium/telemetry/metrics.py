"""The node's events as Prometheus series, under the reference's names.

Dashboards and alerts written for go-livepeer work unchanged: names, types,
labels and bucket bounds of the ``livepeer_`` series are its own (operator 7).
What the reference has no name for is exported as ``podium_``.
"""

from __future__ import annotations

import platform
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import singledispatchmethod

from podium_hookspecs import (
    Event,
    JobBodyRead,
    JobFinished,
    JobReceived,
    NodeStarted,
    PaymentReceived,
    PaymentRefused,
    PluginChanged,
    PriceQuoted,
    RedemptionFailed,
    RewardCalled,
    RewardFailed,
    RoundStarted,
    SessionClosed,
    SessionOpened,
    TicketParamsIssued,
    TicketRedeemed,
    TransactionEnded,
    WorkerChanged,
)

from podium.crypto import checksum_address
from podium.telemetry import families
from podium.telemetry.registry import Registry, Spec, number

WEI_PER_GWEI = 10**9
JOBS_REMEMBERED = 10_000
PLUGIN_STATES = ("ok", "degraded", "failed")


class Telemetry:
    """Counts events; renders the page.

    Args:
        node_id: Label of every series: ``<account>-<host name>``, or the host name.
        version: The version that the node advertises.
        per_stream: Also label by stream and sender, as the reference's ``-metricsPerStream``.
    """

    def __init__(self, *, node_id: str, version: str, per_stream: bool = False) -> None:
        self.registry = Registry()
        self._base = {"node_id": node_id, "node_type": "orch"}
        self._per_stream = per_stream
        self._streams: OrderedDict[str, str] = OrderedDict()
        self._families = {
            spec.name: self.registry.add(spec, self._base)
            for spec in families.reference(per_stream)
        }
        self._own = {spec.name: self.registry.add(spec) for spec in families.OWN}
        self.registry.collect_with(_process_lines)
        self._start(version)

    def _start(self, version: str) -> None:
        """Export what the reference has on its page before any work (operator 7.3)."""
        versions = self.registry.add(families.VERSIONS, {"node_type": "orch"})
        versions.set(
            1,
            compiler=platform.python_implementation().lower(),
            goos=sys.platform,
            goversion=f"python{platform.python_version()}",
            livepeerversion=version,
        )
        for name in families.ZERO_GAUGES:
            self._families[name].set(0)
        self._families["livepeer_success_rate"].set(1)
        self._inc("livepeer_winning_tickets_recv", 0, stream="", sender="")
        self._inc("livepeer_value_redeemed", 0, sender="")

    def render(self) -> bytes:
        """Return the page in Prometheus' text format 0.0.4."""
        return self.registry.render()

    def watch(self, name: str, help: str, read: Callable[[], float]) -> None:
        """Export a gauge that is read at each scrape, such as the open connections."""
        family = self.registry.add(Spec(name, help, "gauge"))
        self.registry.before_render(lambda: family.set(read()))

    def plugin_error(self, plugin: str, hook: str) -> None:
        """Count a failed call of a plugin's hook."""
        self._own["podium_plugin_errors_total"].inc(plugin=plugin, hook=hook)

    def gas_prices(
        self, *, minimum_wei: int, suggested_wei: int | None = None, maximum_wei: int = 0
    ) -> None:
        """Export the gas prices, once they are known; a maximum of 0 is none."""
        self._families["livepeer_min_gas_price"].set(minimum_wei / WEI_PER_GWEI)
        if suggested_wei is not None:
            self._families["livepeer_suggested_gas_price"].set(suggested_wei / WEI_PER_GWEI)
        if maximum_wei:
            self._families["livepeer_max_gas_price"].set(maximum_wei / WEI_PER_GWEI)

    def watch_gas(self, read: Callable[[], tuple[int, int, int]]) -> None:
        """Export the gas prices as they are at each scrape.

        Args:
            read: Returns the minimum, the price now (0: not known yet) and the maximum, wei.
        """

        def refresh() -> None:
            minimum, now, maximum = read()
            self.gas_prices(minimum_wei=minimum, suggested_wei=now or None, maximum_wei=maximum)

        self.registry.before_render(refresh)

    def watch_chain(
        self, read: Callable[[], Mapping[str, Mapping[tuple[str, ...], float]]]
    ) -> None:
        """Export what is read from the chain's parts at each scrape.

        Args:
            read: Returns values by family (``families.CHAIN``) and by its labels' values.
        """
        specs = {spec.name: spec for spec in families.CHAIN}
        found = {name: self.registry.add(spec) for name, spec in specs.items()}

        def refresh() -> None:
            for name, values in read().items():
                for key, value in values.items():
                    found[name].set(value, **dict(zip(specs[name].labels, key, strict=True)))

        self.registry.before_render(refresh)

    def max_sessions(self, count: int) -> None:
        """Export the limit of sessions."""
        self._families["livepeer_max_sessions_total"].set(count)

    @singledispatchmethod
    def on_event(self, event: Event) -> None:
        """Count an event; unknown ones are ignored."""
        del event

    @on_event.register
    def _(self, event: NodeStarted) -> None:
        self.max_sessions(event.max_sessions)

    @on_event.register
    def _(self, event: SessionOpened) -> None:
        self._families["livepeer_current_sessions_total"].set(event.open_sessions)

    @on_event.register
    def _(self, event: SessionClosed) -> None:
        self._families["livepeer_current_sessions_total"].set(event.open_sessions)

    @on_event.register
    def _(self, event: PriceQuoted) -> None:
        if event.unit == "pixel":
            sender = self._sender(event.sender)
            self._set("livepeer_transcoding_price", float(event.wei_per_unit), sender="")
            if self._per_stream:
                self._set("livepeer_transcoding_price", float(event.wei_per_unit), sender=sender)

    @on_event.register
    def _(self, event: TicketParamsIssued) -> None:
        sender = self._sender(event.sender)
        face_value, max_float = event.face_value / WEI_PER_GWEI, event.max_float / WEI_PER_GWEI
        self._families["livepeer_gateway_ticket_face_value"].set(face_value, sender=sender)
        self._families["livepeer_gateway_max_float"].set(max_float, sender=sender)

    @on_event.register
    def _(self, event: PaymentReceived) -> None:
        labels = {"stream": event.stream, "sender": self._sender(event.sender)}
        gwei = float(event.expected_value / WEI_PER_GWEI)
        self._inc("livepeer_ticket_value_recv", gwei, **labels)
        self._inc("livepeer_tickets_recv", event.tickets, **labels)
        self._inc("livepeer_winning_tickets_recv", event.winners, **labels)

    @on_event.register
    def _(self, event: PaymentRefused) -> None:
        if event.ticket:
            labels = {"stream": event.stream, "sender": self._sender(event.sender)}
            self._inc("livepeer_payment_recv_errors", 1, error_code="PaymentError", **labels)

    @on_event.register
    def _(self, event: JobReceived) -> None:
        if event.media_duration_s is None:
            return
        self._streams[event.job_id] = event.stream
        if len(self._streams) > JOBS_REMEMBERED:
            self._streams.popitem(last=False)
        self._inc("livepeer_segment_source_emerged_unprocessed_total", 1, stream=event.stream)
        self._observe(
            "livepeer_source_segment_duration_seconds", event.media_duration_s, stream=event.stream
        )

    @on_event.register
    def _(self, event: JobBodyRead) -> None:
        stream = self._streams.get(event.job_id)
        if stream is not None:
            self._inc("livepeer_segment_transcoded_downloaded_total", 1, stream=stream)
            self._observe("livepeer_download_time_seconds", event.seconds, stream=stream)

    @on_event.register
    def _(self, event: JobFinished) -> None:
        stream = self._streams.pop(event.job_id, "")
        self._own["podium_jobs_total"].inc(pipeline=event.pipeline, outcome=event.outcome)
        self._own["podium_job_queue_seconds"].observe(event.queued_s, pipeline=event.pipeline)
        self._own["podium_job_run_seconds"].observe(event.run_s, pipeline=event.pipeline)
        if event.media_duration_s is not None and event.units:
            self._inc("livepeer_mil_pixels_processed", event.units / 1e6, stream=stream)
        if event.media_duration_s is not None and event.outcome == "ok":
            self._transcoded(event, event.media_duration_s)

    def _transcoded(self, event: JobFinished, media_duration_s: float) -> None:
        labels = {
            "profiles": event.attributes.get("profiles", ""),
            "trusted": "trusted",
            "verified": "verified",
        }
        self._families["livepeer_segment_transcoded_total"].inc(1, **labels)
        self._families["livepeer_transcode_time_seconds"].observe(event.run_s, **labels)
        if event.run_s > 0:
            score = media_duration_s / event.run_s
            self._families["livepeer_transcode_score"].observe(score, **labels)

    @on_event.register
    def _(self, event: WorkerChanged) -> None:
        up = event.state in {"ok", "degraded"}
        self._own["podium_worker_up"].set(int(up), worker=event.worker)
        self._own["podium_worker_slots"].set(event.slots, worker=event.worker)

    @on_event.register
    def _(self, event: PluginChanged) -> None:
        for state in PLUGIN_STATES:
            is_it = int(state == event.state)
            self._own["podium_plugin_state"].set(is_it, plugin=event.plugin, state=state)

    @on_event.register
    def _(self, event: TicketRedeemed) -> None:
        gwei = event.face_value / WEI_PER_GWEI
        self._inc("livepeer_value_redeemed", gwei, sender=self._sender(event.sender))
        if event.paid is not None:
            self._own["podium_value_paid_gwei"].inc(event.paid / WEI_PER_GWEI)

    @on_event.register
    def _(self, event: RedemptionFailed) -> None:
        self._families["livepeer_ticket_redemption_errors"].inc()
        if event.final:
            self._own["podium_value_lost_gwei"].inc(event.face_value / WEI_PER_GWEI)

    @on_event.register
    def _(self, event: RewardCalled) -> None:
        del event
        self._own["podium_rewards_total"].inc()

    @on_event.register
    def _(self, event: RewardFailed) -> None:
        del event
        self._families["livepeer_reward_call_errors"].inc()

    @on_event.register
    def _(self, event: RoundStarted) -> None:
        self._own["podium_round"].set(event.round_number)
        self._own["podium_round_active"].set(int(event.active))

    @on_event.register
    def _(self, event: TransactionEnded) -> None:
        self._own["podium_transactions_total"].inc(purpose=event.purpose, outcome=event.outcome)
        if event.cost:
            self._own["podium_gas_cost_gwei"].inc(event.cost / WEI_PER_GWEI, purpose=event.purpose)

    def _sender(self, sender: bytes) -> str:
        return checksum_address(sender)

    def _fit(self, name: str, labels: dict[str, str]) -> dict[str, str]:
        """Keep the labels that this family has: stream and sender only when asked for."""
        known = self._families[name].spec.labels
        named = {"manifest_id" if key == "stream" else key: text for key, text in labels.items()}
        return {key: text for key, text in named.items() if key in known}

    def _inc(self, name: str, amount: float, **labels: str) -> None:
        self._families[name].inc(amount, **self._fit(name, labels))

    def _set(self, name: str, value: float, **labels: str) -> None:
        self._families[name].set(value, **self._fit(name, labels))

    def _observe(self, name: str, value: float, **labels: str) -> None:
        self._families[name].observe(value, **self._fit(name, labels))


def _process_lines() -> Iterator[str]:
    """Export the process's own figures: dashboards alert on its start time."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.process_collector import ProcessCollector

    for metric in ProcessCollector(registry=CollectorRegistry()).collect():
        (sample,) = metric.samples
        yield f"# HELP {sample.name} {metric.documentation}"
        yield f"# TYPE {sample.name} {metric.type}"
        yield f"{sample.name} {number(sample.value)}"
