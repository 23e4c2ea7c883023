"""The text form, read back by Prometheus' own parser, and its bounds."""

import math

import pytest
from podium.telemetry.metrics import Telemetry
from podium.telemetry.plugin_metrics import PluginMetrics
from podium.telemetry.registry import MAX_SERIES, Registry, Spec, number
from podium_hookspecs import ConfigError, JobFinished, JobReceived, PluginChanged, WorkerChanged
from prometheus_client.parser import text_string_to_metric_families


def samples(registry):
    found = {}
    for family in text_string_to_metric_families(registry.render().decode()):
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_hostile_label_values_cannot_break_the_page():
    registry = Registry()
    value = 'a"b\\c\nlivepeer_fake 1 \udc80'
    registry.add(Spec("jobs", "Help with \\ and\nlines.", "gauge", ("name",))).set(1, name=value)
    page = registry.render().decode()
    assert page.count("\n") == 3
    ((key, _),) = samples(registry).items()
    assert key == ("jobs", (("name", value.replace("\udc80", "?")),))


def test_a_plugins_histogram_counts_a_bound_in_its_own_bucket():
    registry = Registry()
    observe = PluginMetrics(registry, "my-plugin").histogram("wait", "Wait.", [2, 1, math.inf, 1])
    for value in (1, 1.5, 3):
        observe(value)
    assert samples(registry) == {
        ("podium_my_plugin_wait_bucket", (("le", "1"),)): 1,
        ("podium_my_plugin_wait_bucket", (("le", "2"),)): 2,
        ("podium_my_plugin_wait_bucket", (("le", "+Inf"),)): 3,
        ("podium_my_plugin_wait_count", ()): 3,
        ("podium_my_plugin_wait_sum", ()): 5.5,
    }


def test_counters_past_the_limit_count_together():
    registry = Registry()
    family = registry.add(Spec("seen", "Seen.", "counter", ("name",)))
    for n in range(MAX_SERIES + 7):
        family.inc(name=f"n{n}")
    family.inc(name="n0")
    page = registry.render().decode()
    assert page.count("seen{") == MAX_SERIES + 1
    assert 'seen{name="other"} 7\n' in page
    assert 'seen{name="n0"} 2\n' in page


def test_gauges_past_the_limit_forget_the_oldest():
    registry = Registry()
    family = registry.add(Spec("last", "Last.", "gauge", ("name",)))
    for n in range(MAX_SERIES + 1):
        family.set(n, name=f"n{n}")
    found = samples(registry)
    assert len(found) == MAX_SERIES
    assert ("last", (("name", "n0"),)) not in found
    assert found["last", (("name", f"n{MAX_SERIES}"),)] == MAX_SERIES


def test_misuse_is_refused():
    registry = Registry()
    family = registry.add(Spec("x", "X.", "counter", ("a",)))
    with pytest.raises(ValueError, match="does not go down"):
        family.inc(-1, a="b")
    with pytest.raises(ValueError, match="labels must be"):
        family.inc()
    with pytest.raises(ValueError, match="is another one"):
        registry.add(Spec("x", "Y.", "counter"))
    metrics = PluginMetrics(registry, "p")
    with pytest.raises(ConfigError):
        metrics.counter("x y", "X.")
    with pytest.raises(ConfigError):
        metrics.counter("x", "X.", ["1"])
    for _ in range(2):
        metrics.counter("x", "X.")()
    assert b"podium_p_x 2\n" in registry.render()


