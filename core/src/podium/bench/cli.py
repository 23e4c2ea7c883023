"""``podium bench``: measure this machine, each figure beside a bare one in the same run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol

import click

BENCHES = {
    "transcode": ("podium.bench.transcode:run_transcode_bench", "Transcoding against ffmpeg."),
    "tickets": ("podium.bench.tickets:run_tickets_bench", "Ticket checks against recovery."),
    "segments": ("podium.bench.segments:run_segments_bench", "Paid segments against a bare app."),
    "sessions": ("podium.bench.sessions:run_sessions_bench", "GetOrchestrator against an echo."),
}


class Report(Protocol):
    """What every bench returns."""

    def figures(self) -> Mapping[str, float]:
        """Return the figures by their names in the JSON, such as ``tickets.ratio_recover``."""

    def lines(self) -> Sequence[str]:
        """Return the report as text."""


@click.command()
@click.argument("names", nargs=-1, required=True, type=click.Choice([*BENCHES, "all"]))
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Add the figures to this JSON file.",
)
def bench(names: tuple[str, ...], json_path: Path | None) -> None:
    """Measure this machine: transcode, tickets, segments, sessions, or all of them."""
    figures = _read(json_path)
    for name in BENCHES if "all" in names else dict.fromkeys(names):
        target, title = BENCHES[name]
        click.echo(f"== {name}: {title}")
        report = _load(target)()
        for line in report.lines():
            click.echo(line)
        figures.update(report.figures())
        if json_path is not None:  # after each bench: a later one may fail
            json_path.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n", "utf-8")


def _load(target: str) -> Callable[[], Report]:
    module, _, attribute = target.partition(":")
    run: Callable[[], Report] = getattr(import_module(module), attribute)
    return run


def _read(path: Path | None) -> dict[str, float]:
    """Return the figures of benches that ran before."""
    if path is None or not path.exists():
        return {}
    found = json.loads(path.read_text("utf-8"))
    if not isinstance(found, dict):
        raise click.UsageError(f"{path} does not hold figures of a bench")
    return found
