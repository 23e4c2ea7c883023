"""Why an AI request had no answer."""

from __future__ import annotations

from podium.testing.gateway.errors import GatewayError, OrchestratorFailed


class AiError(GatewayError):
    """Base of these errors.

    Attributes:
        status: What a Gateway tells its own client.
        attempts: Tries that were made.
    """

    code = "ai"
    status = 500

    def __init__(self, text: str, *, attempts: int = 0) -> None:
        super().__init__(text)
        self.attempts = attempts


class RequestRefused(AiError):
    """The request itself is wrong, as the orchestrator or its container says."""

    code = "ai_request_refused"
    status = 400


class NobodyAnswered(AiError):
    """Every try failed, or nobody serves the model; the text holds the last reason."""

    code = "ai_nobody_answered"
    status = 503


class MediaLost(AiError):
    """The job was done and paid for, but a file of its answer could not be had."""

    code = "ai_media_lost"


class AnswerRefused(OrchestratorFailed):
    """An orchestrator answered with a status other than 200.

    Attributes:
        status: Of the answer.
        text: Its body.
    """

    code = "ai_answer_refused"

    def __init__(self, uri: str, status: int, text: str) -> None:
        super().__init__(f"{uri} answered {status}: {text}")
        self.status = status
        self.text = text