def test_a_plugin_cannot_spoil_the_page():
    registry = Registry()
    metrics = PluginMetrics(registry, "p")
    metrics.gauge("g", "G." * 5000, ["who"])(1.5, who=7)
    metrics.counter("c", "C.", ["who"])(who="x" * 10_000)
    with pytest.raises(ValueError, match="could not convert"):
        metrics.gauge("h", "H.")("much")
    page = registry.render()
    assert b'podium_p_g{who="7"} 1.5\n' in page
    assert max(map(len, page.splitlines())) < 1000
    for peer in range(300):
        metrics.gauge("g", "G." * 5000, ["who"])(peer, who=f"peer {peer}")
    assert len(registry.render()) < 100_000
    for family in range(200 - 3):
        metrics.counter(f"c{family}", "C.")
    with pytest.raises(ConfigError, match="one metric too many"):
        metrics.counter("last", "C.")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (1, "1"), (100000, "100000"), (1000000, "1e+06"), (123456789, "1.23456789e+08"),
        (0.1, "0.1"), (0.0001, "0.0001"), (0.00001, "1e-05"), (-2.5, "-2.5"), (1e100, "1e+100"),
        (math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN"),
    ],
)  # fmt: skip
def test_numbers_are_short_and_exact(value, text):
    assert number(value) == text
    assert math.isnan(value) or float(text.replace("Inf", "inf")) == value


def finished(**given):
    facts = {
        "job_id": "j", "session_id": "s", "sender": bytes(20), "pipeline": "transcode",
        "capability": 0, "model": None, "worker": "cpu", "outcome": "ok", "units": 2_000_000,
        "unit": "pixel", "queued_s": 0.001, "run_s": 0.5, "media_duration_s": 2.0,
        "attributes": {"profiles": "a,b"},
    }  # fmt: skip
    return JobFinished(**(facts | given))


def test_a_failed_job_counts_its_outcome_and_what_was_billed_only():
    telemetry = Telemetry(node_id="n", version="0.9.1")
    telemetry.on_event(finished(outcome="job_failed"))
    page = telemetry.render().decode()
    assert 'podium_jobs_total{outcome="job_failed",pipeline="transcode"} 1\n' in page
    assert 'livepeer_mil_pixels_processed{node_id="n",node_type="orch"} 2\n' in page
    assert "livepeer_segment_transcoded_total" not in page
    assert "livepeer_transcode_time_seconds" not in page


def test_a_job_that_is_no_segment_leaves_segment_series_alone():
    telemetry = Telemetry(node_id="n", version="0.9.1")
    telemetry.on_event(JobReceived("j", "s", bytes(20), "text-to-image"))
    telemetry.on_event(finished(media_duration_s=None, unit="token", pipeline="text-to-image"))
    page = telemetry.render().decode()
    assert "livepeer_segment" not in page
    assert "livepeer_transcode_" not in page
    assert "mil_pixels" not in page
    assert 'podium_job_run_seconds_count{pipeline="text-to-image"} 1\n' in page


def test_workers_plugins_and_watched_values_are_exported():
    telemetry = Telemetry(node_id="n", version="0.9.1")
    telemetry.on_event(WorkerChanged("cpu", "down", "crashed", 2))
    telemetry.on_event(PluginChanged("p", "ok", ""))
    telemetry.on_event(PluginChanged("p", "degraded", "task"))
    telemetry.plugin_error("p", "podium_on_event")
    open_now = [3]
    telemetry.watch("podium_open_connections", "Connections.", lambda: open_now[0])
    page = telemetry.render().decode()
    for line in (
        'podium_worker_up{worker="cpu"} 0',
        'podium_worker_slots{worker="cpu"} 2',
        'podium_plugin_state{plugin="p",state="ok"} 0',
        'podium_plugin_state{plugin="p",state="degraded"} 1',
        'podium_plugin_errors_total{hook="podium_on_event",plugin="p"} 1',
        "podium_open_connections 3",
    ):
        assert line + "\n" in page
    open_now[0] = 4
    assert "podium_open_connections 4\n" in telemetry.render().decode()


def test_the_process_is_measured():
    telemetry = Telemetry(node_id="n", version="0.9.1")
    found = samples(telemetry.registry)
    assert found["process_resident_memory_bytes", ()] > 1e6
    assert found["process_cpu_seconds_total", ()] > 0
    assert ("process_start_time_seconds", ()) in found
