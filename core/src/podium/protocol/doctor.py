"""Checks everything that an orchestrator on chain depends on, and says what to do.

Each check stands for itself: one that fails does not hide the others, but for those that need
what it did not find.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Literal

from attrs import define, field, frozen

from podium.chain.reader import Addresses
from podium.crypto import checksum_address
from podium.errors import AccountError, ChainError, ConfigInvalid
from podium.protocol.registration import check_service_uri
from podium.protocol.state import AccountState, read_account
from podium.units import format_eth, format_gwei, format_lpt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from podium.chain.ports import Rpc

TIMEOUT_S = 15.0
"""For one check."""

OLD_HEAD_S = 120
"""Seconds after which the newest block is suspicious."""

FUTURE_HEAD_S = 30
"""Seconds that a block may be ahead of this machine's clock."""

REDEMPTIONS = 20
"""Redemptions that the balance should pay for."""

TX_COST_MULTIPLIER = 100
"""A ticket's face value in costs of its redemption (payments 2.3)."""

Verdict = Literal["ok", "warn", "fail"]


@frozen
class Check:
    """What one check found.

    Attributes:
        name: Stable: ``"rpc"``, ``"account"``, ...
        verdict: ``"fail"``: the node cannot do its work; ``"warn"``: it may, with losses.
        text: A sentence; what to do, unless all is well.
    """

    name: str
    verdict: Verdict
    text: str


@frozen(kw_only=True)
class Patient:
    """What is examined.

    Attributes:
        endpoints: The RPC endpoints by their names, each alone.
        controller: 20 bytes.
        chain_id: What the endpoints must serve; None: whatever they do, if they agree.
        account: 20 bytes, the orchestrator.
        payer: 20 bytes, who pays for redemptions; None: the orchestrator.
        unlock: Unlocks the key; raises AccountError. None: not checked.
        service_uri: As configured; empty: none.
        reach: Asks the node behind a service URI whether it is ours; returns what is wrong, or
            nothing. None: not checked.
        redeem_gas: Units of gas that a redemption is reckoned with.
        ticket_ev: Wei that a ticket is worth on average.
        max_face_value: Wei that a ticket may be worth at most; 0: no limit.
        max_gas_price: Wei; no transaction is sent above it; 0: no limit.
        max_floats: Wei that known gateways can be trusted with, by their 20 bytes.
        rewards: Whether the node calls rewards.
        now: Unix seconds.
    """

    endpoints: Mapping[str, Rpc]
    controller: bytes
    account: bytes
    chain_id: int | None = None
    payer: bytes | None = None
    unlock: Callable[[], None] | None = None
    service_uri: str = ""
    reach: Callable[[str], Awaitable[str]] | None = None
    redeem_gas: int = 350_000
    ticket_ev: int = 0
    max_face_value: int = 0
    max_gas_price: int = 0
    max_floats: Mapping[bytes, int] = field(factory=dict)
    rewards: bool = True
    now: Callable[[], float] = time.time


async def examine(patient: Patient) -> list[Check]:
    """Make all checks, in the order in which to mend what they find."""
    return await _Examination(patient).all()


