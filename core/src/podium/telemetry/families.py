"""Which metrics there are: the reference's (operator 7.2), and our own."""

from __future__ import annotations

from podium.telemetry.registry import Kind, Spec

VERSIONS = Spec(
    "livepeer_versions",
    "Versions used by LivePeer node.",
    "gauge",
    ("compiler", "goos", "goversion", "livepeerversion"),
)
ZERO_GAUGES = (
    "livepeer_current_sessions_total",
    "livepeer_transcoders_capacity",
    "livepeer_transcoders_load",
    "livepeer_transcoders_number",
)
DOWNLOAD_BOUNDS = (0.1, 0.15, 0.2, 0.5, 10)
DURATION_BOUNDS = (0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 10, 15, 20)
TRANSCODE_BOUNDS = (0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 10)
SCORE_BOUNDS = (0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 10, 15, 20, 40)
JOB_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_RUN = ("profiles", "trusted", "verified")


def reference(per_stream: bool) -> list[Spec]:
    """Return the reference's families.

    Args:
        per_stream: Add its ``manifest_id`` and ``sender`` labels.
    """
    stream = ("manifest_id",) if per_stream else ()
    sender = ("sender",) if per_stream else ()
    both = stream + sender
    return [
        _gauge("current_sessions_total", "Number of streams currently transcoding"),
        _gauge("max_sessions_total", "Max Sessions"),
        _gauge(
            "success_rate", "Number of transcoded segments divided on number of source segments"
        ),
        _gauge(
            "transcoders_capacity",
            "Total advertised capacity of transcoders currently connected to orchestrator",
        ),
        _gauge("transcoders_load", "Total load of transcoders currently connected to orchestrator"),
        _gauge("transcoders_number", "Number of transcoders currently connected to orchestrator"),
        _counter(
            "segment_source_emerged_unprocessed_total",
            "Raw number of segments emerged from segmenter.",
            stream,
        ),
        _histogram(
            "source_segment_duration_seconds",
            "Source segment's duration",
            stream,
            DURATION_BOUNDS,
        ),
        _counter("segment_transcoded_downloaded_total", "SegmentDownloaded", stream),
        _histogram("download_time_seconds", "Download time", stream, DOWNLOAD_BOUNDS),
        _counter("segment_transcoded_total", "SegmentTranscoded", _RUN),
        _histogram("transcode_time_seconds", "TranscodeTime, seconds", _RUN, TRANSCODE_BOUNDS),
        _histogram(
            "transcode_score",
            "Ratio of source segment duration vs. transcode time",
            _RUN,
            SCORE_BOUNDS,
        ),
        _counter("mil_pixels_processed", "Million pixels processed", stream),
        _counter("ticket_value_recv", "Ticket value received", both),
        _counter("tickets_recv", "Tickets received", both),
        _counter("winning_tickets_recv", "Winning tickets received", both),
        _counter("payment_recv_errors", "Errors when receiving payments", ("error_code", *both)),
        _gauge("gateway_max_float", "Last maximum float for the gateway node", ("sender",)),
        _gauge(
            "gateway_ticket_face_value",
            "Last ticket face value for the gateway node",
            ("sender",),
        ),
        _gauge("transcoding_price", "Transcoding price per pixel", sender),
        _counter("value_redeemed", "Winning ticket value redeemed", sender),
        _gauge("min_gas_price", "Minimum gas price to use for gas price suggestions"),
        _gauge("max_gas_price", "Maximum gas price to use for gas price suggestions"),
        _gauge("suggested_gas_price", "Suggested gas price for winning ticket redemption"),
        _counter("ticket_redemption_errors", "Errors when redeeming tickets"),
        _counter("reward_call_errors", "Errors when calling reward"),
    ]


OWN = (
    Spec("podium_jobs_total", "Jobs by outcome.", "counter", ("pipeline", "outcome")),
    Spec(
        "podium_job_queue_seconds",
        "Time from a job's body to the start of its run.",
        "histogram",
        ("pipeline",),
        JOB_BOUNDS,
    ),
    Spec("podium_job_run_seconds", "Time of a job's run.", "histogram", ("pipeline",), JOB_BOUNDS),
    Spec(
        "podium_plugin_errors_total", "Failed calls of plugins' hooks.", "counter",
        ("plugin", "hook"),
    ),
    Spec("podium_plugin_state", "1 for the state a plugin is in.", "gauge", ("plugin", "state")),
    Spec("podium_worker_up", "1 while a worker takes jobs.", "gauge", ("worker",)),
    Spec("podium_worker_slots", "Jobs a worker runs at a time.", "gauge", ("worker",)),
    Spec("podium_value_paid_gwei", "What redeemed tickets brought, as far as known.", "counter"),
    Spec("podium_value_lost_gwei", "Face value of tickets that never can be redeemed.", "counter"),
    Spec(
        "podium_transactions_total", "Transactions by outcome.", "counter", ("purpose", "outcome")
    ),
    Spec("podium_gas_cost_gwei", "Gas paid for.", "counter", ("purpose",)),
    Spec("podium_rewards_total", "Rewards called.", "counter"),
    Spec("podium_round", "The protocol's last initialized round.", "gauge"),
    Spec("podium_round_active", "1 while this orchestrator is in the active set.", "gauge"),
)  # fmt: skip


CHAIN = (
    Spec("podium_tickets", "Winning tickets by state.", "gauge", ("state",)),
    Spec("podium_tickets_gwei", "Face value of winning tickets by state.", "gauge", ("state",)),
    Spec("podium_last_rewarded_round", "The last round with a reward.", "gauge"),
    Spec("podium_reward_alarm", "1 when a round nears its end without a reward.", "gauge"),
    Spec("podium_stake_lpt", "Stake of this orchestrator, its delegators' too.", "gauge"),
    Spec("podium_balance_eth", "Ether of an account.", "gauge", ("account",)),
    Spec("podium_rpc_up", "1 while an endpoint is used.", "gauge", ("endpoint",)),
    Spec("podium_rpc_lag_blocks", "Blocks that an endpoint is behind.", "gauge", ("endpoint",)),
    Spec("podium_head_age_seconds", "Age of the newest block seen.", "gauge"),
)
"""Read from the chain's parts at each scrape."""


def _spec(
    kind: Kind, name: str, help: str, labels: tuple[str, ...], buckets: tuple[float, ...] = ()
) -> Spec:
    return Spec("livepeer_" + name, help, kind, labels, buckets, exclusive=True)


def _gauge(name: str, help: str, labels: tuple[str, ...] = ()) -> Spec:
    return _spec("gauge", name, help, labels)


def _counter(name: str, help: str, labels: tuple[str, ...] = ()) -> Spec:
    return _spec("counter", name, help, labels)


def _histogram(name: str, help: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Spec:
    return _spec("histogram", name, help, labels, buckets)
