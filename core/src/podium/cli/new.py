"""``podium plugins new``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from podium.cli.templates import KINDS, check_name, make_project

if TYPE_CHECKING:
    from podium.cli.templates import Project

IN_NODE = """\
Then enable it in podium.toml, and look whether it loads (podium plugins docs {name} lists options):
  [plugins.{name}]
  enabled = true
  podium plugins check
A node that runs takes it with: podium reload
"""
AS_PROGRAM = """\
Then run it, and register it with an orchestrator:
  ORCH_SECRET=... podium-executor {package}.executor:main --orchestrator https://HOST:8935
"""


@click.command()
@click.argument("name", required=False)
@click.option("--kind", type=click.Choice(list(KINDS)), help="What it adds [default: pipeline].")
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to make [default: ./podium-NAME].",
)
def new(name: str | None, kind: str | None, into: Path | None) -> None:
    """Make a plugin's project: code that works, tests that pass, a README.

    Asks for what is not given, where somebody is there to answer.
    """
    if name is None:
        if not _somebody_is_there():
            raise click.UsageError("give the plugin's NAME")
        name = click.prompt("Name of the plugin (lower case, with hyphens)")
        kind = kind or _ask_kind()
    check_name(name)
    project = make_project(name, kind or "pipeline", into or Path(f"podium-{name}"))
    click.echo(f"made {project.folder} ({project.kind}, {project.files} files)")
    click.echo(_next_steps(project))


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()


def _ask_kind() -> str:
    for kind, what in KINDS.items():
        click.echo(f"  {kind:9} {what}")
    return str(click.prompt("Kind", type=click.Choice(list(KINDS)), default="pipeline"))


def _next_steps(project: Project) -> str:
    text = "Next:\n  cd {folder}\n  pip install -e '.[test]'\n  pytest\n"
    text += AS_PROGRAM if project.kind == "executor" else IN_NODE
    return text.format(name=project.name, package=project.package, folder=project.folder).rstrip()
