"""``podium tickets``."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from podium.cli.lazy import Failed
from podium.cli.options import config_option, console
from podium.config.load import find_config, load_settings
from podium.crypto import checksum_address
from podium.model import TicketState
from podium.units import format_eth, format_gwei

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from podium.model import TicketRecord
    from podium.stores.sqlite import Database

T = TypeVar("T")
Row = dict[str, "str | int | None"]

_SHOWN_DIGITS = 12
_STATES = [str(state) for state in TicketState]
_RETRIED = frozenset({TicketState.BLOCKED, TicketState.DEAD})


@click.group()
def tickets() -> None:
    """Look at the winning tickets, and try again those that are stuck."""


@tickets.command(name="list")
@config_option
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(_STATES),
    help="Only this state; again for more.",
)
@click.option("--open", "open_only", is_flag=True, help="Only those still to be redeemed.")
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_command(
    config_path: Path | None, states: tuple[str, ...], open_only: bool, limit: int, as_json: bool
) -> None:
    """List the winning tickets in the node's database, oldest first."""
    path = _path(config_path)
    wanted = [TicketState(state) for state in states]

    async def find(database: Database) -> list[TicketRecord]:
        return await database.tickets.find(states=wanted, open_only=open_only, limit=limit)

    found = _with_database(path, find) if path.exists() else []
    if as_json:
        for record in found:
            click.echo(json.dumps(_row(record)))
    elif not found:
        click.echo(f"no winning tickets in {path}")
    else:
        _print(found)


@tickets.command
@config_option
@click.argument("ticket")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def show(config_path: Path | None, ticket: str, as_json: bool) -> None:
    """Show all about one ticket, named by the start of its hash or signature."""
    record = _one(_all(_path(config_path)), ticket)
    row = _row(record)
    if as_json:
        click.echo(json.dumps(row))
        return
    width = max(map(len, row))
    for name, value in row.items():
        click.echo(f"{name:{width}}  {'-' if value in {None, ''} else value}")


@tickets.command
@config_option
@click.argument("names", metavar="TICKET...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All that are blocked or dead.")
def retry(config_path: Path | None, names: tuple[str, ...], every: bool) -> None:
    """Try blocked or dead tickets again; a node that runs takes notice by itself.

    Name them by the start of their hash or signature.
    """
    if every == bool(names):
        raise click.UsageError("name tickets, or give --all")
    path = _path(config_path)
    records = _all(path)
    chosen = [r for r in records if r.state in _RETRIED] if every else []
    for name in names:
        record = _one(records, name)
        if record.state not in _RETRIED:
            raise Failed(
                f"ticket {_hash(record)} is {record.state}:"
                " only blocked and dead ones are tried again"
            )
        chosen.append(record)
    signatures = [record.ticket.signature for record in chosen]
    number = _with_database(path, lambda d: d.tickets.retry(signatures)) if chosen else 0
    click.echo(f"{number} ticket{'' if number == 1 else 's'} will be tried again")


def _path(config_path: Path | None) -> Path:
    settings = load_settings(find_config(config_path))

    from podium.app import DATABASE

    folder = settings.node.data_dir
    if not folder.is_dir():
        raise Failed(f"no node has run here: {folder} (node.data_dir) does not exist")
    return folder / DATABASE


def _with_database(path: Path, work: Callable[[Database], Awaitable[T]]) -> T:
    from podium.stores.sqlite import Database

    async def run() -> T:
        database = await Database.open(path)
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


def _all(path: Path) -> list[TicketRecord]:
    if not path.exists():
        raise Failed(f"no winning tickets in {path}")
    return _with_database(path, lambda database: database.tickets.find(limit=-1))


def _one(records: Sequence[TicketRecord], name: str) -> TicketRecord:
    start = name.lower().removeprefix("0x")
    found = [
        r
        for r in records
        if start and (_hash(r)[2:].startswith(start) or r.ticket.signature.hex().startswith(start))
    ]
    if not found:
        raise Failed(f"there is no ticket {name}: see `podium tickets list`")
    if len(found) > 1:
        raise Failed(f"{len(found)} tickets begin with {name}: give more digits")
    return found[0]


def _hash(record: TicketRecord) -> str:
    from podium.payments.ticket import winner_hash

    return "0x" + winner_hash(record.ticket).hex()


def _row(record: TicketRecord) -> Row:
    ticket = record.ticket
    next_try = datetime.fromtimestamp(record.next_try_at, UTC) if record.next_try_at else None
    return {
        "ticket": _hash(record),
        "created": record.created_at,
        "sender": checksum_address(ticket.sender),
        "recipient": checksum_address(ticket.recipient),
        "nonce": ticket.nonce,
        "face_value_wei": ticket.face_value,
        "face_value": format_eth(ticket.face_value),
        "creation_round": ticket.creation_round,
        "expires_block": ticket.expiration_block,
        "state": str(record.state),
        "reason": record.reason,
        "advice": _advice(record),
        "attempts": record.attempts,
        "next_try": None if next_try is None else f"{next_try:%Y-%m-%d %H:%M:%S}",
        "unlocks_at": format_gwei(record.gas_price_limit) if record.gas_price_limit else None,
        "paid_wei": record.paid,
        "paid": None if record.paid is None else format_eth(record.paid),
        "tx_hash": None if record.tx_hash is None else "0x" + record.tx_hash.hex(),
        "updated": record.updated_at,
        "done": record.done_at,
        "signature": "0x" + ticket.signature.hex(),
    }


def _advice(record: TicketRecord) -> str | None:
    """Say what an operator can do about a contract's refusal."""
    from podium.chain.reverts import Revert, classify

    found = classify(record.reason)
    return None if found is Revert.UNKNOWN else found.advice


def _print(records: Sequence[TicketRecord]) -> None:
    from rich.table import Table

    table = Table(
        "ticket",
        "created",
        "sender",
        "round",
        "face value",
        "state",
        "paid",
        "unlocks at",
    )
    for record in records:
        row = _row(record)
        state = f"{row['state']}: {row['reason']}" if row["reason"] else row["state"]
        table.add_row(
            str(row["ticket"])[: 2 + _SHOWN_DIGITS],
            record.created_at,
            str(row["sender"]),
            str(row["creation_round"]),
            str(row["face_value"]),
            str(state),
            str(row["paid"] or ""),
            str(row["unlocks_at"] or ""),
        )
    console().print(table)
