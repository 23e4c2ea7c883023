"""What an orchestrator's refusal makes a Gateway do: decided by the text, as the network does.

The texts are part of the protocol between orchestrators and Gateways: there are no codes.

Source: go-livepeer server/ai_process.go (``processAIRequest``, ``isRetryableError``); ai.md 2.5.
"""

from __future__ import annotations

from enum import Enum

MAX_TRIES = 20
RETRY_WINDOW_S = 2.0
"""The last try begins within this time of the first."""

SAME_TRIES = 3
SUSPENDED_REFRESHES = 3


class Reaction(Enum):
    """What to do after a failed try."""

    SAME = "same"
    """Ask for new terms; the same orchestrator may be tried again, up to three times."""
    NEXT = "next"
    """The next orchestrator; this one stays in the pool."""
    STOP = "stop"
    """The request is at fault: no other try."""
    SUSPEND = "suspend"
    """The next orchestrator; this one is left out for three refreshes."""


_RULES = (
    ("ticketparams expired", Reaction.SAME),
    ("invalid ticket sendernonce", Reaction.NEXT),
    ("insufficient capacity", Reaction.NEXT),
    ("returned 400", Reaction.STOP),
    ("unable to calculate duration", Reaction.STOP),
)


def reaction_to(text: str) -> Reaction:
    """Return what a refusal's text asks for."""
    lowered = text.lower()
    return next((then for part, then in _RULES if part in lowered), Reaction.SUSPEND)


def told_to_client(text: str) -> str:
    """Return what follows ``returned 400`` in a container's refusal, else all of it."""
    before, found, after = text.partition("returned 400")
    return (after.lstrip(": ") if found else before).strip()


NONCES_USED_UP = "invalid ticket sendernonce"


def wants_new_terms(text: str) -> bool:
    """Whether the parameters that were paid with are of no more use."""
    return reaction_to(text) is Reaction.SAME or NONCES_USED_UP in text.lower()
