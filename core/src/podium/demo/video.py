"""``podium demo``: a node and a Gateway as two processes, a real video, real tickets, one result.

The node is an ordinary ``podium serve`` with a throwaway key; it has no chain, so its tickets can
be won but never redeemed. Everything stays on the loopback interface.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podium.demo.books import conclude, stored_winners
from podium.demo.command import given_or_clip, shared_options, told_in_a_sentence
from podium.demo.processes import NodeConfig, NodeProcess, send_video, write_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WEI_PER_PIXEL = 1200
TICKET_EV_WEI = 8_000_000_000
FACE_VALUE_WEI = 5 * TICKET_EV_WEI
"""One ticket in five wins, so that a short demo shows some."""

PAYMENTS = f"""
price_per_unit = {WEI_PER_PIXEL}
ticket_ev_wei = {TICKET_EV_WEI}
max_face_value_wei = {FACE_VALUE_WEI}
"""


@click.command()
@shared_options
@click.option("--parallel", type=click.IntRange(1, 16), default=2, show_default=True)
@click.option("--live", is_flag=True, help="Send at the pace of the video.")
def demo(source: Path | None, profiles: str, out: Path, parallel: int, live: bool) -> None:
    """Transcode a real video through a node of its own, paid with real tickets.

    Leaves master.m3u8, one folder per rendition, index.html and summary.json. The folder must be
    empty, or hold an earlier result, which is replaced. Exits with 1 when a segment failed, a
    check failed, or node and Gateway disagree by a wei.
    """
    flags = ["--profiles", profiles, "--parallel", str(parallel), *(["--live"] if live else [])]
    with told_in_a_sentence(), given_or_clip(source) as path:
        summary = run_demo(path, out, flags)
    show(summary, out)
    sys.exit(0 if summary["ok"] else 1)


def run_demo(source: Path, out: Path, flags: Sequence[str]) -> dict[str, Any]:
    """Run node and Gateway, compare their books, write the result.

    Returns:
        What ``summary.json`` holds; ``ok`` tells whether everything was good.

    Raises:
        DemoError: one of the two could not do its part at all.
        GatewayError: the input or the folder cannot be used.
    """
    from podium.testing.gateway.media import check_input
    from podium.testing.gateway.room import check_room

    check_room(out)
    check_input(source)
    with tempfile.TemporaryDirectory(prefix="podium-demo-") as folder:
        work = Path(folder)
        config = NodeConfig.write(work, payments=PAYMENTS)
        node = NodeProcess.start(config, work / "node.log")
        sent = False
        try:
            node.wait_until_ready()
            summary = send_video(source, out, node.uri, write_key(work / "gateway.key"), flags)
            sent = True
            entries = node.ledger()
        finally:
            clean_stop = node.stop()
            if sent:
                shutil.copyfile(node.log, out / "node.log")
        winners = stored_winners(config.data_dir)
    return conclude(out, summary, entries, winners=winners, clean_stop=clean_stop)


def show(summary: Mapping[str, Any], out: Path) -> None:
    """Print the tables, the troubles and where the result is."""
    from rich.console import Console

    from podium.testing.gateway.report import tables, troubles, where

    console = Console()
    for table in tables(summary):
        console.print(table)
    for line in troubles(summary):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(where(summary, out), markup=False, highlight=False, soft_wrap=True)
