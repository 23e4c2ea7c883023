"""``podium rewards``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podium.cli.options import config_option
from podium.cli.perform import yes_option
from podium.crypto import checksum_address
from podium.units import format_lpt

if TYPE_CHECKING:
    from podium.protocol.state import AccountState


@click.group()
def rewards() -> None:
    """Look at the rewards, and call them: each round's is lost if nobody calls it in time."""


@rewards.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object; amounts in LPTU.")
def show(config_path: Path | None, as_json: bool) -> None:
    """Show whether this round's reward was called, and what it brings."""
    from podium.cli.operator import operating

    with operating(config_path) as operator:
        state = operator.state()
        if as_json:
            click.echo(json.dumps(describe_rewards(state)))
            return
        click.echo(operator.heading())
        click.echo(f"  {reward_line(state)}")


def describe_rewards(state: AccountState) -> dict[str, Any]:
    """Return how it stands with the reward, as JSON can hold it; amounts in LPTU."""
    return {
        "address": checksum_address(state.address),
        "round": state.round.number,
        "active": state.transcoder.active,
        "last_reward_round": state.transcoder.last_reward_round,
        "rewarded": state.transcoder.active and state.rewarded,
        "due": state.reward_due,
        "predicted_lptu": state.predicted_reward if state.reward_due else 0,
    }


def reward_line(state: AccountState) -> str:
    """Say how it stands with this round's reward."""
    number, last = state.round.number, state.transcoder.last_reward_round
    called = f"last called in round {last}" if last else "never called yet"
    if not state.transcoder.active:
        return f"round {number}: not active, so there is none; {called}"
    if state.rewarded:
        return f"round {number}: called"
    if not state.reward_due:
        return f"round {number}: waits until the round is initialized; {called}"
    return f"round {number}: due, {format_lpt(state.predicted_reward)}; {called}"


@rewards.command()
@config_option
@yes_option
def call(config_path: Path | None, yes: bool) -> None:
    """Call this round's reward; a node that runs with chain.reward does so by itself."""
    from podium.cli.operator import operating
    from podium.protocol.actions import CallReward

    with operating(config_path) as operator:
        operator.perform(lambda _: CallReward(), yes, done="this round's reward was called")


@rewards.command()
@config_option
@click.option(
    "--initialize-rounds/--no-initialize-rounds",
    default=None,
    help="Initialize rounds that nobody else has [default: chain.initialize_rounds].",
)
def watch(config_path: Path | None, initialize_rounds: bool | None) -> None:
    """Call the reward of each round, until stopped with Ctrl-C or SIGTERM.

    For those who keep the orchestrator's key on another machine than the node: nothing else is
    needed there but this command, a configuration with [account] and [chain], and some ETH.
    """
    from podium.cli.operator import operating
    from podium.cli.watch import watch_rewards

    with operating(config_path) as operator:
        wanted = operator.settings.chain.initialize_rounds
        watch_rewards(operator, wanted if initialize_rounds is None else initialize_rounds)
