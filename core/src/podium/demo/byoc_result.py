"""What the BYOC demo came to: its judgement, one dictionary, and tables for a terminal."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from podium.demo.books import differences
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
    payments = _payments(requests, entries, winners)
    unequal = differences({"payments": payments}, entries)
    problems = [f"{each['route']} failed: {each['error']}" for each in requests if not each["ok"]]
    problems += unequal
    if payments["tickets_won"] != winners:
        problems.append(
            f"{payments['tickets_won']} tickets won, {winners} are in the node's database"
        )
    if not clean_stop:
        problems.append("the node did not stop by itself")
    return {
        "version": 1,
        "ok": not problems,
        "requests": [{k: v for k, v in each.items() if k != "payments"} for each in requests],
        "payments": payments,
        "checks": {"ledger_equal": not unequal},
        "problems": problems,
    }


def _payments(
    requests: Sequence[Mapping[str, Any]], entries: Sequence[Mapping[str, Any]], winners: int
) -> dict[str, Any]:
    accounts = [account for each in requests for account in each["payments"]["accounts"]]
    credited = sum((Fraction(account["credited"]) for account in accounts), Fraction(0))
    debited = sum((Fraction(account["debited"]) for account in accounts), Fraction(0))
    return {
        "sender": requests[0]["payments"]["sender"],
        "tickets_sent": sum(account["tickets"] for account in accounts),
        "tickets_won": sum(entry["winners"] for entry in entries),
        "winners_stored": winners,
        "credited_wei": str(credited),
        "debited_wei": str(debited),
        "node_debited_wei": str(sum((Fraction(e["debited"]) for e in entries), Fraction(0))),
        "balance_wei": str(credited - debited),
        "accounts": accounts,
    }


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
