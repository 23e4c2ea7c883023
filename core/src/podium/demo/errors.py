"""What can keep a demo from its end."""

from __future__ import annotations

from podium.errors import PodiumError


class DemoError(PodiumError):
    """The demo could not be run to its end."""

    code = "demo"


class GatewayEnded(DemoError):
    """The Gateway gave no result, and has said why itself; with its exit status."""

    code = "demo_gateway_ended"

    def __init__(self, status: int) -> None:
        super().__init__(f"the Gateway ended with {status}, without a result")
        self.status = status
