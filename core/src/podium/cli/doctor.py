"""``podium doctor``."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from podium.cli.options import config_option, console
from podium.config.load import find_config, load_settings
from podium.errors import AccountError, ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from podium.chain.rpc import RpcPool
    from podium.config.settings import Settings
    from podium.onchain.connect import Orchestrator
    from podium.protocol.doctor import Check, Patient

ANSWER_S = 5.0
STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a check.")
@click.pass_context
def doctor(ctx: click.Context, config_path: Path | None, as_json: bool) -> None:
    """Check all that an orchestrator on chain depends on; exit code 1 if something fails.

    Endpoints, key, contracts, registration, service URI, balance, gas, tickets.
    """
    settings = load_settings(find_config(config_path))
    if not settings.chain.on_chain:
        problem = 'chain.network: is "offchain"; there is nothing to check'
        raise ConfigInvalid([problem])
    found = _examine(settings)
    if as_json:
        for check in found:
            line = {"name": check.name, "verdict": check.verdict, "text": check.text}
            click.echo(json.dumps(line))
    else:
        _print(found)
    if any(check.verdict == "fail" for check in found):
        ctx.exit(1)


def _print(found: Sequence[Check]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for check in found:
        table.add_row(Text(check.verdict, STYLES[check.verdict]), check.name, check.text)
    console().print(table)
    count = {verdict: sum(c.verdict == verdict for c in found) for verdict in STYLES}
    click.echo(f"{count['ok']} ok, {count['warn']} warnings, {count['fail']} failures")


def _examine(settings: Settings) -> list[Check]:
    """Make all checks; without an account there is only one thing to say."""
    from podium.onchain.connect import orchestrator
    from podium.protocol.doctor import Check

    try:
        own = orchestrator(settings)
    except AccountError as error:
        return [Check("account", "fail", str(error))]
    wrong = _try_keys(settings)
    return asyncio.run(_with_endpoints(settings, own, wrong))


def _try_keys(settings: Settings) -> AccountError | None:
    """Unlock every key that is configured, before anything else: a password may be asked for."""
    from podium.cli.operator import ask_password
    from podium.cli.perform import interactive
    from podium.onchain.connect import unlock

    account = settings.account
    sections = {
        "account": account,
        "account.redeemer": account.redeemer,
        "account.rewarder": account.rewarder,
    }
    try:
        for section, keys in sections.items():
            if keys.given:
                unlock(keys, section, ask_password if interactive() else None)
    except AccountError as error:
        return error
    return None


async def _with_endpoints(
    settings: Settings, own: Orchestrator, wrong: AccountError | None
) -> list[Check]:
    from podium.chain.rpc import RpcLimits, RpcPool
    from podium.protocol.doctor import examine

    limits = RpcLimits(timeout_s=ANSWER_S, deadline_s=ANSWER_S)
    pools: dict[str, RpcPool] = {}
    for number, url in enumerate(settings.chain.rpc_urls, 1):
        pool = RpcPool([url], limits=limits)
        name = pool.status()[0].name
        pools[name if name not in pools else f"{name} ({number})"] = pool
    try:
        return await examine(_patient(settings, own, wrong, pools))
    finally:
        for pool in pools.values():
            await pool.aclose()


def _patient(
    settings: Settings,
    own: Orchestrator,
    wrong: AccountError | None,
    pools: Mapping[str, RpcPool],
) -> Patient:
    from podium.chain.networks import find_network
    from podium.node import reachable
    from podium.onchain.connect import key_address
    from podium.protocol.doctor import Patient

    chain, account = settings.chain, settings.account
    network = find_network(chain.network, chain.controller_bytes)
    assert network.controller is not None

    def unlock() -> None:
        if wrong is not None:
            raise wrong

    return Patient(
        endpoints=pools,
        controller=network.controller,
        chain_id=network.chain_id,
        account=own.address,
        payer=key_address(account.redeemer) or key_address(account),
        unlock=unlock if account.given else None,
        service_uri=settings.node.service_uri,
        reach=reachable,
        redeem_gas=network.redeem_gas,
        ticket_ev=settings.payments.ticket_ev_wei,
        max_face_value=settings.payments.max_face_value_wei,
        max_gas_price=chain.max_gas_price_wei,
        rewards=chain.reward != "off" and own.keys is not None,
    )
