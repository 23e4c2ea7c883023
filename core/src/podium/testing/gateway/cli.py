"""``podium gateway``: send a video through orchestrators, as a Gateway would."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

from podium.testing.gateway import wallet
from podium.testing.gateway.ai.cli import ai
from podium.testing.gateway.byoc.cli import byoc

if TYPE_CHECKING:
    from podium.testing.gateway.report import Tally
    from podium.testing.gateway.run import StreamRun

DEFAULT_LADDER = "P240p30fps16x9,P360p30fps16x9,P576p30fps16x9"
_INTERRUPTED = 130


@click.group(invoke_without_command=True, subcommand_metavar="[ai|byoc ...]")
@wallet.orch_addr
@click.option("--orch-webhook", metavar="URL", help="Lists them as JSON; comes before --orch-addr.")
@click.option(
    "--input",
    "source",
    type=click.Path(exists=True, path_type=Path),
    help="A video file, a folder of segments or a media playlist.  [required]",
)
@click.option(
    "--profiles",
    default=DEFAULT_LADDER,
    show_default=True,
    help="Preset names, or a JSON file as livepeer_bench takes.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("gateway-out"),
    show_default=True,
)
@wallet.key_file
@click.option("--max-price", type=wallet.Wei(), help="Most wei per pixel.  [default: any]")
@wallet.max_ticket_ev
@wallet.max_total_ev
@click.option(
    "--segment-seconds",
    "segment_s",
    type=click.FloatRange(0.5, 60),
    default=2.0,
    show_default=True,
)
@click.option(
    "--parallel",
    type=click.IntRange(1, 16),
    default=1,
    show_default=True,
    help="Segments in flight at a time.",
)
@click.option("--live", is_flag=True, help="Send at the pace of the video.")
@click.option("--manifest-id", default=None, help="The stream's identifier.  [default: random]")
@click.option("--json", "as_json", is_flag=True, help="Print summary.json instead of tables.")
@click.pass_context
def gateway(
    ctx: click.Context, /, source: Path | None, out: Path, as_json: bool, **options: Any
) -> None:
    """Send a video to Livepeer Orchestrators and write what comes back as adaptive HLS.

    "podium gateway ai" sends an AI job instead, "podium gateway byoc" a request to a container.

    Writes master.m3u8, one folder per rendition, index.html and summary.json. The folder must be
    empty, or hold an earlier result, which is replaced. Exits with 1 when any segment failed or
    did not verify.
    """
    if ctx.invoked_subcommand is not None:
        _refuse_options(ctx)
        return
    if source is None:
        option = next(each for each in ctx.command.params if each.name == "source")
        raise click.MissingParameter(ctx=ctx, param=option)
    _send(source, out, as_json, options)


gateway.add_command(ai)
gateway.add_command(byoc)


def _refuse_options(ctx: click.Context) -> None:
    """Options of the video command would be lost on another one, so they are refused."""
    for option in ctx.command.params:
        if ctx.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"give {option.opts[0]} after {ctx.invoked_subcommand!r}")


def _send(source: Path, out: Path, as_json: bool, options: dict[str, Any]) -> NoReturn:
    from podium.testing.gateway.errors import GatewayError

    try:
        run = _prepare(source, out, options)
        summary = _run(run)
    except GatewayError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("Stopped: the session is ended and the playlists are closed.", err=True)
        sys.exit(_INTERRUPTED)
    except asyncio.CancelledError as error:
        raise click.ClickException(
            "the run broke off by itself: a connection was closed from inside the Gateway"
        ) from error
    except OSError as error:
        where = error.filename or out
        reason = error.strerror or error
        raise click.ClickException(f"{where} cannot be written: {reason}") from error
    if as_json:
        click.echo(json.dumps(summary))
    else:
        _show(summary, out)
    sys.exit(0 if summary["ok"] else 1)


def _prepare(source: Path, out: Path, options: dict[str, Any]) -> StreamRun:
    import os
    import secrets

    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its C library writes to stderr otherwise
    from podium.testing.gateway.client import GatewayClient
    from podium.testing.gateway.discovery import parse_addresses
    from podium.testing.gateway.profiles import parse_ladder
    from podium.testing.gateway.run import StreamRun
    from podium.testing.gateway.tickets import Caps

    if not options["orch_addr"] and not options["orch_webhook"]:
        raise click.UsageError("give --orch-addr or --orch-webhook")
    client = GatewayClient(
        profiles=parse_ladder(options["profiles"]),
        manifest_id=options["manifest_id"] or secrets.token_hex(4),
        addresses=parse_addresses(options["orch_addr"] or ""),
        webhook=options["orch_webhook"],
        signer=wallet.read_signer(options["key_file"]),
        caps=Caps(
            max_price=options["max_price"],
            max_ticket_ev=options["max_ticket_ev"],
            max_total_ev=options["max_total_ev"],
        ),
    )
    return StreamRun(
        client=client,
        source=source,
        out=out,
        segment_s=options["segment_s"],
        parallel=options["parallel"],
        live=options["live"],
    )


def _run(run: StreamRun) -> dict[str, Any]:
    """Run with a progress bar on stderr; the first Ctrl-C or SIGTERM ends it in order."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from podium.testing.gateway.media import media_seconds
    from podium.testing.gateway.report import counted

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    quiet = not console.is_terminal  # it would leave an empty line there
    with Progress(*columns, console=console, transient=True, disable=quiet) as progress:
        bar = progress.add_task(run.source.name, total=media_seconds(run.source), said="")

        def told(tally: Tally) -> None:
            said = counted(len(tally.outcomes), "segment")
            if tally.failures:
                said += f", {len(tally.failures)} failed"
            progress.update(bar, completed=tally.media_s, said=said)

        run.progress = told
        return asyncio.run(_interrupted_by_sigterm(run))


async def _interrupted_by_sigterm(run: StreamRun) -> dict[str, Any]:
    """Run, and take a SIGTERM as asyncio takes a Ctrl-C: cancel, then KeyboardInterrupt."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, signal.raise_signal, signal.SIGINT)
    return await run.run()


def _show(summary: dict[str, Any], out: Path) -> None:
    from rich.console import Console

    from podium.testing.gateway.report import tables, troubles, where

    console = Console()
    for table in tables(summary):
        console.print(table)
    for line in troubles(summary):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(where(summary, out), markup=False, highlight=False, soft_wrap=True)
