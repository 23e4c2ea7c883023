"""What the AI demo came to: its judgement, one dictionary, and tables for a terminal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from podium.demo.books import judge_jobs
from podium.testing.gateway.report import counted, wei_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from podium.demo.ai_executor import Executor

OURS = re.compile(
    r"\.podium-output|node\.log|speech\.wav|picture\.png|(summary\.json|index\.html)(\.tmp)?"
)
"""What a result consists of."""


def conclude(
    jobs: Sequence[Mapping[str, Any]],
    entries: Sequence[Mapping[str, Any]],
    executor: Executor,
    *,
    winners: int,
    clean_stop: bool,
) -> dict[str, Any]:
    """Put the two sides together, and judge.

    Args:
        jobs: What each Gateway said, with its ``input``.
        entries: The node's ledger.
        executor: Where the models ran.
        winners: Winning tickets in the node's database.
        clean_stop: The node ended by itself.
    """
    failed = [f"{job['pipeline']} failed: {job['error']}" for job in jobs if not job["ok"]]
    judged = judge_jobs(jobs, entries, failed, winners=winners, clean_stop=clean_stop)
    return {**judged, "executor": {"kind": executor.kind, "note": executor.note}}


def given_and_got(job: Mapping[str, Any]) -> tuple[str, str]:
    """Return a job's input and answer in words."""
    given = job["input"]
    shown = f"{given['file']}: {given['text']}" if "file" in given else given["text"]
    if not job["ok"]:
        return shown, f"failed: {job['error']}"
    return shown, job["text"] or ", ".join(path.rpartition("/")[2] for path in job["files"])


def figures(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the figures that the terminal and the page show, as label and text."""
    pay = summary["payments"]
    return [
        ("Models run in", summary["executor"]["kind"]),
        ("Tickets sent / won", f"{pay['tickets_sent']} / {pay['tickets_won']}"),
        ("Winners stored", f"{pay['winners_stored']}"),
        ("Credited", wei_text(pay["credited_wei"])),
        ("Debited", wei_text(pay["debited_wei"])),
        ("Balance left", wei_text(pay["balance_wei"])),
        ("Node and Gateway agree", "to the wei" if summary["checks"]["ledger_equal"] else "NO"),
    ]


def bill_of(job: Mapping[str, Any]) -> str:
    """Return what a job cost, in words."""
    if not job["ok"]:
        return ""
    return f"{counted(job['units'], job['unit'])}, {wei_text(job['fee_wei'])}"


def tables(summary: Mapping[str, Any]) -> list[Table]:
    """Return the final tables for a terminal."""
    from rich.table import Table
    from rich.text import Text

    jobs = Table("pipeline", "given", "answer", "seconds", "bill", title="Jobs")
    for job in summary["requests"]:
        given, got = given_and_got(job)
        seconds = f"{job['seconds']:.2f}" if job["ok"] else ""
        jobs.add_row(job["pipeline"], Text(given), Text(got), seconds, bill_of(job))
    totals = Table(title="Totals", show_header=False)
    totals.add_column()
    totals.add_column(justify="right")
    for label, text in figures(summary):
        totals.add_row(label, text)
    return [jobs, totals]
