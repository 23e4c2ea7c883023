"""``podium round``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podium.cli.options import config_option
from podium.cli.perform import yes_option

if TYPE_CHECKING:
    from podium.protocol.state import RoundState


@click.group(name="round")
def round_group() -> None:
    """Look at the round, and initialize it."""


@round_group.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def show(config_path: Path | None, as_json: bool) -> None:
    """Show the current round."""
    from podium.cli.operator import operating

    with operating(config_path, account=False) as operator:
        found = operator.round()
        click.echo(json.dumps(describe_round(found)) if as_json else round_line(found))


def describe_round(found: RoundState) -> dict[str, Any]:
    """Return the round as JSON can hold it."""
    return {
        "number": found.number,
        "initialized": found.initialized,
        "locked": found.locked,
        "paused": found.paused,
        "block": found.block,
        "blocks_left": found.blocks_left,
        "length": found.length,
    }


def round_line(found: RoundState) -> str:
    """Say how the round is, in a line."""
    marks = ["initialized" if found.initialized else "not initialized"]
    marks += ["rates are locked"] if found.locked else []
    marks += ["the protocol is paused"] if found.paused else []
    left = f"{found.blocks_left} of {found.length} blocks left"
    return f"round {found.number}, {', '.join(marks)}, {left}"


@round_group.command()
@config_option
@yes_option
def initialize(config_path: Path | None, yes: bool) -> None:
    """Initialize the current round, which anybody may do, once.

    The key of [account] pays the gas, whoever the orchestrator is.
    """
    from podium.cli.operator import operating
    from podium.protocol.actions import InitializeRound

    with operating(config_path, any_key=True) as operator:
        operator.perform(lambda _: InitializeRound(), yes, done="the round is initialized")
