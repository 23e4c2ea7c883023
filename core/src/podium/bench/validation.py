"""Payments checked over the views of a chain, and over a fixed view, in one run and in turn.

The views are in memory, so both go at one rate, and the chain is not asked at all meanwhile.
"""

from __future__ import annotations

import asyncio
import statistics
from typing import TYPE_CHECKING

from attrs import frozen

from podium.bench.tickets import make_payments, take
from podium.crypto import KeySigner
from podium.payments import (
    FixedGasPrice,
    LocalBroker,
    LocalClock,
    PaymentSettings,
    RandSource,
    TicketPayments,
)
from podium.stores.sqlite import Database

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from podium.bench.onchain import Rig

BATCH = 20
PAYMENTS = 60
"""In a round, of each kind."""

PAUSE_S = 0.05
"""Between two measured parts: the node goes on following its chain."""


@frozen(kw_only=True)
class Validation:
    """Medians over the rounds; tickets a second.

    Attributes:
        onchain_per_s: Over the views of a chain.
        offchain_per_s: Over a fixed view.
        ratio: The first over the second.
        spread: Between the quartiles of that ratio.
        rpc_calls: Requests to the chain while payments were checked.
    """

    onchain_per_s: float
    offchain_per_s: float
    ratio: float
    spread: float
    rpc_calls: int

    def figures(self) -> dict[str, float]:
        """Return the figures by their names in the JSON."""
        return {
            "tickets_onchain.ratio_offchain": self.ratio,
            "tickets_onchain.validate_per_s": self.onchain_per_s,
            "tickets_onchain.rpc_calls": self.rpc_calls,
        }

    def lines(self) -> list[str]:
        """Return the figures as text."""
        return [
            f"payments of {BATCH} tickets: {self.onchain_per_s:,.0f} tickets/s over the chain's"
            f" views, {self.offchain_per_s:,.0f} over a fixed one: {self.ratio:.2f}x"
            f" (+-{self.spread / 2:.2f}); {self.rpc_calls} requests to the chain meanwhile"
        ]


async def compare(rig: Rig, folder: Path, rounds: int) -> Validation:
    """Measure both kinds in turn, whoever goes first in turn as well."""
    database = await Database.open(folder / "validation.sqlite3")
    try:
        node = rig.node
        sender = KeySigner(rig.devnet.account("gateway").key)
        settings = PaymentSettings(
            rig.devnet.account("orchestrator").address, redeem_gas=node.chain.network.redeem_gas
        )
        funds = await node.broker.sender_funds(sender.address)
        gas_price = FixedGasPrice(node.gas.wei)
        secret = RandSource(b"\x02" * 32)
        kinds = {
            "onchain": TicketPayments.build(
                settings,
                rand=secret,
                clock=node.clock,
                broker=node.broker,
                gas_price=node.gas,
                store=node.redeemer,
                on_event=lambda _event: None,
            ),
            "offchain": TicketPayments.build(
                settings,
                rand=secret,
                clock=LocalClock(),
                broker=LocalBroker(funds),
                gas_price=gas_price,
                store=database,
                on_event=lambda _event: None,
            ),
        }
        rates: dict[str, list[float]] = {name: [] for name in kinds}
        calls = 0
        for number in range(-1, rounds):
            for name in sorted(kinds, reverse=bool(number % 2)):
                payments = await make_payments(kinds[name], sender, BATCH, PAYMENTS)
                await asyncio.sleep(PAUSE_S)
                before = rig.rpc_calls
                rate = await take(kinds[name], payments)
                if number < 0:
                    continue  # the first round warms up
                rates[name].append(rate)
                if name == "onchain":
                    calls += rig.rpc_calls - before
    finally:
        await database.close()
    return _validation(rates["onchain"], rates["offchain"], calls)


def _validation(onchain: Sequence[float], offchain: Sequence[float], calls: int) -> Validation:
    ratios = [ours / theirs for ours, theirs in zip(onchain, offchain, strict=True)]
    quarters = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
    return Validation(
        onchain_per_s=statistics.median(onchain),
        offchain_per_s=statistics.median(offchain),
        ratio=statistics.median(ratios),
        spread=quarters[2] - quarters[0],
        rpc_calls=calls,
    )
