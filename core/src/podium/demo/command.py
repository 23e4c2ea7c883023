"""What the demos' commands share: their options, their input, and how trouble is told."""

from __future__ import annotations

import contextlib
import sys
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podium.demo.errors import GatewayEnded
from podium.errors import PodiumError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEFAULT_LADDER = "P240p30fps16x9,P360p30fps16x9,P576p30fps16x9"

_OPTIONS = (
    click.option(
        "--input",
        "source",
        type=click.Path(exists=True, path_type=Path),
        help="A video file, a folder of segments or a media playlist.  [default: a clip of 16 s]",
    ),
    click.option(
        "--profiles", default=DEFAULT_LADDER, show_default=True, help="As podium gateway."
    ),
    click.option(
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("demo-out"),
        show_default=True,
    ),
)


def shared_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that every demo has."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@contextlib.contextmanager
def told_in_a_sentence() -> Iterator[None]:
    """End the program for what was foreseen, with a sentence and an exit code."""
    try:
        yield
    except GatewayEnded as error:
        sys.exit(error.status)
    except PodiumError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"the demo cannot run here: {error}") from error
    except KeyboardInterrupt:
        click.echo("Stopped.", err=True)
        sys.exit(130)


@contextlib.contextmanager
def given_or_clip(source: Path | None) -> Iterator[Path]:
    """Give the file to send: the operator's, or the clip that comes with Podium."""
    if source is not None:
        yield source
        return
    with as_file(files("podium.assets") / "clip" / "bigbuckbunny.mp4") as clip:
        yield clip
