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
 │    └── ``ReserveTooLow``  ... the first of the two
 ├── ``StoreError``          something could not be stored
 ├── ``AccountError``        a key or its password is not there, or not right
 ├── ``ActionBlocked``       an operator's action cannot be done now; lists every reason
 └── ``ChainError``          the chain could not be asked, or refused
      ├── ``RpcUnavailable``     no endpoint gave a usable answer in time
      ├── ``RpcError``           the chain answered with an error
      ├── ``Reverted``           a contract refuses the call, with its reason
      ├── ``TxFailed``           a transaction was mined and reverted
      ├── ``TxTimeout``          a transaction was not mined in time
      ├── ``GasPriceTooHigh``    gas costs more than the operator allows
      ├── ``InsufficientFunds``  the account cannot pay for gas or value
      ├── ``PriceFeedError``     a price feed has no price for a currency
      └── ``WrongChain``         another chain, or other contracts, than configured

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


class ReserveTooLow(SenderError):
    """A sender's reserve is too low for tickets that are worth redeeming."""


class StoreError(PodiumError):
    """Something could not be stored; nothing was credited for it."""

    code = "store"


class AccountError(PodiumError):
    """A key or its password is not there, or not right; the text says what to do."""

    code = "account"


class ActionBlocked(PodiumError):
    """An operator's action cannot be done now. Nothing was sent.

    Attributes:
        reasons: One sentence each, that says what to do.
    """

    code = "action_blocked"

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("\n".join(self.reasons))


class ChainError(PodiumError):
    """The chain could not be asked, or it refused."""

    code = "chain"


class RpcUnavailable(ChainError):
    """No endpoint gave a usable answer in time."""

    code = "rpc_unavailable"


class RpcError(ChainError):
    """The chain answered with an error.

    Attributes:
        number: JSON-RPC error code.
        kind: ``"nonce_too_low"``, ``"nonce_too_high"``, ``"already_known"``, ``"underpriced"``,
            ``"funds"``, ``"range"`` (logs of too many blocks), ``"unknown"``: what our own code
            tells apart.
    """

    code = "rpc_error"

    def __init__(self, message: str, number: int = 0, kind: str = "unknown") -> None:
        super().__init__(message)
        self.number = number
        self.kind = kind


class Reverted(ChainError):
    """A contract refuses a call.

    Attributes:
        reason: The contract's own text: ``ticket is expired``; ``Panic 0x11`` for a failed
            assertion or overflow; empty where it gave none.
    """

    code = "reverted"

    def __init__(self, reason: str) -> None:
        super().__init__(f"execution reverted: {reason}" if reason else "execution reverted")
        self.reason = reason


class TxFailed(ChainError):
    """A transaction was mined and reverted.

    Attributes:
        tx_hash: 32 bytes.
        reason: The contract's text, as far as it could be found out again.
    """

    code = "tx_failed"

    def __init__(self, tx_hash: bytes, reason: str = "") -> None:
        super().__init__(f"transaction failed txHash=0x{tx_hash.hex()} {reason}".rstrip())
        self.tx_hash = tx_hash
        self.reason = reason


class TxTimeout(ChainError):
    """A transaction was not mined in time; it may still be."""

    code = "tx_timeout"


class GasPriceTooHigh(ChainError):
    """Gas costs more than the operator allows."""

    code = "gas_price_too_high"


class InsufficientFunds(ChainError):
    """The account cannot pay for the gas, or for the value."""

    code = "insufficient_funds"


class PriceFeedError(ChainError):
    """A price feed was never read, or has no price for a currency."""

    code = "price_feed"


class WrongChain(ChainError):
    """Another chain, or other contracts, than the configuration says."""

    code = "wrong_chain"
