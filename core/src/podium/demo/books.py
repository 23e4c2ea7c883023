"""Two books of one stream, compared to the wei; and the judgement of the whole."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from attrs import define

from podium.demo.errors import DemoError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def stored_winners(data_dir: Path) -> int:
    """Count the winning tickets in the stopped node's database."""
    import sqlite3

    path = data_dir / "podium.sqlite3"
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            (count,) = database.execute("SELECT count(*) FROM ticketQueue").fetchone()
    except sqlite3.Error as error:
        raise DemoError(f"the node's database cannot be read: {error}") from error
    return int(count)


def differences(summary: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Compare the Gateway's books with the node's, exactly; one line for each difference.

    An account's ``key``, where it has one, is the node's key for it: several of our accounts may
    be one of the node's (AI jobs), and are added up then.

    Only where work was paid for and never answered (a time-out) may the node have billed more: it
    billed work that the Gateway gave up, and cannot know of.
    """
    payments = summary["payments"]
    sender = payments["sender"].lower()
    theirs = {(e["sender"].lower(), e["key"]): e for e in entries}
    found = []
    for key, mine in _by_key(payments["accounts"]).items():
        entry = theirs.pop((sender, key), None)
        if entry is not None:
            found += _compare(key, mine, entry)
        elif mine.tickets:
            found.append(f"session {key}: the node knows nothing of it")
    found += [f"session {key}: the Gateway knows nothing of it" for _, key in theirs]
    return found


@define
class _Sums:
    """What the Gateway's accounts of one key come to."""

    credited: Fraction = Fraction(0)
    debited: Fraction = Fraction(0)
    unconfirmed: Fraction = Fraction(0)
    tickets: int = 0
    unsettled: int = 0


def _by_key(accounts: Sequence[Mapping[str, Any]]) -> dict[str, _Sums]:
    sums: dict[str, _Sums] = {}
    for account in accounts:
        mine = sums.setdefault(account.get("key", account["session_id"]), _Sums())
        mine.credited += Fraction(account["credited"])
        mine.debited += Fraction(account["debited"])
        mine.unconfirmed += Fraction(account.get("unconfirmed", 0))
        mine.tickets += account["tickets"]
        mine.unsettled += account["unsettled"]
    return sums


def _compare(key: str, mine: _Sums, entry: Mapping[str, Any]) -> list[str]:
    """Tickets of a refused payment may have been credited or not: up to all of them were."""
    credited, debited = Fraction(entry["credited"]), Fraction(entry["debited"])
    excused = {
        "credited": mine.credited < credited <= mine.credited + mine.unconfirmed,
        "debited": bool(mine.unsettled) and mine.debited < debited,
        "tickets": bool(mine.unconfirmed) and mine.tickets < entry["tickets"],
    }
    seen = {"credited": credited, "debited": debited, "tickets": entry["tickets"]}
    return [
        f"session {key}: {what} {getattr(mine, what)} at the Gateway, {theirs} at the node"
        for what, theirs in seen.items()
        if getattr(mine, what) != theirs and not excused[what]
    ]


def conclude(
    out: Path,
    summary: dict[str, Any],
    entries: Sequence[Mapping[str, Any]],
    *,
    winners: int,
    clean_stop: bool,
) -> dict[str, Any]:
    """Add the node's side to the summary, and judge."""
    from podium.testing.gateway.run import write_summary

    unequal = differences(summary, entries)
    won = sum(entry["winners"] for entry in entries)
    segments = summary["segments"]["done"]
    summary["payments"]["tickets_won"] = won
    summary["payments"]["winners_stored"] = winners
    summary["checks"]["ledger_equal"] = not unequal
    problems = [*summary["problems"], *unequal]
    if winners != won:
        problems.append(f"{won} tickets won, {winners} are in the node's database")
    if summary["checks"]["signatures_verified"] != segments:
        problems.append("not every result was signed")
    if not clean_stop:
        problems.append("the node did not stop by itself")
    summary["problems"] = problems
    summary["ok"] = bool(summary["ok"]) and not problems
    write_summary(out, summary)
    return summary


def judge_jobs(
    jobs: Sequence[Mapping[str, Any]],
    entries: Sequence[Mapping[str, Any]],
    failed: Sequence[str],
    *,
    winners: int,
    clean_stop: bool,
) -> dict[str, Any]:
    """Put the two sides of a demo of single jobs together, and judge.

    Args:
        jobs: What each Gateway said.
        entries: The node's ledger.
        failed: A line for each job that failed.
        winners: Winning tickets in the node's database.
        clean_stop: The node ended by itself.
    """
    payments = _payments(jobs, entries, winners)
    unequal = differences({"payments": payments}, entries)
    problems = [*failed, *unequal]
    if (won := payments["tickets_won"]) != winners:
        problems.append(f"{won} tickets won, {winners} are in the node's database")
    if not clean_stop:
        problems.append("the node did not stop by itself")
    return {
        "version": 1,
        "ok": not problems,
        "requests": [{k: v for k, v in job.items() if k != "payments"} for job in jobs],
        "payments": payments,
        "checks": {"ledger_equal": not unequal},
        "problems": problems,
    }


def _payments(
    jobs: Sequence[Mapping[str, Any]], entries: Sequence[Mapping[str, Any]], winners: int
) -> dict[str, Any]:
    accounts = [account for job in jobs for account in job["payments"]["accounts"]]
    credited = sum((Fraction(account["credited"]) for account in accounts), Fraction(0))
    debited = sum((Fraction(account["debited"]) for account in accounts), Fraction(0))
    return {
        "sender": jobs[0]["payments"]["sender"],
        "tickets_sent": sum(account["tickets"] for account in accounts),
        "tickets_won": sum(entry["winners"] for entry in entries),
        "winners_stored": winners,
        "credited_wei": str(credited),
        "debited_wei": str(debited),
        "node_debited_wei": str(sum((Fraction(e["debited"]) for e in entries), Fraction(0))),
        "balance_wei": str(credited - debited),
        "accounts": accounts,
    }
