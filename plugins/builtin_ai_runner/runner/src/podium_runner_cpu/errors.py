"""Everything that the runner refuses or fails at, each with a stable code and an HTTP status.

::

    RunnerError
    ├── InvalidFields        422  what a request's fields violate, one entry for each
    ├── InvalidBody          400  neither JSON nor a form
    ├── InvalidRequest       400  well-formed fields that make no sense
    ├── WrongModel           400  another model than this process has
    ├── InferenceError       400  the model cannot do what is asked; its text goes to the user
    │   └── LoraLoadingError 400
    ├── Unauthorized         401
    ├── RequestTimeout       408
    ├── TooLarge             413
    ├── AudioConversionError 415
    ├── ClientGone           499  the client left
    ├── NotReady             503  the model is not loaded
    ├── Busy                 503  too many requests wait already
    └── ModelUnavailable     500  the model cannot be loaded on this machine
"""

from __future__ import annotations

from typing import ClassVar


class RunnerError(Exception):
    """A request or a model that failed, for a reason we know.

    Attributes:
        code: stable, for logs and metrics.
        status: the HTTP status.
        message: the ``msg`` of the reply.
    """

    code: ClassVar[str] = "failed"
    status: ClassVar[int] = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidFields(RunnerError):
    """Fields that are missing or malformed.

    Attributes:
        details: ``{"loc": [...], "msg": str, "type": str}`` for each.
    """

    code = "invalid-fields"
    status = 422

    def __init__(self, details: list[dict[str, object]]) -> None:
        super().__init__("The request's fields are invalid.")
        self.details = details


class InvalidBody(RunnerError):
    """A body that is not what its headers say."""

    code = "invalid-body"
    status = 400


class InvalidRequest(RunnerError):
    """A request whose fields are well formed and yet make no sense."""

    code = "invalid-request"
    status = 400


class WrongModel(RunnerError):
    """A request for another model."""

    code = "wrong-model"
    status = 400


class InferenceError(RunnerError):
    """The model cannot do what is asked; the text reaches the end user, with a final dot."""

    code = "inference"
    status = 400

    def __init__(self, message: str) -> None:
        super().__init__(f"{message}.")


class LoraLoadingError(InferenceError):
    """A LoRA that is malformed, not installed, or made for another model."""

    code = "lora"


class Unauthorized(RunnerError):
    """The bearer token is missing or wrong."""

    code = "unauthorized"
    status = 401


class RequestTimeout(RunnerError):
    """The body did not arrive in time."""

    code = "request-timeout"
    status = 408


class TooLarge(RunnerError):
    """The body, or the file in it, is larger than accepted."""

    code = "too-large"
    status = 413


class AudioConversionError(RunnerError):
    """Sound in a format nobody decodes, or damaged."""

    code = "audio-conversion"
    status = 415


class ClientGone(RunnerError):
    """The client left before its request was whole; nobody reads this reply."""

    code = "client-gone"
    status = 499


class NotReady(RunnerError):
    """The model is not loaded (yet)."""

    code = "not-ready"
    status = 503


class Busy(RunnerError):
    """As many requests as may wait are waiting."""

    code = "busy"
    status = 503


class ModelUnavailable(RunnerError):
    """The model cannot be loaded: its files or its packages are missing."""

    code = "model-unavailable"
    status = 500
