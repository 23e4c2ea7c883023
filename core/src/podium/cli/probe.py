"""Asks a node that runs here how it does, through its admin port and its database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from podium.errors import StoreError
from podium.protocol.status import NodeFacts, TicketSum
from podium.stores.sqlite import Database
from podium.web.standing import STANDING_PATH

if TYPE_CHECKING:
    from podium.config.settings import Settings

TIMEOUT_S = 3.0


async def ask_node(settings: Settings) -> dict[str, Any] | None:
    """Return what the node says of itself; None where none answers at the admin port."""
    address = settings.node.admin_address
    uri = f"http://{address.reachable_host}:{address.port}{STANDING_PATH}"
    async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_S) as client:
        try:
            reply = await client.get(uri)
            found = reply.raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            return None
    return found if isinstance(found, dict) and "service_uri" in found else None


def node_facts(found: dict[str, Any]) -> NodeFacts:
    """Read what a node says of itself."""
    return NodeFacts(
        version=found["version"],
        service_uri=found["service_uri"],
        sessions=found["sessions"],
        max_sessions=found["max_sessions"],
        gateways=tuple(bytes.fromhex(text[2:]) for text in found["gateways"]),
    )


async def sum_tickets(settings: Settings, file_name: str) -> dict[str, TicketSum]:
    """Add up the winning tickets in the node's database, by state; empty where there is none."""
    path = settings.node.data_dir / file_name
    if not path.exists():
        return {}
    try:
        database = await Database.open(path)
    except StoreError:
        return {}
    try:
        totals = await database.tickets.totals()
    finally:
        await database.close()
    return {str(state): TicketSum(*sums) for state, sums in totals.items()}
