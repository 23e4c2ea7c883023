"""What a run came to: counted as it goes, then one dictionary for ``summary.json`` and a table."""

from __future__ import annotations

import statistics
import time
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.table import Table

    from podium.testing.gateway.client import GatewayClient, Outcome
    from podium.testing.gateway.hls import Track


@define(eq=False)
class Tally:
    """Counts segments while a stream runs.

    Attributes:
        outcomes: The segments that came back and verified.
        failures: Sequence number and reason of each that did not.
        interrupted: A person broke the run off.
        problems: Why it ended early, for another reason.
    """

    outcomes: list[Outcome] = field(factory=list)
    failures: list[tuple[int, str]] = field(factory=list)
    interrupted: bool = False
    problems: list[str] = field(factory=list)
    started: float = field(factory=time.monotonic)
    wall_s: float = 0.0

    @property
    def media_s(self) -> float:
        """Seconds of source that came back."""
        return sum(outcome.segment.duration_s for outcome in self.outcomes)

    @property
    def ok(self) -> bool:
        """Every segment came back, and something did."""
        broken = self.failures or self.problems or self.interrupted
        return bool(self.outcomes) and not broken

    def stop(self) -> None:
        """Take the time."""
        self.wall_s = time.monotonic() - self.started


def summarise(
    source: str, tally: Tally, client: GatewayClient, tracks: Sequence[Track]
) -> dict[str, Any]:
    """Return the run's figures; wei as exact fraction texts, for no float can hold them."""
    accounts = client.accounts
    credited = sum((account.credited for account in accounts), Fraction(0))
    debited = sum((account.debited for account in accounts), Fraction(0))
    signed = sum(outcome.signature_checked for outcome in tally.outcomes)
    return {
        "version": 1,
        "ok": tally.ok,
        "source": source,
        "manifest_id": client.manifest_id,
        "orchestrators": sorted({outcome.orchestrator for outcome in tally.outcomes}),
        "duration_s": round(tally.media_s, 3),
        "wall_s": round(tally.wall_s, 3),
        "real_time_factor": round(tally.media_s / tally.wall_s, 2) if tally.wall_s else None,
        "segments": {
            "done": len(tally.outcomes),
            "failed": len(tally.failures),
            "retried": sum(outcome.attempts > 1 for outcome in tally.outcomes),
            "source_bytes": sum(len(outcome.segment.data) for outcome in tally.outcomes),
        },
        "checks": {
            "signatures_verified": signed,
            "renditions_decoded": sum(len(o.renditions) for o in tally.outcomes),
            "pixel_counts_equal": sum(len(o.renditions) for o in tally.outcomes),
        },
        "latency": _latency(tally.outcomes),
        "renditions": [_rendition(track) for track in tracks],
        "payments": {
            "sender": "0x" + client.signer.address.hex(),
            "tickets_sent": sum(account.tickets for account in accounts),
            "credited_wei": str(credited),
            "debited_wei": str(debited),
            "balance_wei": str(credited - debited),
            "accounts": [
                {
                    "session_id": account.session_id,
                    "tickets": account.tickets,
                    "credited": str(account.credited),
                    "debited": str(account.debited),
                    "unconfirmed": str(account.unconfirmed),
                    "unsettled": account.unsettled,
                }
                for account in accounts
            ],
        },
        "failures": [{"seq": seq, "reason": reason} for seq, reason in tally.failures],
        "problems": list(tally.problems),
        "interrupted": tally.interrupted,
    }


def _latency(outcomes: Sequence[Outcome]) -> dict[str, float]:
    if not outcomes:
        return {}
    return {
        "headers_ms_p50": round(statistics.median(o.headers_s for o in outcomes) * 1000, 1),
        "headers_ms_max": round(max(o.headers_s for o in outcomes) * 1000, 1),
        "result_s_p50": round(statistics.median(o.transcode_s for o in outcomes), 3),
        "result_s_max": round(max(o.transcode_s for o in outcomes), 3),
        "verified_s_p50": round(statistics.median(o.total_s for o in outcomes), 3),
    }


