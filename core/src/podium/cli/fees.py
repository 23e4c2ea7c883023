"""``podium fees``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from podium.cli.options import config_option
from podium.cli.perform import yes_option
from podium.cli.values import ALL, Amount, EthereumAddress
from podium.crypto import checksum_address
from podium.units import format_eth


@click.group()
def fees() -> None:
    """Look at the fees that redeemed tickets brought, and withdraw them."""


@fees.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object; amounts in wei.")
def show(config_path: Path | None, as_json: bool) -> None:
    """Show the fees that can be withdrawn."""
    from podium.cli.operator import operating

    with operating(config_path) as operator:
        state = operator.state()
        found = {
            "address": checksum_address(state.address),
            "fees_wei": state.delegator.fees,
            "eth_wei": state.eth,
            "round": state.round.number,
        }
        if as_json:
            click.echo(json.dumps(found))
            return
        click.echo(operator.heading())
        click.echo(f"  fees     {format_eth(state.delegator.fees)} to be withdrawn")
        click.echo(f"  balance  {format_eth(state.eth)}")


@fees.command()
@config_option
@click.option(
    "--amount",
    type=Amount("ETH", all_allowed=True),
    default="all",
    show_default=True,
    help="ETH to withdraw.",
)
@click.option(
    "--to",
    "recipient",
    type=EthereumAddress(),
    help="Account that gets it [default: the orchestrator's own].",
)
@yes_option
def withdraw(config_path: Path | None, amount: int, recipient: bytes | None, yes: bool) -> None:
    """Withdraw fees, as ETH."""
    from podium.cli.operator import operating
    from podium.protocol.actions import WithdrawFees

    with operating(config_path) as operator:
        to = operator.address if recipient is None else recipient
        action = WithdrawFees(to, None if amount == ALL else amount)
        operator.perform(lambda _: action, yes)
