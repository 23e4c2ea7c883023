"""``podium bench``: measure this machine, each figure beside a bare one in the same run."""

from __future__ import annotations

import json
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class Report(Protocol):
    """What every bench returns."""

    def figures(self) -> Mapping[str, float]:
        """Return the figures by their names in the JSON, such as ``tickets.ratio_recover``."""

    def lines(self) -> Sequence[str]:
        """Return the report as text."""


@frozen
class Target:
    """What a figure has to be."""

    value: float
    at_most: bool = False

    def reached_by(self, figure: float) -> bool:
        """Whether a figure is good enough."""
        return figure <= self.value if self.at_most else figure >= self.value

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {readable(self.value)}"


TARGETS = {
    "transcode.ratio_one_stream": Target(1.25),
    "transcode.ratio_two_streams": Target(1.10),
    "transcode.ratio_continuous": Target(1.0),
    "transcode.psnr_delta_db": Target(-0.3),
    "transcode.overhead_p50_ms": Target(15, at_most=True),
    "transcode.rss_tree_bytes": Target(500e6, at_most=True),
    "tickets.ratio_recover": Target(0.60),
    "segments.ratio_bare": Target(0.60),
    "sessions.ratio_bare": Target(0.50),
    "sessions.p50_ms": Target(2, at_most=True),
    "ai.ratio_direct": Target(0.50),
    "ai.p50_added_ms": Target(5, at_most=True),
    "ai.sse_first_byte_added_ms": Target(5, at_most=True),
    "byoc.ratio_direct": Target(0.50),
    "byoc.p50_added_ms": Target(3, at_most=True),
    "byoc.sse_ratio_direct": Target(0.80),
    "byoc.idle_streams_rss_bytes": Target(150e6, at_most=True),
    "redemption.block_limit_ratio": Target(1.0),
    "tickets_onchain.ratio_offchain": Target(0.95),
    "tickets_onchain.rpc_calls": Target(0, at_most=True),
}


@frozen
class Bench:
    """One bench.

    Attributes:
        target: Its function.
        help: What it measures.
        progress: Whether it tells its progress.
        options: The class of its options; empty: it has none.
    """

    target: str
    help: str
    progress: bool = False
    options: str = ""


BENCHES = {
    "transcode": Bench(
        "podium.bench.transcode:run_transcode_bench",
        "Throughput of the transcoder over ffmpeg once per segment (one stream, two streams) and "
        "over one continuous ffmpeg; loss of PSNR; what a job costs beside its transcode; memory.",
        options="podium.bench.transcode:TranscodeOptions",
    ),
    "tickets": Bench(
        "podium.bench.tickets:run_tickets_bench",
        "Full validation of payments over bare recovery of their signatures.",
    ),
    "segments": Bench(
        "podium.bench.segments:run_segments_bench",
        "Paid segments of 500 KB with a plugin that does no work, over a bare app that discards "
        "the same bodies, and over one that takes their hash; latency added; memory of a session.",
        progress=True,
    ),
    "sessions": Bench(
        "podium.bench.sessions:run_sessions_bench",
        "GetOrchestrator, signed, with ticket parameters and a price, over a bare gRPC echo behind "
        "the same listener; its latency.",
        progress=True,
    ),
    "ai": Bench(
        "podium.bench.ai:run_ai_bench",
        "AI jobs through the node, with a ticket each, over the same jobs straight to a runner that"
        " answers at once; latency added, also to a stream's first event; memory that a result of"
        " 50 MB takes.",
        progress=True,
    ),
    "byoc": Bench(
        "podium.bench.byoc:run_byoc_bench",
        "Requests through the node to a container that answers at once, over the same requests"
        " straight to it; latency added; events of streams; memory of 1,000 idle streams.",
        progress=True,
    ),
    "redemption": Bench(
        "podium.bench.redemption:run_redemption_bench",
        "Winning tickets redeemed over a local chain with a block a second, against what its blocks"
        " have room for; payments checked over that chain's views, over a fixed view.",
        progress=True,
        options="podium.bench.redemption:Plan",
    ),
}


