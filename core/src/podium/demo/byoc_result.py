"""What the BYOC demo came to: its judgement, one dictionary, and tables for a terminal."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from podium.demo.books import judge_jobs
from podium.testing.gateway.report import counted, wei_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.table import Table

OURS = re.compile(r"\.podium-output|node\.log|summary\.json(\.tmp)?")
"""What a result consists of."""


def conclude(
    requests: Sequence[Mapping[str, Any]],
    entries: Sequence[Mapping[str, Any]],
    *,
    winners: int,
    clean_stop: bool,
) -> dict[str, Any]:
    """Put the two sides together, and judge.

    Args:
        requests: What each Gateway said, with its ``route`` and ``input``.
        entries: The node's ledger.
        winners: Winning tickets in the node's database.
        clean_stop: The node ended by itself.
    """
    failed = [f"{each['route']} failed: {each['error']}" for each in requests if not each["ok"]]
    return judge_jobs(requests, entries, failed, winners=winners, clean_stop=clean_stop)


def write_result(out: Path, summary: Mapping[str, Any]) -> None:
    """Write ``summary.json``."""
    from podium.testing.gateway.hls import write_whole

    write_whole(out / "summary.json", json.dumps(summary, indent=2) + "\n")


def got(request: Mapping[str, Any]) -> str:
    """Return an answer in words."""
    if not request["ok"]:
        return f"failed: {request['error']}"
    if request["events"]:
        return " ".join(request["events"])
    return json.dumps(request["answer"])


def tables(summary: Mapping[str, Any]) -> list[Table]:
    """Return the final tables for a terminal."""
    from rich.table import Table
    from rich.text import Text

    done = Table("route", "given", "answer", "seconds", "bill", "balance", title="Requests")
    for each in summary["requests"]:
        seconds = f"{each['seconds']:.2f}" if each["ok"] else ""
        bill = ""
        if each["ok"]:
            bill = f"{counted(each['units'], 'second')}, {wei_text(each['fee_wei'])}"
        balance = wei_text(each["balance_wei"]) if each.get("balance_wei") else ""
        given, answer = Text(each["input"]), Text(got(each))
        done.add_row(each["route"], given, answer, seconds, bill, balance)
    pay = summary["payments"]
    totals = Table(title="Totals", show_header=False)
    totals.add_column()
    totals.add_column(justify="right")
    for label, text in (
        ("Tickets sent / won", f"{pay['tickets_sent']} / {pay['tickets_won']}"),
        ("Winners stored", f"{pay['winners_stored']}"),
        ("Credited", wei_text(pay["credited_wei"])),
        ("Debited", wei_text(pay["debited_wei"])),
        ("Balance left", wei_text(pay["balance_wei"])),
        ("Node and Gateway agree", "to the wei" if summary["checks"]["ledger_equal"] else "NO"),
    ):
        totals.add_row(label, text)
    return [done, totals]
