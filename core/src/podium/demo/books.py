"""Two books of one stream, compared to the wei; and the judgement of the whole."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from typing import TYPE_CHECKING, Any

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

    Only where a segment was paid for and never answered (a time-out) may the node have billed
    more: it billed work that the Gateway gave up, and cannot know of.
    """
    payments = summary["payments"]
    theirs = {(e["sender"].lower(), e["key"]): e for e in entries}
    found = []
    for account in payments["accounts"]:
        entry = theirs.pop((payments["sender"].lower(), account["session_id"]), None)
        if entry is None:
            if account["tickets"]:
                found.append(f"session {account['session_id']}: the node knows nothing of it")
            continue
        found += [
            f"session {account['session_id']}: {what} {account[what]} at the Gateway, "
            f"{entry[what]} at the node"
            for what in ("credited", "debited", "tickets")
            if Fraction(account[what]) != Fraction(entry[what])
            and not (
                what == "debited"
                and account["unsettled"]
                and Fraction(account[what]) < Fraction(entry[what])
            )
        ]
    found += [f"session {key}: the Gateway knows nothing of it" for _, key in theirs]
    return found


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
