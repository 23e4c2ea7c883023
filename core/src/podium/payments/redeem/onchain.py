"""Redemption over the real contracts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from podium.chain.blocks import log_of
from podium.chain.contracts import TicketBroker
from podium.chain.reader import read
from podium.chain.reverts import Revert, RevertKind, classify
from podium.chain.values import TxRequest
from podium.crypto import checksum_address
from podium.errors import Reverted, RpcError, RpcUnavailable, TxFailed
from podium.payments.ports import SenderFunds
from podium.payments.redeem.appetite import Appetite
from podium.payments.redeem.ports import Redemption, Refusal, Situation
from podium.payments.redeem.receipts import arguments, call_data, identity, redemptions
from podium.payments.ticket import winner_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podium.chain.ports import Rpc, Transactor, TxStore
    from podium.chain.values import Head
    from podium.model import WinningTicket

PURPOSE = "redeem"
LOOKBACK_BLOCKS = (600_000, 50_000, 5_000, 500)
"""How far back a redemption is looked for: Arbitrum's blocks of two rounds, then less, since some
endpoints answer only for short ranges."""


class RoundLength(Protocol):
    """What is common to all, as ``ProtocolState`` has it."""

    @property
    def round_length(self) -> int:
        """L1 blocks in a round."""


class Views(Protocol):
    """What redemption needs of ``ChainViews``; each raises ``ChainError`` until it is known."""

    @property
    def head(self) -> Head:
        """The newest block."""

    @property
    def l1_block(self) -> int:
        """The newest L1 block."""

    @property
    def current_round(self) -> int:
        """The round of the newest block."""

    @property
    def round_initialized(self) -> bool:
        """Whether it is initialized."""

    @property
    def paused(self) -> bool:
        """Whether the protocol is paused."""

    @property
    def ticket_validity_rounds(self) -> int:
        """Rounds that a ticket can be redeemed in."""

    @property
    def blocks_left_in_round(self) -> int:
        """L1 blocks until the next round."""

    @property
    def pool_size(self) -> int:
        """Orchestrators who share a reserve."""

    @property
    def protocol(self) -> RoundLength:
        """What is common to all."""

    async def is_active(self, orchestrator: bytes, round_number: int) -> bool:
        """Whether an orchestrator is in a round's active set."""


class Gas(Protocol):
    """What redemption needs of ``GasMonitor``."""

    @property
    def wei(self) -> int:
        """The usual price of one unit of gas."""

    @property
    def current_wei(self) -> int:
        """The price now."""

    @property
    def max_wei(self) -> int:
        """The operator's limit, 0: none."""

    @property
    def age_s(self) -> float | None:
        """Seconds since the price was told; None: never yet."""