@define
class _Examination:
    patient: Patient
    found: list[Check] = field(factory=list)
    _chain_ids: dict[str, int] = field(factory=dict)

    async def all(self) -> list[Check]:
        rpc = await self._endpoints()
        self._key()
        if rpc is None:
            self._add("contracts", "fail", "not checked: no endpoint can be asked")
        else:
            await self._on_chain(rpc)
        await self._own_endpoint()
        return self.found

    def _add(self, name: str, verdict: Verdict, text: str) -> None:
        self.found.append(Check(name, verdict, text))

    # endpoints

    async def _endpoints(self) -> Rpc | None:
        """Check each endpoint; return the first that can be used."""
        named = self.patient.endpoints
        answers = await asyncio.gather(*(self._endpoint(name, named[name]) for name in named))
        if not named:
            self._add("rpc", "fail", "no endpoint is configured: give chain.rpc_urls")
        elif len(named) == 1:
            self._add("rpc_spare", "warn", "one endpoint only: give a second one in chain.rpc_urls")
        if len(set(self._chain_ids.values())) > 1 and self.patient.chain_id is None:
            each = ", ".join(f"{name}: {found}" for name, found in self._chain_ids.items())
            self._add("chain_id", "fail", f"the endpoints are of different chains ({each})")
            return None
        usable = (named[name] for name, good in zip(named, answers, strict=True) if good)
        return next(usable, None)

    async def _endpoint(self, name: str, rpc: Rpc) -> bool:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                chain_id = int(await rpc.call("eth_chainId"), 16)
                block = await rpc.call("eth_getBlockByNumber", "latest", False)
        except (ChainError, TimeoutError) as error:
            why = str(error) or f"no answer within {TIMEOUT_S:g} s"
            self._add("rpc", "fail", f"{name} does not answer: {why}")
            return False
        self._chain_ids[name] = chain_id
        wanted = self.patient.chain_id
        if wanted not in {None, chain_id}:
            text = f"{name} serves chain {chain_id}, not {wanted}: check chain.rpc_urls"
            self._add("chain_id", "fail", text)
            return False
        self._head(name, chain_id, int(block["number"], 16), int(block["timestamp"], 16))
        return True

    def _head(self, name: str, chain_id: int, number: int, timestamp: int) -> None:
        age = self.patient.now() - timestamp
        if age > OLD_HEAD_S:
            self._add(
                "rpc",
                "warn",
                f"{name} is at block {number}, {age:.0f} s old: it lags, or this machine's clock"
                " is ahead",
            )
        elif age < -FUTURE_HEAD_S:
            text = f"{name} is {-age:.0f} s ahead of this machine's clock: set the clock (NTP)"
            self._add("rpc", "warn", text)
        else:
            self._add("rpc", "ok", f"{name} serves chain {chain_id}, block {number}")

    # the key

    def _key(self) -> None:
        if self.patient.unlock is None:
            return
        try:
            self.patient.unlock()
        except (AccountError, ConfigInvalid) as error:
            self._add("key", "fail", str(error))
        else:
            payer = self.patient.payer or self.patient.account
            self._add("key", "ok", f"the key of {checksum_address(payer)} can be used")

    # what the chain says

    async def _on_chain(self, rpc: Rpc) -> None:
        patient = self.patient
        try:
            async with asyncio.timeout(TIMEOUT_S * 2):
                contracts = await Addresses.load(rpc, patient.controller)
                self._add("contracts", "ok", f"Controller {checksum_address(patient.controller)}")
                state = await read_account(rpc, contracts, patient.account)
                balance = await self._balance_of(rpc, state)
        except (ChainError, TimeoutError) as error:
            why = str(error) or "the contracts could not be read in time"
            self._add("contracts", "fail", why)
            return
        self._round(state)
        self._standing(state)
        self._reward(state)
        self._uri(state)
        self._balance(state, balance)
        self.found += ticket_checks(patient, state.gas_price)

    async def _balance_of(self, rpc: Rpc, state: AccountState) -> int:
        payer = self.patient.payer
        if payer in {None, state.address}:
            return state.eth
        assert payer is not None
        return int(await rpc.call("eth_getBalance", checksum_address(payer), "latest"), 16)

    def _round(self, state: AccountState) -> None:
        round_ = state.round
        if round_.paused:
            self._add("protocol", "fail", "the protocol is paused: nothing can be done until then")
        else:
            self._add("protocol", "ok", "not paused")
        if round_.initialized:
            self._add("round", "ok", f"round {round_.number} is initialized")
        else:
            self._add(
                "round",
                "warn",
                f"round {round_.number} is not initialized: tickets and rewards wait for it;"
                " set chain.initialize_rounds, or wait for somebody",
            )

    def _standing(self, state: AccountState) -> None:
        coder, who = state.transcoder, checksum_address(state.address)
        if not coder.registered:
            text = f"{who} is not an orchestrator: podium activate makes it one"
            self._add("registered", "fail", text)
            return
        self._add("registered", "ok", f"{who} has {format_lpt(coder.total_stake)} of stake")
        if coder.leaving:
            text = f"active, but no longer from round {coder.deactivation_round} on: bond more LPT"
            self._add("active", "warn", text)
        elif coder.active:
            self._add("active", "ok", "in the active set")
        elif coder.activation_round > state.round.number and state.address in state.pool:
            text = f"active from round {coder.activation_round} on: gateways do not pay before"
            self._add("active", "warn", text)
        else:
            text = (
                "not in the active set: gateways do not pay it; bond more than"
                f" {format_lpt(state.pool.least_stake)} in total"
            )
            self._add("active", "fail", text)

    def _reward(self, state: AccountState) -> None:
        if not state.reward_due:
            if state.transcoder.active and state.rewarded:
                self._add("reward", "ok", f"called in round {state.round.number}")
            return
        worth = format_lpt(state.predicted_reward)
        text = f"not called yet in round {state.round.number}, {worth}"
        if self.patient.rewards:
            self._add("reward", "warn", f"{text}: a running node does that within a minute")
        else:
            self._add("reward", "warn", f'{text}: chain.reward is "off"; podium rewards call')

    def _uri(self, state: AccountState) -> None:
        configured, registered = self.patient.service_uri, state.service_uri
        if not registered:
            self._add(
                "service_uri",
                "fail" if state.transcoder.registered else "warn",
                "no service URI is registered, so no gateway finds the node:"
                " podium set service-uri",
            )
            return
        check = check_service_uri(registered)
        if check.problem:
            self._add("service_uri", "fail", f"on chain: {check.problem}")
        elif configured and check_service_uri(configured).uri != check.uri:
            self._add(
                "service_uri",
                "fail",
                f"{registered} is registered, but node.service_uri is {configured}:"
                " podium set service-uri, or change the configuration",
            )
        elif check.warning:
            self._add("service_uri", "warn", check.warning)
        else:
            self._add("service_uri", "ok", f"{registered} is registered")

    def _balance(self, state: AccountState, balance: int) -> None:
        payer = checksum_address(self.patient.payer or state.address)
        cost = self.patient.redeem_gas * state.gas_price
        need = REDEMPTIONS * cost
        has = f"{payer} has {format_eth(balance)}"
        if balance <= cost:
            text = f"{has}, not enough to redeem one ticket ({format_eth(cost)}): send ETH to it"
            self._add("balance", "fail", text)
        elif balance < need:
            text = f"{has}, enough for {balance // cost} redemptions only: send ETH to it"
            self._add("balance", "warn", text)
        else:
            self._add("balance", "ok", has)

    # from outside

    async def _own_endpoint(self) -> None:
        reach, uri = self.patient.reach, self.patient.service_uri
        if reach is None or not uri:
            return
        try:
            async with asyncio.timeout(TIMEOUT_S):
                wrong = await reach(uri)
        except TimeoutError:
            wrong = f"no answer within {TIMEOUT_S:g} s"
        if wrong:
            text = f"{uri} does not answer as this node: {wrong}; is it running, is the port open?"
            self._add("endpoint", "fail", text)
        else:
            self._add("endpoint", "ok", f"{uri} answers")


