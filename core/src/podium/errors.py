"""Every error the core raises on purpose.

``PodiumError``
 ├── ``ConfigInvalid``       the configuration cannot work; lists every problem at once
 ├── ``StartupError``        the node cannot start; one sentence that says what to do
 ├── ``WireError``           a peer's bytes cannot be read
 ├── ``CredentialsError``    a signature, token or credential is not good
 ├── ``CapacityError``       no session, queue place or slot is free
 ├── ``PaymentError``        a payment is refused
 │    ├── ``TicketError``    ... by a ticket check
 │    └── ``InsufficientBalance``
 ├── ``SenderError``         a sender's funds do not allow tickets, or cannot be read
 └── ``StoreError``          something could not be stored

``code`` is stable and goes into logs and metrics; ``str(error)`` is the text
that the protocol shows to the peer where one is specified. Only
``web/errors.py`` turns codes into HTTP statuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence


class PodiumError(Exception):
    """Base of the core's errors."""

    code: ClassVar[str] = "error"


class ConfigInvalid(PodiumError):
    """The configuration has problems.

    Attributes:
        problems: One line each: ``plugins.transcode.slots: must be >= 1``.
    """

    code = "config_invalid"

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class StartupError(PodiumError):
    """The node cannot start."""

    code = "startup"


class WireError(PodiumError):
    """A peer's bytes cannot be read."""

    code = "wire"


class CredentialsError(PodiumError):
    """A signature, token or credential is not good."""

    code = "credentials"


class CapacityError(PodiumError):
    """No session, queue place or slot is free."""

    code = "capacity"


class PaymentError(PodiumError):
    """A payment is refused; the text goes to the sender."""

    code = "payment"


class TicketError(PaymentError):
    """A ticket check failed."""

    code = "ticket"


class InsufficientBalance(PaymentError):
    """The sender's balance does not cover one ticket's expected value."""

    code = "insufficient_balance"

    def __init__(self) -> None:
        super().__init__("Insufficient balance")


class SenderError(PodiumError):
    """A sender's funds do not allow tickets, or could not be read."""

    code = "sender"


class StoreError(PodiumError):
    """Something could not be stored; nothing was credited for it."""

    code = "store"
