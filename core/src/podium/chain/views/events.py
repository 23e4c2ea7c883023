"""The events that change what the views hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podium.chain.contracts import (
    BondingManager,
    Controller,
    RoundsManager,
    ServiceRegistry,
    TicketBroker,
)

if TYPE_CHECKING:
    from podium.chain.abi import Event

SENDER_EVENTS = (
    TicketBroker.deposit_funded,
    TicketBroker.reserve_funded,
    TicketBroker.withdrawal,
    TicketBroker.unlocked,
    TicketBroker.unlock_cancelled,
    TicketBroker.reserve_claimed,
    TicketBroker.ticket_transfer,
    TicketBroker.ticket_redeemed,
)
"""Change the funds of the sender in their first topic."""

POOL_EVENTS = (BondingManager.activated, BondingManager.deactivated)
PROTOCOL_EVENTS = (
    RoundsManager.new_round,
    Controller.paused_event,
    Controller.unpaused_event,
    Controller.parameter_update,
    *POOL_EVENTS,
)
"""Change what is common to all."""

OWN_EVENTS = (
    BondingManager.bonded,
    BondingManager.unbonded,
    BondingManager.rebonded,
    BondingManager.bond_transferred,
    BondingManager.stake_withdrawn,
    BondingManager.fees_withdrawn,
    BondingManager.earnings_claimed,
    BondingManager.reward,
    BondingManager.rates_updated,
    BondingManager.slashed,
    ServiceRegistry.updated,
    TicketBroker.ticket_transfer,
    *POOL_EVENTS,
)
"""Change an orchestrator that one of their topics names."""


def _topics(*events: Event) -> frozenset[bytes]:
    return frozenset(event.topic for event in events)


SENDER_TOPICS = _topics(*SENDER_EVENTS)
PROTOCOL_TOPICS = _topics(*PROTOCOL_EVENTS)
OWN_TOPICS = _topics(*OWN_EVENTS)
TOPICS = SENDER_TOPICS | PROTOCOL_TOPICS | OWN_TOPICS
