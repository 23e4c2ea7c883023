"""The commands, by name."""

from __future__ import annotations

import click

from podium.cli.extensions import admin_url, extensions
from podium.cli.lazy import Entry, LazyGroup

ENTRIES = {
    "serve": Entry("podium.cli.serve:serve", "Run the orchestrator."),
    "init": Entry("podium.cli.config:init", "Write a commented configuration file."),
    "config": Entry("podium.cli.config:config", "Check or show the configuration."),
    "account": Entry("podium.cli.account:account", "Make and look at accounts."),
    "plugins": Entry(
        "podium.cli.plugins:plugins", "List, check or describe plugins, or begin one."
    ),
    "price": Entry("podium.cli.price:price", "Show what a gateway is quoted, and why."),
    "reload": Entry("podium.cli.reload:reload", "Change the plugins of the running node."),
    "tickets": Entry("podium.cli.tickets:tickets", "Look at the winning tickets."),
    "status": Entry("podium.cli.status:status", "Show how the node and the orchestrator do."),
    "doctor": Entry("podium.cli.doctor:doctor", "Look for what is wrong, and say what to do."),
    "activate": Entry("podium.cli.activate:activate", "Become an orchestrator."),
    "deactivate": Entry("podium.cli.activate:deactivate", "Stop being an orchestrator."),
    "stake": Entry("podium.cli.stake:stake", "Look at the stake, bond, unbond, withdraw."),
    "rewards": Entry("podium.cli.rewards:rewards", "Look at the rewards, and call them."),
    "fees": Entry("podium.cli.fees:fees", "Look at the fees, and withdraw them."),
    "set": Entry("podium.cli.set:set_group", "Change the cuts, the service URI or the price."),
    "round": Entry("podium.cli.round:round_group", "Look at the round, and initialize it."),
    "gateway": Entry(
        "podium.testing.gateway.cli:gateway",
        "Send a video or an AI job through orchestrators, as a Gateway would.",
        "gateway",
    ),
    "demo": Entry(
        "podium.demo.video:demo",
        "Transcode a video with a node and a Gateway.",
        "gateway",
    ),
    "demo-chain": Entry(
        "podium.demo.chain:demo_chain",
        "The demo, paid for on a local chain with the real contracts.",
        "gateway",
    ),
    "demo-ai": Entry(
        "podium.demo.ai:demo_ai",
        "Send paid AI jobs through a node and a Gateway.",
        "gateway",
    ),
    "demo-byoc": Entry(
        "podium.demo.byoc:demo_byoc",
        "Send paid requests to containers behind a node.",
        "gateway",
    ),
    "devnet": Entry(
        "podium.cli.devnet:devnet", "Run a local chain with the real contracts.", "devnet"
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
    cls=LazyGroup,
    entries=ENTRIES,
    more=extensions,
    context_settings={"help_option_names": ["-h", "--help"], "obj": admin_url},
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