class OnChain:
    """See :class:`podium.payments.redeem.ports.RedemptionChain`.

    Args:
        rpc: Where to read.
        broker: 20 bytes, the TicketBroker.
        transactor: Sends the redemptions.
        transactions: What the transactor has under way.
        views: Of the chain.
        gas: Prices.
        redeem_gas: Units of gas of one redemption, at most.
        witnesses: Asks all endpoints, for what ends a ticket; None: ``rpc`` alone.
        send_timeout_s: How long to wait for a transaction before looking again.
    """

    def __init__(
        self,
        rpc: Rpc,
        broker: bytes,
        transactor: Transactor,
        transactions: TxStore,
        views: Views,
        gas: Gas,
        *,
        redeem_gas: int,
        witnesses: Rpc | None = None,
        send_timeout_s: float = 300.0,
    ) -> None:
        self._rpc = rpc
        self._witnesses = witnesses or rpc
        self._broker = broker
        self._transactor = transactor
        self._transactions = transactions
        self._views = views
        self._gas = gas
        self._appetite = Appetite(redeem_gas)
        self._send_timeout_s = send_timeout_s
        self._newest_redemption = 0

    def situation(self) -> Situation:
        """Return what the views and the gas monitor hold."""
        views, gas = self._views, self._gas
        if gas.age_s is None:
            raise RpcUnavailable("the gas price is not known yet")
        return Situation(
            block=views.head.number,
            l1_block=views.l1_block,
            current_round=views.current_round,
            round_initialized=views.round_initialized,
            paused=views.paused,
            validity_rounds=views.ticket_validity_rounds,
            blocks_left=views.blocks_left_in_round,
            round_length=views.protocol.round_length,
            gas_price=gas.current_wei,
            usual_gas_price=gas.wei,
            max_gas_price=gas.max_wei,
        )

    @property
    def _block(self) -> int:
        """The block to read at: not before what our own transactions have changed."""
        return max(self._views.head.number, self._newest_redemption)

    async def funds(self, sender: bytes, recipient: bytes) -> SenderFunds:
        """Read a sender's funds."""
        block = self._block
        (deposit, withdraw_round), (remaining, claimed) = await read(
            self._rpc, self._broker, TicketBroker.get_sender_info, sender, block=block
        )
        by_us = await read(
            self._rpc, self._broker, TicketBroker.claimed_reserve, sender, recipient, block=block
        )
        return SenderFunds(
            deposit=deposit,
            reserve_remaining=remaining,
            reserve_claimed=claimed,
            claimed_by_us=by_us,
            pool_size=self._views.pool_size,
            withdraw_round=withdraw_round,
        )

    async def is_active(self, recipient: bytes) -> bool:
        """Ask the views."""
        return await self._views.is_active(recipient, self._views.current_round)

    async def used(self, ticket: WinningTicket) -> bool:
        """Read whether a ticket was redeemed."""
        found: bool = await read(
            self._witnesses,
            self._broker,
            TicketBroker.used_tickets,
            winner_hash(ticket),
            block=self._block,
        )
        return found

    async def past(self, ticket: WinningTicket) -> Redemption:
        """Look through the logs, as far back as an endpoint lets us."""
        newest = self._block
        for blocks in LOOKBACK_BLOCKS:
            try:
                return await self._search(ticket, max(0, newest - blocks), newest)
            except RpcError:
                continue  # too long a range for this endpoint
        return Redemption()

    async def _search(self, ticket: WinningTicket, first: int, last: int) -> Redemption:
        topics = [
            [
                "0x" + TicketBroker.ticket_transfer.topic.hex(),
                "0x" + TicketBroker.ticket_redeemed.topic.hex(),
            ],
            "0x" + ticket.sender.rjust(32, b"\0").hex(),
            "0x" + ticket.recipient.rjust(32, b"\0").hex(),
        ]
        query = {
            "address": checksum_address(self._broker),
            "fromBlock": hex(first),
            "toBlock": hex(last),
            "topics": topics,
        }
        answer = await self._rpc.call("eth_getLogs", query)
        logs = map(log_of, answer)
        return dict(redemptions(logs, self._broker)).get(identity(ticket), Redemption())

    async def dry_run(self, ticket: WinningTicket) -> Refusal | None:
        """Call without sending."""
        try:
            await read(
                self._rpc,
                self._broker,
                TicketBroker.redeem,
                *arguments(ticket),
                block=self._block,
            )
        except Reverted as error:
            return self.refusal(error.reason)
        return None

    async def under_way(self, key: str) -> bool:
        """Look at what the transactor keeps."""
        kept = await self._transactions.under_way(self._transactor.address)
        return any(tx.key == key for tx in kept)

    async def redeem(self, tickets: Sequence[WinningTicket], key: str) -> list[Redemption | None]:
        """Send one transaction, and read from its logs what it did.

        A batch swallows the failures of its tickets, also those for want of gas. So an estimate,
        which is the least that succeeds, would starve them: its limit is reckoned instead.
        """
        request = TxRequest(
            self._broker,
            call_data(tickets),
            purpose=PURPOSE,
            key=key,
            gas_limit=self._appetite.limit(len(tickets)) if len(tickets) > 1 else 0,
        )
        try:
            receipt = await self._transactor.send(request, timeout_s=self._send_timeout_s)
        except TxFailed:
            self._appetite.forget()
            raise
        self._newest_redemption = max(self._newest_redemption, receipt.block_number)
        made = dict(redemptions(receipt.logs, self._broker))
        found = [made.get(identity(ticket)) for ticket in tickets]
        self._appetite.learn(receipt.gas_used, found)
        return found

    def refusal(self, reason: str) -> Refusal:
        """Judge a contract's text; an orchestrator that is not registered can still become it."""
        found = classify(reason)
        final = found.kind is RevertKind.FINAL and found is not Revert.NOT_REGISTERED
        return Refusal(reason, final)