def _common(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that every bench has."""
    json_option = click.option(
        "--json",
        "json_path",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Add the figures to this JSON file.",
    )
    check = click.option("--check", is_flag=True, help="Exit 1 when a target is missed.")
    wrapped: Callable[..., None] = json_option(check(command))
    return wrapped


@click.group()
def bench() -> None:
    """Measure this machine, each figure beside a bare one in the same run."""


def _run(names: Sequence[str], json_path: Path | None, check: bool, **options: Any) -> None:
    kept = _read(json_path)
    found: dict[str, float] = {}
    for name in names:
        click.echo(f"== {name}")
        report = _measure(name, options)
        for line in report.lines():
            click.echo(line)
        found |= report.figures()
        if json_path is not None:  # after each bench: a later one may fail
            text = json.dumps(kept | found, indent=2, sort_keys=True)
            json_path.write_text(text + "\n", "utf-8")
    missed = _show(found)
    if check and missed:
        raise click.ClickException(f"missed: {', '.join(missed)}")


def _measure(name: str, options: Mapping[str, Any]) -> Report:
    spec = BENCHES[name]
    run = _load(spec.target)
    if spec.progress:
        run = partial(run, progress=lambda text: click.echo(f"   {text}"))
    return run(_found(spec.options)(**options)) if options else run()


def _load(target: str) -> Callable[..., Report]:
    run: Callable[..., Report] = _found(target)
    return run


def _found(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


def _show(figures: Mapping[str, float]) -> list[str]:
    """Print a table of all figures; return the names of those that miss their target."""
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "value", "target", "")
    missed = []
    for name, value in figures.items():
        target = TARGETS.get(name)
        verdict = ""
        if target is not None:
            verdict = "[green]reached" if target.reached_by(value) else "[red]missed"
            if not target.reached_by(value):
                missed.append(name)
        table.add_row(name, readable(value), "" if target is None else str(target), verdict)
    Console().print(table)
    return missed


def readable(value: float) -> str:
    """Write a figure with what digits it deserves."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _read(path: Path | None) -> dict[str, float]:
    """Return the figures of benches that ran before."""
    if path is None or not path.exists():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise click.UsageError(f"{path} does not hold figures of a bench")
    return found


def _path(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    del context, parameter
    return () if value is None else (Path(value),)


@bench.command(help=BENCHES["transcode"].help)
@_common
@click.option(
    "--input",
    "segments",
    type=click.Path(exists=True),
    callback=_path,
    help="An HLS media playlist, or a folder of .ts files; the clip of the demo without it.",
)
@click.option("--ffmpeg", default="", help="The program to compare with.")
@click.option("--rounds", default=3, show_default=True, help="Rounds that medians are taken of.")
@click.option("--count", default=8, show_default=True, help="Segments in a round; 0 for all.")
@click.option(
    "--sessions", default=1, show_default=True, help="Sessions in the reference bench's table."
)
@click.option("--live", is_flag=True, help="Pace these sessions at real time.")
def transcode(json_path: Path | None, check: bool, **options: Any) -> None:
    """Measure the transcoder."""
    _run(["transcode"], json_path, check, **options)


@bench.command(help=BENCHES["redemption"].help)
@_common
@click.option(
    "--winners",
    type=click.IntRange(min=1),
    default=3000,
    show_default=True,
    help="Winning tickets in a round.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Rounds that medians are taken of.",
)
@click.option(
    "--batch",
    type=click.IntRange(0, 50),
    default=0,
    show_default=True,
    help="Tickets of one transaction (chain.redeem_batch); 0: as configured by default.",
)
def redemption(json_path: Path | None, check: bool, **options: Any) -> None:
    """Measure redemption."""
    _run(["redemption"], json_path, check, **options)


def _add(name: str, names: Sequence[str], text: str) -> None:
    @bench.command(name, help=text)
    @_common
    def command(json_path: Path | None, check: bool) -> None:
        _run(names, json_path, check)


for _name in ("tickets", "segments", "sessions", "ai", "byoc"):
    _add(_name, [_name], BENCHES[_name].help)
_add("all", list(BENCHES), "All of them, one after the other: some minutes.")
