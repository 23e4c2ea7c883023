"""``podium status``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podium.cli.options import config_option, console

if TYPE_CHECKING:
    from podium.chain.health import EndpointStatus
    from podium.cli.operator import Operator
    from podium.protocol.status import Status


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object; amounts as text.")
def status(config_path: Path | None, as_json: bool) -> None:
    """Show the node, the round, the stake, what was earned, and the winning tickets."""
    from podium.cli.operator import operating

    with operating(config_path) as operator:
        found, told = operator.run(_read(operator))
        if as_json:
            click.echo(json.dumps(_document(operator, found, told)))
        else:
            _print(operator, found, told)


async def _read(operator: Operator) -> tuple[Status, dict[str, Any] | None]:
    from podium.app import DATABASE
    from podium.cli.probe import ask_node, node_facts, sum_tickets
    from podium.protocol.status import read_status

    told = await ask_node(operator.settings)
    await operator.chain.rpc.probe()
    found = await read_status(
        operator.chain.rpc,
        operator.chain.addresses,
        operator.address,
        tickets=await sum_tickets(operator.settings, DATABASE),
        node=None if told is None else node_facts(told),
    )
    return found, told


def _document(operator: Operator, found: Status, told: dict[str, Any] | None) -> dict[str, Any]:
    network = operator.chain.network.name
    document = found.as_document()
    if told is not None:
        document["node"] |= {"ready": told["ready"], "reason": told["reason"]}
    return document | {
        "network": network,
        "chain_id": operator.chain.chain_id,
        "configured_service_uri": operator.settings.node.service_uri,
        "endpoints": [_endpoint(each) for each in operator.chain.rpc.status()],
    }


def _endpoint(each: EndpointStatus) -> dict[str, Any]:
    return {
        "name": each.name,
        "ok": each.ok,
        "head": each.head,
        "lag_blocks": each.lag_blocks,
        "last_error": each.last_error,
    }


def _print(operator: Operator, found: Status, told: dict[str, Any] | None) -> None:
    from rich.table import Table

    out = console()
    for title, rows in [_network(operator, found), *found.sections()]:
        table = Table(title=title, show_header=False, box=None, title_justify="left", pad_edge=True)
        table.add_column(style="dim")
        table.add_column()
        for name, value in rows:
            table.add_row(name, value)
        if title == "Node":
            _add_uri_and_readiness(table.add_row, operator, found, told)
        out.print(table)


def _network(operator: Operator, found: Status) -> tuple[str, list[tuple[str, str]]]:
    rows = [
        ("name", f"{operator.chain.network.name}, chain {operator.chain.chain_id}"),
        ("block", str(found.account.block)),
    ]
    for each in operator.chain.rpc.status():
        lag = f", {each.lag_blocks} blocks behind" if each.lag_blocks else ""
        rows.append((each.name, f"block {each.head}{lag}" if each.ok else each.last_error))
    return "Network", rows


def _add_uri_and_readiness(
    add: Any, operator: Operator, found: Status, told: dict[str, Any] | None
) -> None:
    configured = operator.settings.node.service_uri
    if configured and configured != found.account.service_uri:
        add("", f"but node.service_uri is {configured}: podium set service-uri")
    if told is not None and not told["ready"]:
        add("takes no work", told["reason"])