def _rendition(track: Track) -> dict[str, Any]:
    return {
        "name": track.profile.name,
        "folder": track.folder.name,
        "width": track.width,
        "height": track.height,
        "fps": round(track.fps, 3),
        "codecs": ",".join(track.codecs),
        "size_bytes": track.size_bytes,
        "bitrate_bps": round(track.average_bps),
        "pixels": track.pixels,
        "duration_s": round(track.duration_s, 3),
    }


def wei_text(exact: str) -> str:
    """Show an exact fraction of wei to a person: whole wei, marked when that is not all of it."""
    amount = Fraction(exact)
    whole = amount.numerator // amount.denominator
    return f"{'' if amount.denominator == 1 else 'about '}{whole:,} wei"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is 1."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _left(exact: str) -> tuple[str, str]:
    """Label what is left: a sender's tickets may pay for a segment after it was done."""
    balance = Fraction(exact)
    if balance < 0:
        return "Owed for the last segment", wei_text(str(-balance))
    return "Balance left", wei_text(exact)


def figures(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the figures that the terminal and the page show, as label and text."""
    segments, pay, latency = summary["segments"], summary["payments"], summary["latency"]
    rows = [
        ("Video", f"{summary['duration_s']:.2f} s in {counted(segments['done'], 'segment')}"),
        ("Time taken", f"{summary['wall_s']:.2f} s"),
        ("Real-time factor", f"{summary['real_time_factor'] or 0:.2f}x"),
        ("Segments failed / retried", f"{segments['failed']} / {segments['retried']}"),
    ]
    if latency:
        rows.append(("Result, median / slowest", _times(latency)))
    checks = summary["checks"]
    rows.append(("Result signatures verified", f"{checks['signatures_verified']}"))
    rows.append(("Renditions with equal pixel count", f"{checks['pixel_counts_equal']}"))
    won = pay.get("tickets_won")
    rows += [
        ("Tickets sent", f"{pay['tickets_sent']}"),
        *([("Tickets won", f"{won}")] if won is not None else []),
        ("Credited", wei_text(pay["credited_wei"])),
        ("Debited", wei_text(pay["debited_wei"])),
        _left(pay["balance_wei"]),
    ]
    if "ledger_equal" in checks:
        rows.append(("Node and Gateway agree", "to the wei" if checks["ledger_equal"] else "NO"))
    return rows


def _times(latency: Mapping[str, float]) -> str:
    return f"{latency['result_s_p50']:.2f} s / {latency['result_s_max']:.2f} s"


def troubles(summary: Mapping[str, Any]) -> list[str]:
    """Return what went wrong, one line each."""
    failures = summary["failures"]
    return [f"segment {each['seq']} failed: {each['reason']}" for each in failures] + [
        str(problem) for problem in summary["problems"]
    ]


def where(summary: Mapping[str, Any], out: Path) -> str:
    """Say where the result is: to play, when there is something to play."""
    if summary["segments"]["done"]:
        return f"Play it: {out / 'index.html'}"
    return f"Nothing came back; the figures are in {out / 'summary.json'}"


def tables(summary: Mapping[str, Any]) -> list[Table]:
    """Return the final tables for a terminal."""
    from rich.table import Table

    ladder = Table(title="Renditions")
    for heading in ("name", "size", "frames/s", "bit rate", "stored", "pixels"):
        ladder.add_column(heading, justify="left" if heading == "name" else "right", no_wrap=True)
    for row in summary["renditions"]:
        ladder.add_row(
            row["name"],
            f"{row['width']}x{row['height']}",
            f"{row['fps']:.2f}",
            f"{row['bitrate_bps'] / 1000:,.0f} kb/s",
            f"{row['size_bytes'] / 1e6:,.2f} MB",
            f"{row['pixels'] / 1e6:,.1f} M",
        )
    totals = Table(title="Totals", show_header=False)
    totals.add_column()
    totals.add_column(justify="right")
    for label, text in figures(summary):
        totals.add_row(label, text)
    return [ladder, totals]
