"""``podium stake``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podium.cli.options import config_option
from podium.cli.perform import yes_option
from podium.cli.values import ALL, Amount
from podium.crypto import ZERO_ADDRESS, checksum_address
from podium.units import format_lpt

if TYPE_CHECKING:
    from podium.protocol.state import AccountState

lock_type = click.IntRange(min=0)


@click.group()
def stake() -> None:
    """Look at the stake, add to it, take from it."""


@stake.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object; amounts in LPTU.")
def show(config_path: Path | None, as_json: bool) -> None:
    """Show what is bonded, what is on its way out, and what is not bonded."""
    from podium.cli.operator import operating

    with operating(config_path) as operator:
        state = operator.state()
        if as_json:
            click.echo(json.dumps(describe_stake(state)))
            return
        click.echo(operator.heading())
        for line in _lines(state):
            click.echo(f"  {line}")


def describe_stake(state: AccountState) -> dict[str, Any]:
    """Return the stake as JSON can hold it; amounts in LPTU."""
    delegator = state.delegator
    delegate = delegator.delegate
    return {
        "address": checksum_address(state.address),
        "delegate": None if delegate == ZERO_ADDRESS else checksum_address(delegate),
        "stake_lptu": delegator.stake,
        "total_stake_lptu": state.transcoder.total_stake,
        "not_bonded_lptu": state.lpt,
        "round": state.round.number,
        "locks": [
            {"id": lock.id, "amount_lptu": lock.amount, "withdraw_round": lock.withdraw_round}
            for lock in delegator.locks
        ],
    }


def _lines(state: AccountState) -> list[str]:
    delegator, number = state.delegator, state.round.number
    own = delegator.delegate == state.address
    whom = "itself" if own else checksum_address(delegator.delegate)
    bonded = f"{format_lpt(delegator.stake)} to {whom}" if delegator.stake else "nothing"
    lines = [f"bonded      {bonded}", f"not bonded  {format_lpt(state.lpt)}"]
    if state.transcoder.total_stake:
        lines.insert(1, f"in total    {format_lpt(state.transcoder.total_stake)}, with delegators")
    for lock in delegator.locks:
        when = "now" if lock.withdraw_round <= number else f"from round {lock.withdraw_round} on"
        lines.append(f"lock {lock.id:<6} {format_lpt(lock.amount)}, to be withdrawn {when}")
    return [*lines, f"round       {number}"]


@stake.command()
@config_option
@click.argument("amount", type=Amount("LPT", all_allowed=True))
@yes_option
def bond(config_path: Path | None, amount: int, yes: bool) -> None:
    """Bond more LPT: an AMOUNT such as 12.5, or all."""
    from podium.cli.operator import operating
    from podium.protocol.actions import Bond

    with operating(config_path) as operator:
        operator.perform(lambda state: Bond(state.lpt if amount == ALL else amount), yes)


@stake.command()
@config_option
@click.argument("amount", type=Amount("LPT", all_allowed=True))
@yes_option
def unbond(config_path: Path | None, amount: int, yes: bool) -> None:
    """Take LPT out of the stake: an AMOUNT such as 12.5, or all.

    It waits in an unbonding lock until it can be withdrawn, or bonded again.
    """
    from podium.cli.operator import operating
    from podium.protocol.actions import Unbond

    with operating(config_path) as operator:
        operator.perform(
            lambda state: Unbond(state.delegator.stake if amount == ALL else amount), yes
        )


@stake.command()
@config_option
@click.argument("lock", type=lock_type)
@yes_option
def rebond(config_path: Path | None, lock: int, yes: bool) -> None:
    """Bond the stake of an unbonding LOCK again."""
    from podium.cli.operator import operating
    from podium.protocol.actions import Rebond

    with operating(config_path) as operator:
        operator.perform(lambda _: Rebond(lock), yes)


@stake.command()
@config_option
@click.argument("locks", metavar="[LOCK]...", nargs=-1, type=lock_type)
@yes_option
def withdraw(config_path: Path | None, locks: tuple[int, ...], yes: bool) -> None:
    """Take unbonded stake out: that of some LOCKs, or all whose time has come."""
    from podium.cli.operator import operating
    from podium.protocol.actions import WithdrawStake

    with operating(config_path) as operator:
        operator.perform(lambda _: WithdrawStake(locks), yes)