def ticket_checks(patient: Patient, gas_price: int) -> Iterator[Check]:
    """Say whether tickets of these settings can be issued, paid and redeemed (payments 2.3)."""
    cost, ev, limit = patient.redeem_gas * gas_price, patient.ticket_ev, patient.max_face_value
    if patient.max_gas_price and gas_price > patient.max_gas_price:
        yield Check(
            "gas_price",
            "warn",
            f"gas costs {format_gwei(gas_price)}: nothing is sent above"
            f" {format_gwei(patient.max_gas_price)} (chain.max_gas_price_wei)",
        )
    if limit and limit < max(ev, cost + 1):
        least = format_eth(max(ev, cost))
        yield Check(
            "tickets",
            "fail",
            f"tickets are limited to {format_eth(limit)}, and need more than {least} to be worth"
            " redeeming: raise payments.max_face_value_wei",
        )
        return
    face_value = cost * TX_COST_MULTIPLIER
    face_value = ev * TX_COST_MULTIPLIER if face_value < ev else face_value
    face_value = min(face_value, limit) if limit else face_value
    poor = {who: wei for who, wei in patient.max_floats.items() if wei < face_value}
    for who, wei in poor.items():
        refused = wei < ev or wei < cost
        yield Check(
            "tickets",
            "warn",
            f"{checksum_address(who)} can be trusted with {format_eth(wei)}, less than a ticket's"
            f" {format_eth(face_value)}: "
            + ("its work is refused" if refused else "its tickets are smaller and dearer"),
        )
    if not poor:
        yield Check(
            "tickets", "ok", f"a ticket is worth {format_eth(face_value)} at this gas price"
        )
