"""What the chain's modules need of each other and of the stores; ``assembly`` fills it in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podium.chain.values import Head, Receipt, TxRequest


class Rpc(Protocol):
    """JSON-RPC over one or several endpoints; fails over by itself."""

    async def call(self, method: str, *params: Any, timeout_s: float | None = None) -> Any:
        """Return the result of a method from a healthy endpoint.

        Raises:
            RpcUnavailable: no endpoint gave a usable answer in time.
            RpcError: the chain answered with an error that another endpoint would repeat.
            Reverted: it was a contract's revert (eth_call, eth_estimateGas).
        """

    async def broadcast(self, raw: bytes) -> bytes:
        """Send a signed transaction through every healthy endpoint; return its hash.

        One that an endpoint knows already counts as sent.

        Raises:
            RpcUnavailable: none took it.
            RpcError: all refused it; ``kind`` says why (nonce too low, underpriced, funds).
        """


class Transactor(Protocol):
    """Sends transactions of one account and sees them through."""

    @property
    def address(self) -> bytes:
        """20-byte address of the account that pays the gas."""

    async def send(self, request: TxRequest, *, timeout_s: float | None = None) -> Receipt:
        """Dry-run, send, replace when stuck, wait for confirmations.

        Raises:
            Reverted: the dry run reverted: nothing was sent.
            TxFailed: it was mined and reverted.
            TxTimeout: not mined in time. It stays under way: ask again with the same key.
            GasPriceTooHigh: gas costs more than the operator allows; nothing was sent.
            InsufficientFunds: the account cannot pay the gas; nothing was sent.
            RpcUnavailable: the chain could not be reached.
        """


@frozen
class StoredTx:
    """A transaction as it is kept while it is under way.

    Attributes:
        key: Its request's key.
        purpose: Its request's purpose.
        account: 20 bytes, who sends.
        nonce: The account's nonce.
        raws: The signed forms, oldest first; replacements follow. All have the same nonce.
        hashes: Their 32-byte hashes.
        first_sent_at: Unix seconds.
        request: The request as JSON text, so that a replacement can be made after a restart.
    """

    key: str
    purpose: str
    account: bytes
    nonce: int
    raws: Sequence[bytes] = field(repr=False)
    hashes: Sequence[bytes]
    first_sent_at: float
    request: str = field(repr=False)


class TxStore(Protocol):
    """Keeps transactions under way across restarts. Each call is committed when it returns."""

    async def put(self, tx: StoredTx) -> None:
        """Insert a transaction, or replace the one with its key."""

    async def remove(self, key: str) -> None:
        """Forget a transaction that has ended."""

    async def under_way(self, account: bytes) -> list[StoredTx]:
        """Return an account's transactions that have not ended, by nonce."""


class HeadStore(Protocol):
    """Keeps how far the chain was followed."""

    async def heads(self) -> list[Head]:
        """Return the kept heads, oldest first."""

    async def keep_heads(self, heads: Sequence[Head]) -> None:
        """Replace the kept heads."""

    async def get(self, name: str) -> str | None:
        """Return a remembered value (``chain_id``, ...)."""

    async def put_value(self, name: str, value: str) -> None:
        """Remember a value."""
