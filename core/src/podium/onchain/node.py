"""The chain's part of a running node: what payments read, and what metrics show."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from attrs import define, field
from podium_hookspecs import PluginError

from podium.crypto import checksum_address
from podium.errors import ChainError

if TYPE_CHECKING:
    from collections.abc import Callable
    from fractions import Fraction

    from podium.chain.feed import PriceFeed
    from podium.chain.follow import HeadFollower
    from podium.chain.gas import GasMonitor
    from podium.chain.views import ChainViews
    from podium.onchain.connect import Chain
    from podium.payments.onchain import ChainBroker, ChainClock
    from podium.payments.redeem import Redeemer
    from podium.protocol.rewards import RewardService

BALANCES_S = 60.0
"""Between two looks at what the accounts have for gas."""


@define(eq=False)
class OnChainNode:
    """Everything of a node that needs a chain, started.

    Attributes:
        chain: The connection.
        views: What is known of the chain.
        gas: Gas prices.
        redeemer: Sees winners through; payments keep them in it.
        clock: For payments.
        broker: For payments.
        rewards: None where the node does not hold the orchestrator's key.
        follower: Of heads.
        feed: None where no price is in a currency.
        accounts: The addresses that pay gas, by their role.
        balances: What they have, wei, by address.
        on_poor: Told a role and its balance, once, when that no longer pays for a redemption.
    """

    chain: Chain
    views: ChainViews
    gas: GasMonitor
    redeemer: Redeemer
    clock: ChainClock
    broker: ChainBroker
    rewards: RewardService | None
    follower: HeadFollower
    feed: PriceFeed | None
    accounts: dict[str, bytes]
    balances: dict[bytes, int] = field(factory=dict)
    on_poor: Callable[[str, int], None] = lambda _role, _wei: None
    _poor: set[bytes] = field(factory=set, init=False)

    async def watch_balances(self) -> None:
        """Look at what the accounts have for gas, for ever."""
        while True:
            for address in set(self.accounts.values()):
                with contextlib.suppress(ChainError):
                    answer = await self.chain.rpc.call(
                        "eth_getBalance", checksum_address(address), "latest"
                    )
                    self.balances[address] = int(answer, 16)
            self._tell_of_poor()
            await asyncio.sleep(BALANCES_S)

    def _tell_of_poor(self) -> None:
        """Say which accounts cannot pay for one transaction's gas, when that begins."""
        need = self.gas.current_wei * self.chain.network.redeem_gas
        for role, address in self.accounts.items():
            balance = self.balances.get(address)
            if balance is None or balance > need:
                self._poor.discard(address)
            elif address not in self._poor:
                self._poor.add(address)
                self.on_poor(role, balance)

    def figures(self) -> dict[str, dict[tuple[str, ...], float]]:
        """Return what the metrics page shows of the chain (``telemetry.families.CHAIN``)."""
        gwei = 10**9
        totals = self.redeemer.summary()
        endpoints = self.chain.rpc.status()
        figures: dict[str, dict[tuple[str, ...], float]] = {
            "podium_tickets": {(state.value,): total.tickets for state, total in totals.items()},
            "podium_tickets_gwei": {
                (state.value,): total.face_value / gwei for state, total in totals.items()
            },
            "podium_rpc_up": {(each.name,): int(each.ok) for each in endpoints},
            "podium_rpc_lag_blocks": {(each.name,): each.lag_blocks for each in endpoints},
            "podium_head_age_seconds": {(): self.follower.lag_s},
            "podium_stake_lpt": {(): self.views.orchestrator.total_stake / 10**18},
            "podium_balance_eth": {
                (checksum_address(address),): wei / 10**18 for address, wei in self.balances.items()
            },
            "podium_last_rewarded_round": {(): self.views.orchestrator.last_reward_round},
        }
        if self.rewards is not None:
            figures["podium_reward_alarm"] = {(): int(self.rewards.alarm)}
        return figures

    def gas_prices(self) -> tuple[int, int, int]:
        """Return what counts at least, what it is now, and the limit; wei, 0: none."""
        return self.gas.min_wei, self.gas.current_wei, self.gas.max_wei

    def wei(self, amount: Fraction, currency: str) -> Fraction:
        """Convert an amount of a currency (``podium.pricing.convert.Convert``).

        Raises:
            PluginError: its price is not known: a session is refused, never priced at zero.
        """
        if self.feed is None:
            msg = f"there is no price feed for {currency.upper()}"
            raise PluginError(msg)
        try:
            return self.feed.wei(amount, currency)
        except ChainError as error:
            raise PluginError(str(error)) from error
