"""A complete Gateway: finds orchestrators, pays them, verifies what they return.

For tests and demonstrations; it shares only the wire's messages and the hash and signature
primitives with the node, so that a mistake on either side shows. Needs the extra
``podium[gateway]``, which is imported at the first use of a name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from podium.testing.gateway.client import GatewayClient, Outcome, Rendition
    from podium.testing.gateway.discovery import Candidate, parse_addresses
    from podium.testing.gateway.errors import (
        GatewayError,
        InputError,
        NoOrchestrator,
        OrchestratorFailed,
        SegmentRefused,
        TermsRefused,
        VerificationFailed,
    )
    from podium.testing.gateway.media import Segment
    from podium.testing.gateway.profiles import parse_ladder, preset
    from podium.testing.gateway.requests import (
        SegmentRequest,
        build_payment,
        build_segdata,
        build_segment_request,
    )
    from podium.testing.gateway.run import StreamRun
    from podium.testing.gateway.tickets import BlockClock, Caps, Funds, TicketTerms
    from podium.testing.gateway.transport import Http, Rpc

_HOMES = {
    "client": ("GatewayClient", "Outcome", "Rendition"),
    "discovery": ("Candidate", "parse_addresses"),
    "errors": (
        "GatewayError",
        "InputError",
        "NoOrchestrator",
        "OrchestratorFailed",
        "SegmentRefused",
        "TermsRefused",
        "VerificationFailed",
    ),
    "media": ("Segment",),
    "profiles": ("parse_ladder", "preset"),
    "requests": ("SegmentRequest", "build_payment", "build_segdata", "build_segment_request"),
    "run": ("StreamRun",),
    "tickets": ("BlockClock", "Caps", "Funds", "TicketTerms"),
    "transport": ("Http", "Rpc"),
}

__all__ = [
    "BlockClock",
    "Candidate",
    "Caps",
    "Funds",
    "GatewayClient",
    "GatewayError",
    "Http",
    "InputError",
    "NoOrchestrator",
    "OrchestratorFailed",
    "Outcome",
    "Rendition",
    "Rpc",
    "Segment",
    "SegmentRefused",
    "SegmentRequest",
    "StreamRun",
    "TermsRefused",
    "TicketTerms",
    "VerificationFailed",
    "build_payment",
    "build_segdata",
    "build_segment_request",
    "parse_addresses",
    "parse_ladder",
    "preset",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
