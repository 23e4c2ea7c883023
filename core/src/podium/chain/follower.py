"""Looks at the chain while transactions are under way, and decides what each of them needs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from attrs import define, frozen

from podium.chain.blocks import head_of_block, quantity
from podium.chain.receipts import Mined
from podium.crypto import checksum_address
from podium.errors import (
    AccountError,
    ChainError,
    PodiumError,
    Reverted,
    RpcUnavailable,
    StoreError,
    TxFailed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podium.chain.flight import Flight
    from podium.chain.outbox import Outbox

FOREIGN_LOOKS = 3
"""How often a used nonce's transaction may be nowhere before another program is blamed: endpoints
do not show receipts and counts at the same moment."""


@frozen
class View:
    """The chain at one look.

    Attributes:
        number: The newest block's.
        count: The account's mined transactions: all nonces below are used.
    """

    number: int
    count: int


@define(eq=False)
class Follower:
    """Sees transactions through.

    A transaction is only forgotten once it, or another one with its nonce, lies as deep as the
    operator wants; before that a reorg may bring any of its forms back to life.
    """

    outbox: Outbox
    _gap_since: float | None = None

    async def look(self, flights: Sequence[Flight]) -> int | None:
        """Look once; return a nonce that must be filled before anything else is mined.

        Raises:
            ChainError: the chain could not be asked.
        """
        address = checksum_address(self.outbox.signer.address)
        block, count = await asyncio.gather(
            self.outbox.rpc.call("eth_getBlockByNumber", "latest", False),
            self.outbox.rpc.call("eth_getTransactionCount", address, "latest"),
        )
        view = View(head_of_block(block).number, quantity(count))
        await asyncio.gather(*(self._judge(flight, view) for flight in flights))
        return await self._gap(view.count)

    async def _judge(self, flight: Flight, view: View) -> None:
        """Do what one transaction needs; its trouble is not the others'."""
        try:
            if flight.nonce < view.count:
                await self._settle(flight, view)
            else:
                await self._wait(flight, first=flight.nonce == view.count)
        except (ChainError, StoreError, AccountError) as error:
            self.outbox.tell("trouble", flight, str(error))

    async def _wait(self, flight: Flight, *, first: bool) -> None:
        """See to one that is in no block.

        Only the first in line is replaced: the others wait for it, not for higher fees.
        """
        outbox, options, now = self.outbox, self.outbox.options, self.outbox.now()
        if flight.mined is not None:
            flight.mined = None
            outbox.tell("dropped", flight)
            await outbox.rebroadcast(flight)
            return
        if not first:
            flight.first_in_line_at = None
        elif flight.first_in_line_at is None:
            flight.first_in_line_at = now
        since = max(flight.offered_at, flight.first_in_line_at or now)
        assert flight.stored is not None
        may_replace = len(flight.stored.raws) <= options.max_replacements
        if may_replace and now - since >= options.replace_after_s:
            await outbox.replace(flight)
        elif now - flight.broadcast_at >= options.rebroadcast_s:
            await outbox.rebroadcast(flight)

    async def _settle(self, flight: Flight, view: View) -> None:
        """See to one whose nonce is used: by itself, or by another program."""
        mined = await self._find(flight)
        if mined is None:
            await self._missing(flight, view)
            return
        flight.absent = 0
        if flight.mined is None or flight.mined.block_hash != mined.block_hash:
            flight.mined = mined
            self.outbox.tell("mined", flight)
        at = mined.receipt.block_number
        if at + self.outbox.options.confirmations > view.number:
            return
        block = await self.outbox.rpc.call("eth_getBlockByNumber", hex(at), False)
        if block is not None and head_of_block(block).hash == mined.block_hash:
            await self._finish(flight, mined)

    async def _find(self, flight: Flight) -> Mined | None:
        """Return the form that was mined: any of them may be, the newest most likely."""
        assert flight.stored is not None
        for tx_hash in reversed(flight.stored.hashes):
            answer = await self.outbox.rpc.call("eth_getTransactionReceipt", f"0x{tx_hash.hex()}")
            if answer is not None:
                return Mined.parse(answer)
        return None

    async def _finish(self, flight: Flight, mined: Mined) -> None:
        receipt = mined.receipt
        reason = "" if mined.succeeded else await self._reason(flight, mined)
        await self.outbox.store.remove(flight.request.key)
        self.outbox.nonces.spend(flight.nonce)
        if mined.succeeded:
            self.outbox.tell("confirmed", flight, receipt=receipt)
            flight.end(receipt)
        else:
            self.outbox.tell("failed", flight, reason, receipt)
            flight.end(TxFailed(receipt.tx_hash, reason))

    async def _reason(self, flight: Flight, mined: Mined) -> str:
        """Ask the chain again why it reverted; the state may have moved on since."""
        receipt = mined.receipt
        if receipt.gas_used >= flight.gas_limit:
            return "out of gas"
        call = self.outbox.call_of(flight.request, flight.gas_limit)
        try:
            await self.outbox.rpc.call("eth_call", call, hex(receipt.block_number))
        except Reverted as error:
            return error.reason
        except ChainError as error:
            return str(error)
        return ""

    async def _missing(self, flight: Flight, view: View) -> None:
        """Send anew if another program's transaction has our nonce for good.

        "For good" is as deep as our own would have to be: until then a reorg could still let ours
        in, and both would count.
        """
        depth = max(view.number - self.outbox.options.confirmations, 0)
        if await self._count_at(hex(depth)) <= flight.nonce:
            return
        flight.absent += 1
        if flight.absent < FOREIGN_LOOKS:
            return
        self.outbox.tell("foreign", flight, "its nonce was used by a transaction from elsewhere")
        if flight.fills_gap:
            await self._forget(flight, ChainError("the gap was filled from elsewhere"))
            return
        try:
            await self.outbox.dispatch(flight)
        except RpcUnavailable:
            raise
        except PodiumError as error:
            await self._forget(flight, error)

    async def _count_at(self, block: str) -> int:
        address = checksum_address(self.outbox.signer.address)
        return quantity(await self.outbox.rpc.call("eth_getTransactionCount", address, block))

    async def _forget(self, flight: Flight, error: PodiumError) -> None:
        """Drop one that can never be mined, and tell why it was not sent anew."""
        if flight.stored is not None:
            await self.outbox.store.remove(flight.request.key)
            self.outbox.nonces.spend(flight.nonce)
        self.outbox.tell("given_up", flight, str(error))
        flight.end(error)

    async def _gap(self, count: int) -> int | None:
        """Return the nonce that all of ours wait for, once they have waited long enough.

        Another program's transaction that still waits at it is no gap.
        """
        gap, now = self.outbox.nonces.gap(count), self.outbox.now()
        if gap is None:
            self._gap_since = None
            return None
        if self._gap_since is None:
            self._gap_since = now
        if now - self._gap_since < self.outbox.options.replace_after_s:
            return None
        return gap if await self._count_at("pending") <= gap else None
