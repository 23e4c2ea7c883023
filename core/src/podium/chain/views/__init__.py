"""What the node knows of the chain, held in memory and kept current by events (payments 7.2)."""

from podium.chain.views.settings import ViewSettings
from podium.chain.views.states import (
    OrchestratorState,
    ProtocolState,
    SenderState,
    UnbondingLock,
)
from podium.chain.views.views import ChainViews

__all__ = [
    "ChainViews",
    "OrchestratorState",
    "ProtocolState",
    "SenderState",
    "UnbondingLock",
    "ViewSettings",
]
