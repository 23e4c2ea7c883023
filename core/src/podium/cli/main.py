"""The commands, by name."""

from __future__ import annotations

import click

from podium.cli.lazy import Entry, LazyGroup

ENTRIES = {
    "serve": Entry("podium.cli.serve:serve", "Run the orchestrator."),
    "init": Entry("podium.cli.config:init", "Write a commented configuration file."),
    "config": Entry("podium.cli.config:config", "Check or show the configuration."),
    "plugins": Entry("podium.cli.plugins:plugins", "List or check the installed plugins."),
    "tickets": Entry("podium.cli.tickets:tickets", "Look at the winning tickets."),
    "gateway": Entry(
        "podium.testing.gateway.cli:gateway",
        "Send a video through orchestrators, as a Gateway would.",
        "gateway",
    ),
    "demo": Entry(
        "podium.demo:demo", "Transcode a video with a node and a Gateway of your own.", "gateway"
    ),
    "bench": Entry("podium.bench.cli:bench", "Measure this machine, side by side.", "gateway"),
}


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Print the versions; the package's metadata is read only then."""
    del param
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import version

    from podium.model import PROTOCOL_VERSION

    click.echo(f"podium {version('podium')} (speaks go-livepeer {PROTOCOL_VERSION})")
    ctx.exit()


@click.group(
    cls=LazyGroup, entries=ENTRIES, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Podium: a Livepeer Orchestrator that finds its work in plugins."""


def main() -> None:
    """Run the command line; the entry point of the program."""
    cli.main(prog_name="podium")
