"""Signed transactions, mined before the next one is sent."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from podium.crypto import checksum_address
from podium.devnet.errors import DevnetError, Reverted, RpcError
from podium.devnet.options import CHAIN_ID, GWEI
from podium.devnet.rpc import load_web3

if TYPE_CHECKING:
    from podium.devnet.accounts import Account
    from podium.devnet.rpc import Rpc

GAS_LIMIT = 8_000_000
"""Enough for the largest contract; not estimated, so that a failure is mined and can be read."""

TIP_WEI = GWEI
MIN_FEE_CAP_WEI = 100 * GWEI
RECEIPT_TIMEOUT_S = 30.0
POLL_S = 0.02


class Sender:
    """Sends transactions from accounts whose keys are known.

    Attributes:
        mines: Whether blocks come only when they are asked for, so that it must ask.
    """

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self.mines = False

    def send(
        self, account: Account, to: bytes | None, data: bytes = b"", value_wei: int = 0
    ) -> dict[str, Any]:
        """Send a transaction, wait until it is mined; returns its receipt.

        Args:
            account: Who sends and signs.
            to: 20 bytes; None makes a contract.
            data: Call data, or creation code.
            value_wei: ETH sent with it.

        Raises:
            Reverted: it was mined and failed.
            DevnetError: it was refused, or not mined in time.
        """
        raw = self._sign(account, to, data, value_wei)
        tx_hash = self._rpc.call("eth_sendRawTransaction", "0x" + raw.hex())
        if self.mines:
            self._rpc.call("anvil_mine", "0x1")
        receipt = self._receipt(tx_hash)
        if int(receipt["status"], 16) != 1:
            raise Reverted(self._reason(account, to, data, value_wei, receipt))
        return receipt

    def _sign(self, account: Account, to: bytes | None, data: bytes, value_wei: int) -> bytes:
        wallet = load_web3().Account
        sender = checksum_address(account.address)
        fee_cap = max(MIN_FEE_CAP_WEI, 3 * self._rpc.number("eth_gasPrice"))
        transaction: dict[str, Any] = {
            "type": 2,
            "chainId": CHAIN_ID,
            "nonce": self._rpc.number("eth_getTransactionCount", sender, "pending"),
            "gas": GAS_LIMIT,
            "maxFeePerGas": fee_cap,
            "maxPriorityFeePerGas": TIP_WEI,
            "value": value_wei,
            "data": data,
        }
        if to is not None:
            transaction["to"] = checksum_address(to)
        return bytes(wallet.sign_transaction(transaction, account.key).raw_transaction)

    def _receipt(self, tx_hash: str) -> dict[str, Any]:
        deadline = time.monotonic() + RECEIPT_TIMEOUT_S
        while time.monotonic() < deadline:
            receipt: dict[str, Any] | None = self._rpc.call("eth_getTransactionReceipt", tx_hash)
            if receipt is not None:
                return receipt
            time.sleep(POLL_S)
        msg = f"transaction {tx_hash} was not mined within {RECEIPT_TIMEOUT_S:g} s"
        raise DevnetError(msg)

    def _reason(
        self,
        account: Account,
        to: bytes | None,
        data: bytes,
        value_wei: int,
        receipt: dict[str, Any],
    ) -> str:
        """Ask for the contract's words by calling again on the state before the block."""
        call = {"from": account.text, "data": "0x" + data.hex(), "value": hex(value_wei)}
        if to is not None:
            call["to"] = checksum_address(to)
        before = hex(int(receipt["blockNumber"], 16) - 1)
        try:
            self._rpc.call("eth_call", call, before)
        except RpcError as error:
            return f"a transaction of {account.name} failed: {error}"
        return f"a transaction of {account.name} failed, and would not by itself"
