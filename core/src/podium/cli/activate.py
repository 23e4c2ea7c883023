"""``podium activate`` and ``podium deactivate``: becoming an orchestrator, and leaving."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podium.cli.lazy import Failed
from podium.cli.options import config_option
from podium.cli.perform import Refused, interactive, yes_option
from podium.cli.values import Amount, Percent, ServiceUri
from podium.units import format_lpt, format_percent

if TYPE_CHECKING:
    from podium.cli.operator import Operator
    from podium.protocol.actions import Activate
    from podium.protocol.state import AccountState

DEFAULT_REWARD_CUT = 100_000
DEFAULT_FEE_CUT = 50_000
LPT = Amount("LPT")
PERCENT = Percent()
URI = ServiceUri()


@click.command()
@config_option
@click.option("--stake", type=LPT, help="LPT to have bonded in the end.")
@click.option("--reward-cut", type=PERCENT, help="Share of the rewards to keep, as 10%.")
@click.option("--fee-cut", type=PERCENT, help="Share of the fees to keep, as 5%.")
@click.option(
    "--service-uri",
    type=URI,
    help="Where gateways find the node [default: node.service_uri].",
)
@click.option(
    "--lock", "lock_id", type=click.IntRange(min=0), help="Bond this unbonding lock again."
)
@yes_option
def activate(
    config_path: Path | None,
    stake: int | None,
    reward_cut: int | None,
    fee_cut: int | None,
    service_uri: str | None,
    lock_id: int | None,
    yes: bool,
) -> None:
    """Become an orchestrator: bond LPT, set the cuts, register the service URI.

    What is missing is asked for on a terminal. Doing it again goes on where it was broken off:
    what is done is left out. Prices are in the configuration: podium set price.
    """
    from podium.cli.operator import operating

    given = {
        "stake": stake,
        "reward_cut": reward_cut,
        "fee_cut": fee_cut,
        "service_uri": service_uri,
    }

    with operating(config_path) as operator:

        def make(state: AccountState) -> Activate:
            from podium.protocol.actions import Activate

            return Activate(**_complete(operator, state, given), lock_id=lock_id)

        operator.perform(make, yes, done="the account is an orchestrator with these settings")
        _say_what_follows(operator)


def _complete(operator: Operator, state: AccountState, given: dict[str, Any]) -> dict[str, Any]:
    """Fill in what no flag says: from the chain and the configuration, or by asking."""
    known = dict(given)
    registered = state.transcoder.registered
    coder = state.transcoder
    if known["service_uri"] is None:
        configured = operator.settings.node.service_uri
        known["service_uri"] = URI.convert(configured, None, None) if configured else None
    proposals: dict[str, Any] = {
        "stake": state.delegator.stake if registered else None,
        "reward_cut": coder.reward_cut if registered else DEFAULT_REWARD_CUT,
        "fee_cut": coder.fee_cut if registered else DEFAULT_FEE_CUT,
        "service_uri": state.service_uri or None,
    }
    missing = [name for name, value in known.items() if value is None]
    if missing and not interactive():
        kept = {name for name in missing if registered and proposals[name] is not None}
        if open_ := [name for name in missing if name not in kept]:
            flags = ", ".join("--" + name.replace("_", "-") for name in open_)
            raise Refused(f"nothing was sent: there is no terminal to ask on; give {flags}")
        return known | {name: proposals[name] for name in kept}
    for name in missing:
        known[name] = _ask(name, proposals[name], state)
    return known


def _ask(name: str, proposal: Any, state: AccountState) -> Any:
    if name == "stake":
        free = format_lpt(state.lpt)
        shown = None if proposal is None else format_lpt(proposal)
        return click.prompt(f"LPT to have bonded (not bonded: {free})", type=LPT, default=shown)
    if name == "service_uri":
        return click.prompt("Service URI, https://HOST:PORT", type=URI, default=proposal)
    what = "rewards" if name == "reward_cut" else "fees"
    text = f"Share of the {what} to keep; delegators get the rest"
    return click.prompt(text, type=PERCENT, default=format_percent(proposal))


def _say_what_follows(operator: Operator) -> None:
    state = operator.state()
    coder = state.transcoder
    if not coder.registered:
        return
    if coder.active:
        click.echo(f"active in round {state.round.number}")
    elif operator.address in state.pool:
        click.echo(f"active from round {coder.activation_round} on: start the node before")
    else:
        click.echo("registered, but not among those with the most stake: not active")
    payments = operator.settings.payments
    price = f"{payments.price_per_unit} {payments.currency} for {payments.pixels_per_unit} pixel(s)"
    click.echo(f"price: {price}; to change it: podium set price")


@click.command()
@config_option
@yes_option
def deactivate(config_path: Path | None, yes: bool) -> None:
    """Stop being an orchestrator: unbond all, which takes effect with the next round.

    The stake can be withdrawn once its unbonding period is over: podium stake withdraw.
    """
    from podium.cli.operator import operating
    from podium.protocol.actions import Deactivate

    with operating(config_path) as operator:
        if not operator.state().transcoder.registered:
            raise Failed("this account is not an orchestrator: there is nothing to leave")
        operator.perform(lambda _: Deactivate(), yes, done="the account is not an orchestrator")
