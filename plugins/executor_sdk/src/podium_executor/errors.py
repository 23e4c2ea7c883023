"""The errors of an executor.

``ExecutorError``
 ├── ``BadRequest``          the client's fault: 400 with the error's text
 ├── ``TooLarge``            the body exceeds the limit: 413
 ├── ``Unavailable``         no room now: 503
 ├── ``Unauthorized``        not the orchestrator: 401
 ├── ``TimedOut``            the job took too long: 504
 ├── ``SetupError``          the executor cannot work as it was set up
 ├── ``RegistrationFailed``  the orchestrator could not be reached, or broke; worth another try
 └── ``RegistrationRefused`` the orchestrator refused: the secret or the registration is wrong
"""

from __future__ import annotations

from typing import ClassVar


class ExecutorError(Exception):
    """Base of every error here; ``code`` is stable, ``status`` the HTTP answer."""

    code: ClassVar[str] = "executor"
    status: ClassVar[int] = 500


class BadRequest(ExecutorError):
    """The request cannot be worked on; raise it in a handler to say why."""

    code = "bad_request"
    status = 400


class TooLarge(ExecutorError):
    """The body exceeds ``max_body_bytes``."""

    code = "too_large"
    status = 413


class Unavailable(ExecutorError):
    """There is no room now; raise it in a handler that cannot take more."""

    code = "unavailable"
    status = 503


class Unauthorized(ExecutorError):
    """The bearer token is missing or wrong. An orchestrator that gets it drops the capability."""

    code = "unauthorized"
    status = 401


class TimedOut(ExecutorError):
    """The handler took longer than ``timeout_s``."""

    code = "timed_out"
    status = 504


class SetupError(ExecutorError):
    """A name, a price, an annotation or a setting cannot work."""

    code = "setup"


class RegistrationFailed(ExecutorError):
    """The orchestrator could not be reached, or answered with a fault of its own."""

    code = "registration_failed"


class RegistrationRefused(ExecutorError):
    """The orchestrator refused; trying again changes nothing."""

    code = "registration_refused"
