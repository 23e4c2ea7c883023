"""A plan in the making: checks that actions share, and the transactions they are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field, frozen

from podium.chain.contracts import BondingManager, RoundsManager, ServiceRegistry, Token
from podium.chain.values import TxRequest
from podium.crypto import ZERO_ADDRESS, checksum_address
from podium.protocol.plan import Plan, Problem, Step, never
from podium.units import format_eth, format_lpt, format_percent

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium.chain.reader import Addresses
    from podium.protocol.hints import Hints
    from podium.protocol.state import AccountState


@frozen
class Gas:
    """What the transactions commonly take, in units of gas (vectors: onchain-video)."""

    approve = 50_000
    bond = 500_000
    rates = 160_000
    service_uri = 100_000
    unbond = 230_000
    rebond = 320_000
    withdraw_stake = 120_000
    withdraw_fees = 250_000
    reward = 360_000
    initialize_round = 200_000


def reward_request(contracts: Addresses, round_number: int, hints: Hints) -> TxRequest:
    """Return the transaction that calls a round's reward."""
    data = BondingManager.reward_with_hint.encode(hints.previous, hints.following)
    return TxRequest(contracts.bonding_manager, data, "reward", f"reward:{round_number}")


def initialize_request(contracts: Addresses, round_number: int) -> TxRequest:
    """Return the transaction that initializes a round."""
    data = RoundsManager.initialize.encode()
    key = f"initialize_round:{round_number}"
    return TxRequest(contracts.rounds_manager, data, "initialize_round", key)


