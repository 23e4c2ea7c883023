"""Calls rewards in the foreground, away from the node."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from attrs import define, field
from podium_hookspecs import RewardCalled, RewardFailed

from podium.chain.ports import StoredTx
from podium.cli.operator import alone, opened
from podium.errors import ChainError
from podium.onchain.connect import transactor
from podium.protocol.keeper import Pace
from podium.protocol.reading import BlockReader
from podium.protocol.rewards import RewardService
from podium.protocol.rounds import RoundInitializer
from podium.protocol.state import RoundState, TranscoderState, read_round, read_transcoder
from podium.units import format_eth, format_lpt

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium_hookspecs import Event

    from podium.chain.flight import TxEvent
    from podium.cli.operator import Operator
    from podium.onchain.connect import Chain

STORE = "rewards.sqlite3"
LOCK = "rewards.lock"
LOOK_S = 15.0
"""Seconds between looks at the chain: an L1 block takes 12."""

MIN_LOOK_S = 0.2


@define
class _Own:
    """The orchestrator, as it was read last."""

    state: TranscoderState

    @property
    def registered(self) -> bool:
        return self.state.registered

    @property
    def last_reward_round(self) -> int:
        return self.state.last_reward_round

    def active_in(self, round_number: int) -> bool:
        return self.state.activation_round <= round_number < self.state.deactivation_round


@define
class _Protocol:
    round_length: int


@define(eq=False)
class PolledView:
    """The round and the orchestrator, read again every few seconds.

    A node follows the chain's events; a command that only calls rewards does not need to.
    """

    chain: Chain
    address: bytes
    now: Callable[[], float] = time.monotonic
    _round: RoundState | None = field(default=None, init=False)
    _own: _Own | None = field(default=None, init=False)
    _read_at: float = field(default=0.0, init=False)

    async def refresh(self) -> None:
        """Read both at the newest block.

        Raises:
            ChainError: they could not be read; what was read before stays.
        """
        read = await BlockReader.newest(self.chain.rpc)
        addresses = self.chain.addresses
        found = await read_round(read, addresses)
        own = await read_transcoder(read, addresses, self.address, found.number)
        self._round, self._own, self._read_at = found, _Own(own), self.now()

    async def run(self, look_s: float) -> None:
        """Go on until cancelled."""
        while True:
            try:
                await self.refresh()
            except ChainError as error:
                _say(f"the chain cannot be read: {error}")
            await asyncio.sleep(look_s)

    def _known(self) -> RoundState:
        if self._round is None:
            msg = "the round was not read yet"
            raise ChainError(msg)
        return self._round

    @property
    def current_round(self) -> int:
        """The round of the newest block, initialized or not."""
        return self._known().number

    @property
    def round_initialized(self) -> bool:
        """Whether somebody has initialized the current round."""
        return self._known().initialized

    @property
    def blocks_left_in_round(self) -> int:
        """L1 blocks until the next round."""
        return self._known().blocks_left

    @property
    def protocol(self) -> _Protocol:
        """What is common to all."""
        return _Protocol(self._known().length)

    @property
    def silent_for_s(self) -> float:
        """Seconds since the chain was last heard of."""
        self._known()
        return float(self.now() - self._read_at)

    @property
    def paused(self) -> bool:
        """Whether the protocol is paused."""
        return self._known().paused

    @property
    def orchestrator(self) -> _Own:
        """Ours."""
        if self._own is None:
            msg = "the orchestrator was not read yet"
            raise ChainError(msg)
        return self._own


def watch_rewards(operator: Operator, initialize_rounds: bool) -> None:
    """Call rewards until SIGINT or SIGTERM; the transaction under way is kept for the next run."""
    operator.unlock()
    with alone(operator.settings.node.data_dir / LOCK):
        _say(f"watching the rewards of {operator.heading()}; Ctrl-C ends it")
        operator.run(_watch(operator, initialize_rounds))
    _say("stopped")


async def _watch(operator: Operator, initialize_rounds: bool) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(opened(operator.settings, STORE))
        store = database.transactions(StoredTx)
        sender = await stack.enter_async_context(
            transactor(operator.chain, operator.unlock(), operator.settings, store, _on_tx)
        )
        look_s = max(MIN_LOOK_S, operator.settings.chain.poll_interval_s or LOOK_S)
        view = PolledView(operator.chain, operator.address)
        parts = (operator.chain.rpc, operator.chain.addresses, sender, view)
        pace = Pace(check_s=look_s)
        rewards = RewardService(*parts, _on_event, _on_alarm, "on", pace=pace)
        tasks = [asyncio.create_task(view.run(look_s)), asyncio.create_task(rewards.run())]
        if initialize_rounds:
            delay_s = operator.settings.chain.initialize_max_delay_s
            initializer = RoundInitializer(*parts, delay_s, pace=pace)
            tasks.append(asyncio.create_task(initializer.run()))
        waiting = asyncio.create_task(stopped.wait())
        done, _ = await asyncio.wait({waiting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in (waiting, *tasks):
            task.cancel()
        await asyncio.gather(waiting, *tasks, return_exceptions=True)
        for task in done - {waiting}:
            task.result()


def _say(text: str) -> None:
    click.echo(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {text}")


def _on_event(event: Event) -> None:
    if isinstance(event, RewardCalled):
        amount = "" if event.amount is None else f": {format_lpt(event.amount)}"
        _say(f"round {event.round_number} rewarded{amount}, 0x{event.tx_hash.hex()}")
    elif isinstance(event, RewardFailed):
        _say(f"round {event.round_number}: {event.reason}; trying again")


def _on_alarm(alarm: bool) -> None:
    _say("the round nears its end without its reward" if alarm else "the alarm is over")


def _on_tx(event: TxEvent) -> None:
    if event.kind == "confirmed" and event.receipt is not None:
        _say(f"{event.purpose} mined for {format_eth(event.receipt.cost)}")
    elif event.kind in {"sent", "replaced", "resumed"} and event.tx_hash is not None:
        _say(f"{event.purpose} {event.kind}: 0x{event.tx_hash.hex()}")
    elif event.kind in {"capped", "trouble", "refused", "failed"}:
        _say(f"{event.purpose} {event.kind}: {event.detail}")
