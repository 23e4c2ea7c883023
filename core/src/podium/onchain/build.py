"""Puts the chain's part of a node together, and starts what works by itself."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from attrs import define, field
from podium_hookspecs import RoundStarted, TransactionEnded

from podium.chain.contracts import TicketBroker
from podium.chain.feed import PriceFeed
from podium.chain.follow import HeadFollower
from podium.chain.gas import GasMonitor
from podium.chain.ports import StoredTx
from podium.chain.together import Together
from podium.chain.values import Head
from podium.chain.views import ChainViews, ViewSettings
from podium.errors import RpcUnavailable, StartupError
from podium.onchain.connect import connected, key_address, transactor, unlock
from podium.onchain.node import OnChainNode
from podium.payments.onchain import ChainBroker, ChainClock
from podium.payments.redeem import Redeemer, RedeemSettings
from podium.payments.redeem.onchain import OnChain
from podium.protocol.keeper import Pace
from podium.protocol.rewards import RewardService
from podium.protocol.rounds import RoundInitializer
from podium.units import WHOLE_WEI

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from podium_hookspecs import Event
    from structlog.typing import FilteringBoundLogger

    from podium.chain.flight import TxEvent
    from podium.chain.signer import LocalSigner
    from podium.chain.tx import TransactionManager
    from podium.chain.values import HeadUpdate
    from podium.config.account import KeySettings
    from podium.config.settings import Settings
    from podium.onchain.connect import Chain
    from podium.stores.sqlite import Database

START_TIMEOUT_S = 30.0
OUTCOMES = {"confirmed": "mined", "failed": "failed", "replaced": "replaced"}
CALM_S = 60.0
"""States are believed this long without word of the chain, or for so many looks at it."""

CALM_POLLS = 12
MAX_HEAD_AGE_S = 900.0
"""Of public networks' blocks. With an older one the endpoints, or this machine's clock, are wrong,
and nothing that they tell of money is believed."""


@define(eq=False)
class OnChainBuilder:
    """Puts the chain's part together; what has to be stopped goes onto the stack.

    Args:
        settings: Checked, with a chain.
        database: The node's.
        signer: The account's key.
        recipient: 20 bytes, the orchestrator that tickets are made out to.
        emit: Hears events.
        log: For what is no event.
        stack: Unwinds with the node.
        ask: Asks for passwords of further keys.
        currencies: Those that plugins want a price of, where one can be had.
    """

    settings: Settings
    database: Database
    signer: LocalSigner
    recipient: bytes
    emit: Callable[[Event], None]
    log: FilteringBoundLogger
    stack: AsyncExitStack
    ask: Callable[[str], str] | None = None
    currencies: frozenset[str] = frozenset()
    _keys: dict[str, LocalSigner] = field(factory=dict, init=False, repr=False)
    _senders: dict[bytes, TransactionManager] = field(factory=dict, init=False)

    async def build(self) -> OnChainNode:
        """Connect, read everything once, and start what works by itself.

        Raises:
            StartupError: the chain did not answer in time.
            WrongChain, ConfigInvalid, AccountError: the configuration does not fit it.
        """
        await self._unlock()
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                return await self._build()
        except RpcUnavailable as error:
            msg = f"{error}: check chain.rpc_urls (podium doctor says more)"
            raise StartupError(msg) from error
        except TimeoutError:
            msg = (
                f"the chain did not answer within {START_TIMEOUT_S:.0f} s: check chain.rpc_urls"
                " (podium doctor says more)"
            )
            raise StartupError(msg) from None

    async def _build(self) -> OnChainNode:
        settings = self.settings.chain
        heads = self.database.heads(Head)
        chain = await self.stack.enter_async_context(connected(self.settings, heads))
        poll_s = settings.poll_interval_s or chain.network.poll_interval_s
        gas = GasMonitor(
            chain.rpc,
            max(settings.min_gas_price_wei, chain.network.min_gas_price_wei),
            settings.max_gas_price_wei,
            poll_s,
        )
        await gas.refresh()
        sender = await self._transactor(chain, self._keys.get("redeemer", self.signer))
        views = ChainViews(
            chain.rpc,
            chain.addresses,
            self.recipient,
            settings=ViewSettings(
                max_silence_s=max(CALM_S, CALM_POLLS * poll_s),
                max_head_age_s=MAX_HEAD_AGE_S if chain.network.never_idle else None,
            ),
            keep_sender=lambda address: redeemer.keeps(address),
            on_problem=self._problem,
        )
        redeemer = self._redeemer(chain, sender, views, gas)
        watched = (views.addresses, tuple(views.topics))
        listener = self._listener(views, redeemer)
        follower = HeadFollower(
            chain.rpc, heads, *watched, listener, poll_s, on_no_news=views.heard
        )
        await self._start_views(follower)
        views.on_round(lambda: self._round(views))
        self._round(views)
        self._warn(views)
        feed = await self._feed(chain)
        self._keep(follower.run(), "follower")
        self._keep(gas.run(), "gas")
        self._keep(redeemer.run(), "redeemer")
        self.stack.push_async_callback(_let_finish, redeemer)
        accounts = {"redeemer": sender.address}
        rewards = await self._rewards(chain, views, sender, accounts)
        if settings.initialize_rounds:
            self._initializer(chain, views, sender)
        node = OnChainNode(
            chain=chain,
            views=views,
            gas=gas,
            redeemer=redeemer,
            clock=ChainClock(views),
            broker=ChainBroker(views, redeemer.pending),
            rewards=rewards,
            follower=follower,
            feed=feed,
            accounts=accounts,
            on_poor=self._poor,
        )
        self._keep(node.watch_balances(), "balances")
        return node

    # Keys

    async def _unlock(self) -> None:
        """Unlock the roles' own keys; deriving one takes a second, typing its password longer."""
        account = self.settings.account
        wanted: dict[str, KeySettings] = {"redeemer": account.redeemer}
        if self.settings.chain.reward != "off" and key_address(account.rewarder) == self.recipient:
            wanted["rewarder"] = account.rewarder
        for what, keys in wanted.items():
            if keys.given:
                section = f"account.{what}"
                self._keys[what] = await asyncio.to_thread(unlock, keys, section, self.ask)

    async def _transactor(self, chain: Chain, signer: LocalSigner) -> TransactionManager:
        """Return what sends for an account, the same one for all roles that have its key.

        Two would take the same nonces, and each would see the other's transactions through.
        """
        known = self._senders.get(signer.address)
        if known is not None:
            return known
        store = self.database.transactions(StoredTx)
        manager = await self.stack.enter_async_context(
            transactor(chain, signer, self.settings, store, self._transaction)
        )
        await manager.resume()
        self._senders[signer.address] = manager
        return manager

    # Parts

    def _redeemer(
        self, chain: Chain, sender: TransactionManager, views: ChainViews, gas: GasMonitor
    ) -> Redeemer:
        way = OnChain(
            chain.rpc,
            chain.addresses.ticket_broker,
            sender,
            self.database.transactions(StoredTx),
            views,
            gas,
            redeem_gas=chain.network.redeem_gas,
            witnesses=Together(chain.rpc),
        )
        return Redeemer(
            way,
            self.database.tickets,
            on_event=self.emit,
            settings=RedeemSettings(
                redeem_gas=chain.network.redeem_gas, batch=self.settings.chain.redeem_batch
            ),
            on_problem=self._problem,
        )

    def _listener(
        self, views: ChainViews, redeemer: Redeemer
    ) -> Callable[[HeadUpdate], Coroutine[Any, Any, None]]:
        started = False

        async def listen(update: HeadUpdate) -> None:
            nonlocal started
            if not started:
                await views.start(update.head)
                started = True
            else:
                await views.on_update(update)
            for sender in _funded(update, views.contracts.ticket_broker):
                redeemer.funds_changed(sender)
            redeemer.wake(reorg=update.reorg)

        return listen

    async def _start_views(self, follower: HeadFollower) -> None:
        """Take the first look, which shows where the chain is and reads everything there."""
        await follower.step()
        if follower.head is None:
            raise StartupError("the chain shows no block: check chain.rpc_urls")

    async def _feed(self, chain: Chain) -> PriceFeed | None:
        currencies = sorted(self._currencies())
        if not currencies and not self.currencies:
            return None
        address = self.settings.chain.price_feed_bytes or chain.network.price_feed
        if address is None and not currencies:
            return None
        if address is None:
            msg = (
                f"a price in {currencies[0].upper()} needs chain.price_feed: none is known for"
                f' network "{chain.network.name}"'
            )
            raise StartupError(msg)
        feed = PriceFeed(chain.rpc, address, on_problem=lambda text: self.log.warning(text))
        await feed.start(*currencies)
        self._keep(feed.run(), "price feed")
        return feed

    def _currencies(self) -> set[str]:
        payments = self.settings.payments
        named = [payments.currency, *(gateway.currency for gateway in payments.per_gateway)]
        return {name.lower() for name in named} - WHOLE_WEI.keys()

    async def _rewards(
        self,
        chain: Chain,
        views: ChainViews,
        sender: TransactionManager,
        accounts: dict[str, bytes],
    ) -> RewardService | None:
        """Call rewards with the orchestrator's own key, if the node holds it."""
        if self.settings.chain.reward == "off":
            return None
        own = await self._own_transactor(chain, sender)
        if own is None:
            self.log.warning(
                "rewards are not called here: the node does not hold the orchestrator's key; run"
                ' podium rewards watch where it is kept, or set chain.reward = "off"',
                recipient=self.recipient,
            )
            return None
        accounts["rewarder"] = own.address
        service = RewardService(
            chain.rpc,
            chain.addresses,
            own,
            views,
            self.emit,
            self._alarm,
            self.settings.chain.reward,
            pace=self._pace(chain),
        )
        views.on_round(service.wake)
        self._keep(service.run(), "rewards")
        return service

    async def _own_transactor(
        self, chain: Chain, sender: TransactionManager
    ) -> TransactionManager | None:
        if "rewarder" in self._keys:
            return await self._transactor(chain, self._keys["rewarder"])
        if self.signer.address != self.recipient:
            return None
        if sender.address == self.recipient:
            return sender
        return await self._transactor(chain, self.signer)

    def _initializer(self, chain: Chain, views: ChainViews, sender: TransactionManager) -> None:
        initializer = RoundInitializer(
            chain.rpc,
            chain.addresses,
            sender,
            views,
            self.settings.chain.initialize_max_delay_s,
            pace=self._pace(chain),
        )
        views.on_round(initializer.wake)
        self._keep(initializer.run(), "round initializer")

    def _pace(self, chain: Chain) -> Pace:
        poll_s = self.settings.chain.poll_interval_s or chain.network.poll_interval_s
        return Pace(check_s=poll_s)

    # What is heard

    def _keep(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run something until the node stops."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        self.stack.push_async_callback(_stop, task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Say it aloud when something that should run as long as the node has ended by a fault."""
        if not task.cancelled() and (fault := task.exception()) is not None:
            part = task.get_name()
            self.log.error("a part of the node has ended: restart it", part=part, error=repr(fault))

    def _round(self, views: ChainViews) -> None:
        number = views.last_initialized_round
        self.emit(RoundStarted(number, views.orchestrator.active_in(number)))

    def _warn(self, views: ChainViews) -> None:
        """Say at the start what keeps gateways from finding this node, or from paying it."""
        own, configured = views.orchestrator, self.settings.node.service_uri
        if not own.registered:
            self.log.warning(
                "this account is no orchestrator, and payments to it are refused: podium activate",
                recipient=self.recipient,
            )
        elif not own.active_in(views.current_round):
            self.log.warning(
                "this orchestrator is not in the active set of this round: payments are refused",
                recipient=self.recipient,
                active_from_round=own.activation_round,
            )
        if own.registered and configured and own.service_uri.rstrip("/") != configured:
            self.log.warning(
                "the service URI on chain is another: gateways look for this node there; podium"
                " set service-uri",
                on_chain=own.service_uri or "none",
                configured=configured,
            )

    def _poor(self, role: str, balance: int) -> None:
        self.log.warning(
            "this account cannot pay for gas: winning tickets and rewards wait; send ETH to it",
            role=role,
            balance_wei=balance,
        )

    def _alarm(self, alarm: bool) -> None:
        if alarm:
            self.log.error("the round nears its end and has no reward yet")
        else:
            self.log.info("the reward alarm is over")

    def _problem(self, what: str, error: Exception) -> None:
        self.log.warning("chain", what=what, error=str(error))

    def _transaction(self, event: TxEvent) -> None:
        outcome = OUTCOMES.get(event.kind)
        if outcome is None or event.tx_hash is None:
            self.log.debug("transaction", kind=event.kind, purpose=event.purpose, key=event.key)
            return
        receipt = event.receipt
        self.emit(
            TransactionEnded(
                event.purpose,
                outcome,
                event.tx_hash,
                receipt.gas_used if receipt else 0,
                receipt.cost if receipt else 0,
            )
        )


def _funded(update: HeadUpdate, broker: bytes) -> set[bytes]:
    """Return the senders that have more money now: what waited for it need not wait longer."""
    events = TicketBroker.deposit_funded, TicketBroker.reserve_funded
    return {
        log.topics[1][12:]
        for log in update.logs
        if log.address == broker and len(log.topics) > 1 and any(e.matches(log) for e in events)
    }


async def _let_finish(redeemer: Redeemer) -> None:
    """Give redemptions under way a moment; what does not end is taken up at the next start."""
    try:
        async with asyncio.timeout(2.0):
            await redeemer.drain()
    except TimeoutError:
        pass


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