@define
class Draft:
    """Collects steps, problems and warnings.

    Attributes:
        action: Its name.
        state: What the chain says.
    """

    action: str
    state: AccountState
    steps: list[Step] = field(factory=list)
    problems: list[Problem] = field(factory=list)
    warnings: list[str] = field(factory=list)

    def problem(self, code: str, text: str) -> None:
        """Note why it cannot be done."""
        self.problems.append(Problem(code, text))

    def warn(self, text: str) -> None:
        """Note what the operator should read first."""
        self.warnings.append(text)

    def finish(self) -> Plan:
        """Return the plan, once it is known whether the account can pay for it."""
        state = self.state
        need = sum(step.gas for step in self.steps) * state.gas_price
        if self.steps and (state.eth < need or not state.eth):
            self.problem(
                "insufficient_eth",
                f"{checksum_address(state.address)} has {format_eth(state.eth)} and needs about"
                f" {format_eth(need)} for gas: send ETH to it",
            )
        parts = (tuple(self.steps), tuple(self.problems), tuple(self.warnings))
        return Plan(self.action, state.address, *parts, gas_price=state.gas_price)

    # checks

    def needs_protocol(self) -> bool:
        """Note it when the protocol is paused or the round is not initialized; True: all well."""
        round_ = self.state.round
        if round_.paused:
            self.problem("paused", "the protocol is paused: try again when it is not")
        elif not round_.initialized:
            self.problem(
                "round_not_initialized",
                f"round {round_.number} is not initialized yet: try again in a minute,"
                " or initialize it yourself",
            )
        return round_.initialized and not round_.paused

    def needs_open_rates(self) -> None:
        """Note it when it is too late in the round to set the rates."""
        round_ = self.state.round
        if round_.locked:
            self.problem(
                "round_locked",
                f"rates cannot be set at the end of a round: try again in"
                f" {round_.blocks_left} blocks, in round {round_.number + 1}",
            )

    def needs_lpt(self, amount: int) -> None:
        """Note it when the account has less LPT than it wants to bond."""
        state = self.state
        if state.lpt < amount:
            self.problem(
                "insufficient_lpt",
                f"{checksum_address(state.address)} has {format_lpt(state.lpt)} and would bond"
                f" {format_lpt(amount)}: send LPT to it, or bond less",
            )

    def own_hints(self, change: int) -> Hints:
        """Predict the account's neighbours after a change of its stake."""
        state = self.state
        return state.pool.hints(state.address, state.transcoder.total_stake + change)

    # transactions

    def add(
        self,
        request: TxRequest,
        gas: int,
        sentence: str,
        done: Callable[[AccountState], bool] = never,
    ) -> None:
        """Append a step."""
        self.steps.append(Step(sentence, request, gas, done))

    def add_bonding(
        self,
        data: bytes,
        key: str,
        gas: int,
        sentence: str,
        done: Callable[[AccountState], bool] = never,
    ) -> None:
        """Append a call of the BondingManager; the key begins with its purpose."""
        to = self.state.contracts.bonding_manager
        self.add(TxRequest(to, data, key.partition(":")[0], key), gas, sentence, done)

    def bond(
        self,
        amount: int,
        delegate: bytes,
        done: Callable[[AccountState], bool] = never,
    ) -> None:
        """Let the BondingManager take LPT, and bond it."""
        state = self.state
        manager = state.contracts.bonding_manager
        if state.allowance < amount:
            self.add(
                TxRequest(
                    state.contracts.livepeer_token,
                    Token.approve.encode(manager, amount),
                    "approve",
                    f"approve:{amount}",
                ),
                Gas.approve,
                f"Allow the BondingManager to take {format_lpt(amount)}",
                lambda now: now.allowance >= amount or done(now),
            )
        whom = "yourself" if delegate == state.address else checksum_address(delegate)
        self.add_bonding(
            self._bond_data(amount, delegate),
            f"bond:{amount}:{delegate.hex()}",
            Gas.bond,
            f"Bond {format_lpt(amount)} to {whom}" if amount else f"Move the stake to {whom}",
            done,
        )

    def _bond_data(self, amount: int, delegate: bytes) -> bytes:
        """Encode a bond with the places of the old and the new delegate."""
        state, old = self.state, self.state.delegator.delegate
        moves = old not in (ZERO_ADDRESS, delegate)
        stake = state.delegator.stake
        before = state.pool.hints(old, state.delegate_stake - stake) if moves else None
        total = state.delegate_stake if old == delegate else state.transcoder.total_stake
        after = state.pool.hints(delegate, total + amount + (stake if moves else 0))
        return BondingManager.bond_with_hint.encode(
            amount,
            delegate,
            before.previous if before else ZERO_ADDRESS,
            before.following if before else ZERO_ADDRESS,
            after.previous,
            after.following,
        )

    def reward_first(self) -> None:
        """Call a reward that is due: the rates of an active orchestrator are closed before it."""
        if self.state.reward_due:
            self.reward()

    def reward(self) -> None:
        """Call the round's reward."""
        state, number = self.state, self.state.round.number
        amount = state.predicted_reward
        self.add(
            reward_request(state.contracts, number, self.own_hints(amount)),
            Gas.reward,
            f"Call the reward of round {number}: {format_lpt(amount)}",
            lambda now: now.transcoder.last_reward_round >= number,
        )

    def rates(self, reward_cut: int, fee_share: int) -> None:
        """Set the rates, in millionths."""
        transcoder = BondingManager.transcoder
        data = transcoder.encode(reward_cut, fee_share)
        if self.state.transcoder.registered and self.state.address not in self.state.pool:
            hints = self.own_hints(0)  # it tries to join again
            data = BondingManager.transcoder_with_hint.encode(
                reward_cut, fee_share, hints.previous, hints.following
            )
        self.add_bonding(
            data,
            f"set_rates:{reward_cut}:{fee_share}",
            Gas.rates,
            f"Keep {format_percent(reward_cut)} of the rewards and"
            f" {format_percent(1_000_000 - fee_share)} of the fees; delegators share the rest",
            lambda now: (
                (now.transcoder.reward_cut, now.transcoder.fee_share) == (reward_cut, fee_share)
            ),
        )

    def service_uri(self, uri: str) -> None:
        """Register a service URI."""
        self.add(
            TxRequest(
                self.state.contracts.service_registry,
                ServiceRegistry.set_uri.encode(uri),
                "set_service_uri",
                f"set_service_uri:{uri}",
            ),
            Gas.service_uri,
            f"Register the service URI {uri}",
            lambda now: now.service_uri == uri,
        )
