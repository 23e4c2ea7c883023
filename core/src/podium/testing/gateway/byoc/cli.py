"""``podium gateway byoc``: send one request to a container behind an orchestrator."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podium.testing.gateway import wallet

if TYPE_CHECKING:
    from podium.testing.gateway.byoc.client import ByocGateway, ByocResult

_INTERRUPTED = 130


@click.command()
@click.argument("capability")
@wallet.orch_addr
@click.option("--route", default="", help="Added to the container's address, such as v1/echo.")
@click.option("--text", help="The body, as it is: JSON as a rule.  [default: {}]")
@click.option(
    "--input",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file that is the body.",
)
@click.option("--content-type", default="application/json", show_default=True, help="Of the body.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.IntRange(1, 86_400),
    default=70,
    show_default=True,
    help="Seconds the container may take: they are paid for beforehand, and orchestrators ask for"
    " 60 at least.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the answer goes.  [default: to the terminal]",
)
@wallet.key_file
@click.option("--max-price", type=wallet.Wei(), help="Most wei a second.  [default: any]")
@wallet.max_ticket_ev
@wallet.max_total_ev
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON.")
def byoc(capability: str, as_json: bool, **options: Any) -> None:
    r"""Send one request to a container behind a Livepeer Orchestrator, and pay for it.

    CAPABILITY is the name that the container has registered. The answer goes to standard output,
    the bill to standard error; a stream is shown as it comes.

    \b
    podium gateway byoc echo --orch-addr HOST --text '{"say": "hello"}' --route v1/echo
    """
    from podium.testing.gateway.errors import GatewayError

    if not options["orch_addr"]:
        raise click.UsageError("give --orch-addr")
    if options["text"] is not None and options["source"] is not None:
        raise click.UsageError("give --text or --input, not both")
    try:
        summary, body = asyncio.run(_send(capability, as_json, options))
    except GatewayError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("Stopped.", err=True)
        sys.exit(_INTERRUPTED)
    except OSError as error:
        where = error.filename or options["output"]
        raise click.ClickException(f"{where} cannot be written: {error.strerror}") from error
    if as_json:
        click.echo(json.dumps(summary))
    else:
        _show(summary, body)
    sys.exit(0 if summary["ok"] else 1)


async def _send(
    capability: str, as_json: bool, options: dict[str, Any]
) -> tuple[dict[str, Any], bytes]:
    from podium.testing.gateway.byoc.errors import ByocError
    from podium.testing.gateway.byoc.report import failed, summarise

    async with _gateway(options) as gateway:
        try:
            result = await gateway.run(
                capability,
                _body(options),
                route=options["route"],
                content_type=options["content_type"],
                timeout_s=options["timeout_s"],
                on_event=_ignore if as_json or options["output"] else click.echo,
            )
        except ByocError as error:
            reason = failed(capability, gateway, error.status, str(error), error.attempts)
            return reason, b""
        files = _keep(result, options["output"])
        return summarise(capability, gateway, result, files), result.body


def _body(options: dict[str, Any]) -> bytes:
    source: Path | None = options["source"]
    if source is not None:
        return source.read_bytes()
    text = options["text"]
    return b"{}" if text is None else str(text).encode()


def _gateway(options: dict[str, Any]) -> ByocGateway:
    from podium.testing.gateway.byoc.client import ByocGateway
    from podium.testing.gateway.discovery import parse_addresses
    from podium.testing.gateway.tickets import Caps

    return ByocGateway(
        addresses=parse_addresses(options["orch_addr"]),
        signer=wallet.read_signer(options["key_file"]),
        caps=Caps(
            max_price=options["max_price"],
            max_ticket_ev=options["max_ticket_ev"],
            max_total_ev=options["max_total_ev"],
        ),
    )


def _ignore(_event: str) -> None:
    return


def _keep(result: ByocResult, output: Path | None) -> list[Path]:
    if output is None:
        return []
    output.write_bytes(result.body)
    return [output]


def _show(summary: dict[str, Any], body: bytes) -> None:
    from podium.testing.gateway.byoc.report import bill

    if not summary["ok"]:
        click.echo(f"Error: {summary['error']}", err=True)
        return
    if not summary["files"] and not summary["events"]:
        sys.stdout.buffer.write(body + (b"" if body.endswith(b"\n") else b"\n"))
        sys.stdout.flush()
    for line in [*(f"wrote {path}" for path in summary["files"]), *bill(summary)]:
        click.echo(line, err=True)
