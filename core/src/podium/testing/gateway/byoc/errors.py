"""Why a BYOC request was not done."""

from __future__ import annotations

from podium.testing.gateway.errors import GatewayError


class ByocError(GatewayError):
    """Nobody did it.

    Attributes:
        attempts: Orchestrators that were tried.
    """

    code = "byoc_failed"
    status = 503

    def __init__(self, text: str, *, attempts: int = 0) -> None:
        super().__init__(text)
        self.attempts = attempts


class JobRefused(ByocError):
    """An orchestrator or its container says that the request is at fault: no other try.

    Attributes:
        status: HTTP status, 400 to 499.
    """

    code = "byoc_refused"

    def __init__(self, text: str, *, status: int, attempts: int) -> None:
        super().__init__(text, attempts=attempts)
        self.status = status


class BilledWrongly(ByocError):
    """The balance that an orchestrator reports is not what the work can have cost."""

    code = "byoc_billed_wrongly"
    status = 502
