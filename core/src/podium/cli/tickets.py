"""``podium tickets``."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from podium.cli.options import config_option, console
from podium.config.load import find_config, load_settings
from podium.crypto import checksum_address

if TYPE_CHECKING:
    from podium.stores.sqlite import QueuedTicket


@click.group()
def tickets() -> None:
    """Look at the winning tickets."""


@tickets.command(name="list")
@config_option
@click.option("--open", "open_only", is_flag=True, help="Only those still to be redeemed.")
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_command(config_path: Path | None, open_only: bool, limit: int, as_json: bool) -> None:
    """List the winning tickets in the node's database, oldest first."""
    settings = load_settings(find_config(config_path))

    from podium.app import DATABASE

    path = settings.node.data_dir / DATABASE
    found = asyncio.run(_read(path, open_only, limit)) if path.exists() else []
    rows = [_row(ticket) for ticket in found]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
    elif not rows:
        click.echo(f"no winning tickets in {path}")
    else:
        _print(rows)


async def _read(path: Path, open_only: bool, limit: int) -> list[QueuedTicket]:
    from podium.stores.sqlite import Database

    database = await Database.open(path)
    try:
        return await database.list_tickets(open_only=open_only, limit=limit)
    finally:
        await database.close()


def _row(queued: QueuedTicket) -> dict[str, str | int]:
    ticket = queued.ticket
    state = "waiting"
    if queued.failure:
        state = f"given up: {queued.failure}"
    elif queued.tx_hash:
        state = f"redeemed: {queued.tx_hash}"
    return {
        "created": queued.created_at,
        "sender": checksum_address(ticket.sender),
        "nonce": ticket.nonce,
        "face_value_wei": ticket.face_value,
        "expires_block": ticket.expiration_block,
        "state": state,
    }


def _print(rows: list[dict[str, str | int]]) -> None:
    from rich.table import Table

    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(str, row.values()))
    console().print(table)
