"""Why the Gateway client could not do something. Each text is one sentence for a person."""

from __future__ import annotations

from podium.errors import PodiumError


class GatewayError(PodiumError):
    """Base of the Gateway client's errors."""

    code = "gateway"


class InputError(GatewayError):
    """The input, the ladder or an option cannot be used."""

    code = "gateway_input"


class NoOrchestrator(GatewayError):
    """No orchestrator answered with terms that this Gateway accepts."""

    code = "no_orchestrator"


class TermsRefused(GatewayError):
    """An orchestrator's price or ticket parameters are not acceptable."""

    code = "terms_refused"


class OrchestratorFailed(GatewayError):
    """An orchestrator failed one attempt; another attempt may succeed."""

    code = "orchestrator_failed"


class CallRefused(OrchestratorFailed):
    """An orchestrator was reached, and answered a gRPC call with an error."""

    code = "call_refused"


class SegmentRefused(GatewayError):
    """The segment itself cannot be transcoded: no other attempt is made (wire-video 6.5)."""

    code = "segment_refused"


class VerificationFailed(OrchestratorFailed):
    """A result does not verify.

    ``drops_session`` tells the two cases apart: a wrong pixel count costs the orchestrator
    its session, a wrong signature does not (wire-video 10.4).
    """

    code = "verification_failed"

    def __init__(self, text: str, *, drops_session: bool) -> None:
        super().__init__(text)
        self.drops_session = drops_session
