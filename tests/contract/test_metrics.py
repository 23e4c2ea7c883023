"""Our Prometheus page against those of recorded go-livepeer orchestrators."""

import json
import re
from fractions import Fraction
from pathlib import Path

import pytest
from podium.telemetry.metrics import Telemetry
from podium_hookspecs import (
    JobBodyRead,
    JobFinished,
    JobReceived,
    NodeStarted,
    PaymentReceived,
    PaymentRefused,
    PriceQuoted,
    RedemptionFailed,
    SessionClosed,
    SessionOpened,
    TicketParamsIssued,
    TicketRedeemed,
)

DATA = Path(__file__).parent / "data" / "metrics"
SERIES = json.loads((DATA / "series.json").read_text())
_SAMPLE = re.compile(r"(?P<name>\w+)(\{(?P<labels>.*)\})? (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_SUFFIX = re.compile(r"_(bucket|sum|count)$")


def parse(page):
    """Read a page with a reader of its own: family -> help, type, samples."""
    families = {}
    for line in page.splitlines():
        if line.startswith("# "):
            _, what, name, text = line.split(" ", 3)
            families.setdefault(name, {"samples": {}})[what.lower()] = text
            continue
        match = _SAMPLE.fullmatch(line)
        name = match["name"]
        family = name if name in families else _SUFFIX.sub("", name)
        key = (name, tuple(_LABEL.findall(match["labels"] or "")))
        assert key not in families[family]["samples"], line
        families[family]["samples"][key] = match["value"]
    return {name: family for name, family in families.items() if name.startswith("livepeer_")}


def described(family):
    """Reduce a family to what ``series.json`` says of it."""
    labels = {tuple(n for n, _ in labels if n != "le") for _, labels in family["samples"]}
    found = {"help": family["help"], "type": family["type"], "labels": sorted(map(list, labels))}
    if family["type"] == "histogram":
        bounds = [dict(labels)["le"] for _, labels in family["samples"] if "le" in dict(labels)]
        found["bounds"] = list(dict.fromkeys(bounds))
    return found


def segments(telemetry, count, profiles, pixels):
    for number in range(count):
        job, session = f"j{number}", "s"
        common = {"sender": bytes(20), "pipeline": "transcode"}
        telemetry.on_event(JobReceived(job, session, **common, media_duration_s=2.0))
        telemetry.on_event(JobBodyRead(job, session, 500_000, 0.002))
        telemetry.on_event(
            JobFinished(
                job, session, **common, capability=0, model=None, worker="cpu", outcome="ok",
                units=pixels, unit="pixel", run_s=0.9, media_duration_s=2.0,
                attributes={"profiles": profiles},
            )
        )  # fmt: skip


@pytest.fixture
def telemetry():
    return Telemetry(node_id="HOSTNAME", version="0.9.1")


def page(name):
    return parse((DATA / name).read_text())


def test_a_node_without_work_shows_what_the_reference_shows(telemetry):
    telemetry.on_event(NodeStarted("0.9.1", "https://127.0.0.1:8935", 10))
    ours, theirs = parse(telemetry.render().decode()), page("orchestrator-offchain-at-start.txt")
    versions = ours.pop("livepeer_versions"), theirs.pop("livepeer_versions")
    assert ours == theirs
    ((labels, value),) = versions[0]["samples"].items()
    assert value == "1"
    assert ("livepeerversion", "0.9.1") in labels[1]
    assert described(versions[0]) == described(versions[1])


def test_after_twelve_segments_every_series_is_there_with_its_value(telemetry):
    """Equal to the recorded page, but for how long this machine took."""
    telemetry.on_event(NodeStarted("0.9.1", "https://127.0.0.1:8935", 12))
    telemetry.on_event(SessionOpened("s", bytes(20), 1))
    segments(telemetry, 12, "P240p30fps16x9,P360p30fps16x9", 19_958_400)
    telemetry.on_event(SessionClosed("s", bytes(20), "idle", 12, 0))
    ours = parse(telemetry.render().decode())
    theirs = page("orchestrator-offchain-after-12-segments.txt")
    assert ours.keys() == theirs.keys()
    machine = ("transcode_time", "transcode_score", "download_time")
    for name, family in theirs.items():
        assert described(ours[name]) == described(family), name
        assert list(ours[name]["samples"]) == list(family["samples"]) or "versions" in name
        if name == "livepeer_mil_pixels_processed":
            value = float(next(iter(ours[name]["samples"].values())))
            assert value == pytest.approx(239.5008)
        elif not any(part in name for part in (*machine, "versions")):
            assert ours[name] == family, name


def test_a_segment_of_exactly_two_seconds_counts_above_two(telemetry):
    segments(telemetry, 1, "a", 1)
    text = telemetry.render().decode()
    assert (
        'source_segment_duration_seconds_bucket{node_id="HOSTNAME",node_type="orch",le="2"} 0'
        in text
    )
    assert (
        'source_segment_duration_seconds_bucket{node_id="HOSTNAME",node_type="orch",le="2.5"} 1'
        in text
    )


FACE_VALUE = 35_000_000_245_000_000


def paid(telemetry):
    sender = bytes.fromhex("b5A19836a14EF38d9625Fd917f7bD2De9B0B4130")
    telemetry.gas_prices(minimum_wei=0, suggested_wei=1_000_000_007, maximum_wei=50 * 10**9)
    for _ in range(13):
        telemetry.on_event(TicketRedeemed(sender, FACE_VALUE, FACE_VALUE, bytes(32)))
    for _ in range(8):
        telemetry.on_event(RedemptionFailed(sender, FACE_VALUE, "ticket is expired"))
    telemetry.on_event(NodeStarted("0.9.1", "https://127.0.0.1:8935", 200))
    telemetry.on_event(PriceQuoted(sender, Fraction(505_000_001_515, 1000), "pixel"))
    telemetry.on_event(TicketParamsIssued(sender, FACE_VALUE, 25 * 10**17))
    for _ in range(1267):
        telemetry.on_event(PaymentReceived(sender, "s", 1, 0, Fraction(7_000_000_000_000_001)))
    telemetry.on_event(PaymentReceived(sender, "s", 0, 13, Fraction(0)))
    for _ in range(26):
        telemetry.on_event(PaymentRefused(sender, "s", "invalid ticket winProb"))
    telemetry.on_event(PaymentRefused(sender, "s", "expected price is missing", ticket=False))
    segments(telemetry, 20, "P240p30fps16x9,P360p30fps16x9", 19_958_400)


@pytest.mark.parametrize("name", SERIES)
def test_names_helps_types_labels_and_bounds_are_the_references(telemetry, name):
    paid(telemetry)
    ours = {key: described(family) for key, family in parse(telemetry.render().decode()).items()}
    theirs = SERIES[name]
    for key, value in theirs.items():
        assert ours[key] == value, key
    sometimes = {"livepeer_max_gas_price", "livepeer_ticket_redemption_errors"}
    offchain = name.startswith("orchestrator-offchain")
    assert offchain or ours.keys() - sometimes == theirs.keys() - sometimes


def test_payments_have_the_recorded_values(telemetry):
    """The figures of the recorded on-chain page: 1267 tickets of 7000000000000001 wei."""
    paid(telemetry)
    text = telemetry.render().decode()
    base = 'node_id="HOSTNAME",node_type="orch"'
    sender = 'sender="0xb5A19836a14EF38d9625Fd917f7bD2De9B0B4130"'
    for line in (
        f"livepeer_tickets_recv{{{base}}} 1267",
        f"livepeer_winning_tickets_recv{{{base}}} 13",
        f'livepeer_payment_recv_errors{{error_code="PaymentError",{base}}} 26',
        f"livepeer_gateway_ticket_face_value{{{base},{sender}}} 3.5000000245e+07",
        f"livepeer_gateway_max_float{{{base},{sender}}} 2.5e+09",
        f"livepeer_transcoding_price{{{base}}} 5.05000001515e+08",
        f"livepeer_suggested_gas_price{{{base}}} 1.000000007",
        f"livepeer_max_gas_price{{{base}}} 50",
        f"livepeer_ticket_redemption_errors{{{base}}} 8",
    ):
        assert line + "\n" in text
    (value,) = re.findall(r"ticket_value_recv\{.*\} (\S+)", text)
    assert float(value) == pytest.approx(8.869e9, rel=1e-12)
    (value,) = re.findall(r"value_redeemed\{.*\} (\S+)", text)
    assert float(value) == pytest.approx(4.55000003185e8, rel=1e-12)


def test_per_stream_adds_the_references_labels():
    telemetry = Telemetry(node_id="HOSTNAME", version="0.9.1", per_stream=True)
    sender = bytes.fromhex("b5A19836a14EF38d9625Fd917f7bD2De9B0B4130")
    telemetry.on_event(PaymentReceived(sender, "s", 2, 0, Fraction(10**9), stream="m1"))
    telemetry.on_event(PriceQuoted(sender, Fraction(3), "pixel"))
    telemetry.on_event(
        JobReceived("j", "s", sender, "transcode", media_duration_s=2.0, stream="m1")
    )
    telemetry.on_event(JobBodyRead("j", "s", 1, 0.1))
    text = telemetry.render().decode()
    base = 'node_id="HOSTNAME",node_type="orch"'
    shown = 'sender="0xb5A19836a14EF38d9625Fd917f7bD2De9B0B4130"'
    for line in (
        f'livepeer_tickets_recv{{manifest_id="m1",{base},{shown}}} 2',
        f'livepeer_transcoding_price{{{base},sender=""}} 3',
        f"livepeer_transcoding_price{{{base},{shown}}} 3",
        f'livepeer_segment_source_emerged_unprocessed_total{{manifest_id="m1",{base}}} 1',
        f'livepeer_segment_transcoded_downloaded_total{{manifest_id="m1",{base}}} 1',
    ):
        assert line + "\n" in text


def test_go_numbers_are_written_as_go_writes_them(telemetry):
    """Every recorded number reads and writes back as the same text."""
    from podium.telemetry.registry import number

    texts = {
        match["value"]
        for path in DATA.glob("*.txt")
        for line in path.read_text().splitlines()
        if not line.startswith("#") and (match := _SAMPLE.fullmatch(line))
    }
    assert len(texts) > 50
    assert {text for text in texts if number(float(text)) != text} == set()
