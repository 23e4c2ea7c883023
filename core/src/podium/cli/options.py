"""What several commands take and write with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 240

config_option = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Configuration file [default: $PODIUM_CONFIG, ./podium.toml, ~/.podium/podium.toml].",
)


def console() -> Console:
    """Return a console for tables; what goes into a pipe is not cropped to a terminal's width."""
    from rich.console import Console

    found = Console(highlight=False, markup=False)
    return found if found.is_terminal else Console(highlight=False, markup=False, width=PIPE_WIDTH)
