"""``podium gateway ai``: send one AI job through orchestrators, as a Gateway would."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podium.testing.gateway import wallet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podium.testing.gateway.ai.client import AiGateway, AiResult
    from podium.testing.gateway.ai.media import Media

_INTERRUPTED = 130


@click.command()
@click.argument("pipeline")
@wallet.orch_addr
@click.option("--model", required=True, help="The model's name, as orchestrators advertise it.")
@click.option(
    "--input",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The image or the audio, for pipelines that take one.",
)
@click.option("--text", help="The prompt, the text to speak, or what to say to a chat model.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any further field of the request, such as seed=7; may be given again.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the file of the answer goes, or the answer's JSON.  [default: named after the "
    "pipeline; JSON is not kept]",
)
@wallet.key_file
@click.option(
    "--max-price",
    type=wallet.Wei(),
    help="Most wei per unit: pixel, token, byte or millisecond.  [default: any]",
)
@wallet.max_ticket_ev
@wallet.max_total_ev
@click.option("--stream", is_flag=True, help="Show the words as they come (llm).")
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON.")
def ai(pipeline: str, model: str, as_json: bool, **options: Any) -> None:
    r"""Send one AI job to Livepeer Orchestrators, pay for it, and show the answer and the bill.

    PIPELINE is one of the network's: text-to-image, image-to-image, image-to-video, upscale,
    audio-to-text, segment-anything-2, llm, image-to-text, text-to-speech. Words go to standard
    output, the bill to standard error.

    \b
    podium gateway ai text-to-speech --model MODEL --text "Hello" --output hello.wav
    podium gateway ai audio-to-text --model MODEL --input hello.wav
    """
    from podium.testing.gateway.errors import GatewayError

    if not options["orch_addr"]:
        raise click.UsageError("give --orch-addr")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its C library writes to stderr otherwise
    try:
        summary = asyncio.run(_send(pipeline, model, as_json, options))
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
        _show(summary, streamed=options["stream"])
    sys.exit(0 if summary["ok"] else 1)


async def _send(
    pipeline: str, model: str, as_json: bool, options: dict[str, Any]
) -> dict[str, Any]:
    from podium.testing.gateway.ai.errors import AiError
    from podium.testing.gateway.ai.inputs import fields_of, upload_of
    from podium.testing.gateway.ai.pipelines import find_pipeline
    from podium.testing.gateway.ai.report import failed, summarise
    from podium.testing.gateway.ai.session import StreamCut

    kind = find_pipeline(pipeline)
    fields = fields_of(kind, options["text"], options["settings"])
    upload = upload_of(kind, options["source"])
    stream = options["stream"]
    async with _gateway(options) as gateway:
        try:
            with _waiting(f"{pipeline} by {model}", quiet=as_json or stream):
                result = await gateway.run(
                    pipeline,
                    model,
                    fields,
                    upload,
                    stream=stream,
                    on_event=_ignore if as_json else _say,
                )
        except (AiError, StreamCut) as error:
            status, attempts = getattr(error, "status", 500), getattr(error, "attempts", 1)
            return failed(pipeline, model, gateway, status, str(error), attempts)
        files = _keep(pipeline, result, options["output"])
        return summarise(pipeline, model, gateway, result, files)


def _gateway(options: dict[str, Any]) -> AiGateway:
    from podium.testing.gateway.ai.client import AiGateway
    from podium.testing.gateway.discovery import parse_addresses
    from podium.testing.gateway.tickets import Caps

    return AiGateway(
        addresses=parse_addresses(options["orch_addr"]),
        signer=wallet.read_signer(options["key_file"]),
        caps=Caps(
            max_price=options["max_price"],
            max_ticket_ev=options["max_ticket_ev"],
            max_total_ev=options["max_total_ev"],
        ),
    )


def _waiting(text: str, *, quiet: bool) -> Any:
    """Show on a terminal that something is under way."""
    from contextlib import nullcontext

    from rich.console import Console

    console = Console(stderr=True)
    return nullcontext() if quiet or not console.is_terminal else console.status(text)


def _ignore(_event: dict[str, Any]) -> None:
    return


def _say(event: dict[str, Any]) -> None:
    """Write what an event adds at once."""
    from podium.testing.gateway.ai.events import text_of

    click.echo(text_of(event), nl=False)


def _keep(pipeline: str, result: AiResult, output: Path | None) -> list[Path]:
    """Write the answer's files, or its JSON where a file for it was named."""
    if not result.media:
        if output is None:
            return []
        output.write_text(json.dumps(result.json, indent=2) + "\n", "utf-8")
        return [output]
    paths = _names(pipeline, result.media, output)
    for path, media in zip(paths, result.media, strict=True):
        path.write_bytes(media.data)
    return paths


def _names(pipeline: str, media: Sequence[Media], output: Path | None) -> list[Path]:
    """Name one file for each: the one asked for, its siblings, or the first that are free."""
    if output is not None:
        rest = (output.with_stem(f"{output.stem}-{n}") for n in range(2, len(media) + 1))
        return [output, *rest]
    paths: list[Path] = []
    number = 1
    for each in media:
        while (path := Path(f"{pipeline}-{number}{each.suffix}")).exists():
            number += 1
        number += 1
        paths.append(path)
    return paths


def _show(summary: dict[str, Any], *, streamed: bool) -> None:
    from podium.testing.gateway.ai.report import bill

    if not summary["ok"]:
        click.echo(f"Error: {summary['error']}", err=True)
        return
    if streamed:
        click.echo()
    elif summary["text"]:
        click.echo(summary["text"])
    elif not summary["files"]:
        click.echo(json.dumps(summary["answer"]))
    for line in [*(f"wrote {path}" for path in summary["files"]), *bill(summary)]:
        click.echo(line, err=True)
