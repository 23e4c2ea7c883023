"""``podium set``: what an orchestrator says of itself, on chain and in its configuration."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import click

from podium.cli.lazy import Failed
from podium.cli.options import config_option
from podium.cli.perform import yes_option
from podium.cli.values import Percent, ServiceUri
from podium.config.load import find_config, load_settings

if TYPE_CHECKING:
    from podium.protocol.plan import Action

_SAME = "it is so already"


@click.group(name="set")
def set_group() -> None:
    """Change the cuts, the service URI or the price."""


def _perform(config_path: Path | None, action: Action, yes: bool) -> None:
    from podium.cli.operator import operating

    with operating(config_path) as operator:
        operator.perform(lambda _: action, yes, done=_SAME)


@set_group.command(name="reward-cut")
@config_option
@click.argument("share", type=Percent())
@yes_option
def reward_cut(config_path: Path | None, share: int, yes: bool) -> None:
    """Set the SHARE of the rewards to keep, such as 10%; delegators get the rest."""
    from podium.protocol.actions import SetRates

    _perform(config_path, SetRates(reward_cut=share), yes)


@set_group.command(name="fee-cut")
@config_option
@click.argument("share", type=Percent())
@yes_option
def fee_cut(config_path: Path | None, share: int, yes: bool) -> None:
    """Set the SHARE of the fees to keep, such as 5%; delegators get the rest."""
    from podium.protocol.actions import SetRates

    _perform(config_path, SetRates(fee_cut=share), yes)


@set_group.command(name="service-uri")
@config_option
@click.argument("uri", type=ServiceUri())
@yes_option
def service_uri(config_path: Path | None, uri: str, yes: bool) -> None:
    """Register the URI that gateways find the node by, https://HOST:PORT.

    The node serves it once node.service_uri says the same.
    """
    from podium.cli.operator import operating
    from podium.protocol.actions import SetServiceUri

    with operating(config_path) as operator:
        operator.perform(lambda _: SetServiceUri(uri), yes, done=_SAME)
        served = operator.settings.node.service_uri
        if served != uri:
            click.echo(
                f'the node says "{served}": set node.service_uri = "{uri}" in'
                f" {operator.settings.path} and start it again"
            )


@set_group.command()
@config_option
@click.argument("amount")
@click.option("--pixels", type=click.IntRange(min=1), default=1, help="Pixels that it buys.")
@click.option("--currency", default="wei", show_default=True, help="wei, eth, or USD and the like.")
def price(config_path: Path | None, amount: str, pixels: int, currency: str) -> None:
    """Set the price of a pixel, or of some, in the configuration file.

    Prices are not on the chain: the node tells them to gateways. It reads the file when it starts.
    """
    from podium.cli.edit import CannotEdit, set_values

    path = find_config(config_path)
    load_settings(path)
    values = {"price_per_unit": _price(amount), "pixels_per_unit": pixels, "currency": currency}
    try:
        set_values(path, "payments", values)
    except CannotEdit as error:
        from podium.config.render import toml

        lines = [f"{name} = {toml(value)}" for name, value in values.items()]
        raise Failed(
            "\n".join([f"cannot edit {path}: {error}; write it yourself:", "[payments]", *lines])
        ) from error
    click.echo(f"{path}: {amount} {currency} for {pixels} pixel(s); start the node again")


def _price(text: str) -> Fraction:
    """Read a decimal number exactly."""
    from podium.units import parse_amount

    try:
        return Fraction(parse_amount(text), 10**18)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="AMOUNT") from error
