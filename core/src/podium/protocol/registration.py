"""Becoming an orchestrator, what it says of itself, and leaving."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import frozen

from podium.chain.contracts import PERC_DIVISOR, BondingManager
from podium.chain.values import TxRequest
from podium.config.address import normalise_uri
from podium.crypto import ZERO_ADDRESS, checksum_address
from podium.protocol.draft import Draft, Gas
from podium.protocol.plan import Step
from podium.units import format_eth, format_lpt

if TYPE_CHECKING:
    from podium.protocol.plan import Plan
    from podium.protocol.state import AccountState

LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain"})


@frozen
class UriCheck:
    """What is wrong with a service URI.

    Attributes:
        uri: As it is registered: with a port, without a slash at the end.
        problem: Why it cannot be registered; empty: nothing.
        warning: Why gateways may not reach it; empty: nothing.
    """

    uri: str
    problem: str = ""
    warning: str = ""


def check_service_uri(text: str) -> UriCheck:
    """Complete a service URI, and say what is wrong with it."""
    try:
        uri = normalise_uri(text)
    except ValueError as error:
        return UriCheck(text, f'"{text}" is no service URI: {error}')
    parts = urlsplit(uri)
    host = parts.hostname or ""
    if parts.scheme != "https":
        return UriCheck(uri, f"gateways only connect with TLS: register https://..., not {text!r}")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        local = host in LOCAL_NAMES
        unspecified = private = False
    else:
        unspecified, local = address.is_unspecified, address.is_loopback
        private = address.is_private
    if unspecified:
        return UriCheck(uri, f"{uri} is no address that gateways can connect to: name a public one")
    if local:
        return UriCheck(uri, warning=f"only this machine reaches {uri}")
    if private:
        return UriCheck(uri, warning=f"only your own network reaches {uri}")
    return UriCheck(uri)


def _check_uri(draft: Draft, text: str) -> str:
    """Note what is wrong with a service URI; return it completed."""
    check = check_service_uri(text)
    if check.problem:
        draft.problem("bad_service_uri", check.problem)
    if check.warning:
        draft.warn(check.warning)
    return check.uri


def _check_rate(draft: Draft, name: str, millionths: int) -> None:
    if not 0 <= millionths <= PERC_DIVISOR:
        draft.problem("bad_rate", f"the {name} must be from 0 to 100 %")


@frozen
class Activate:
    """Bond to oneself, set the rates, register the service URI.

    What is done already is left out: doing it again finishes what was broken off.

    Attributes:
        stake: LPTU that the account shall have bonded in the end; what is missing is bonded.
        reward_cut: Millionths of the rewards to keep.
        fee_cut: Millionths of the fees to keep.
        service_uri: Where gateways find the node.
        lock_id: Stake of this unbonding lock is bonded again first.
    """

    stake: int
    reward_cut: int
    fee_cut: int
    service_uri: str
    lock_id: int | None = None

    def plan(self, state: AccountState) -> Plan:
        """Return what it takes."""
        draft = Draft("activate", state)
        uri = _check_uri(draft, self.service_uri) if self.service_uri else ""
        if not uri:
            draft.problem("bad_service_uri", "give the service URI that gateways shall connect to")
        _check_rate(draft, "reward cut", self.reward_cut)
        _check_rate(draft, "fee cut", self.fee_cut)
        if draft.needs_protocol():
            locked_in = self._rebond(draft)
            self._bond(draft, locked_in)
            self._rates(draft)
        if uri and state.service_uri != uri:
            draft.service_uri(uri)
        self._check_place(draft)
        return draft.finish()

    def _rebond(self, draft: Draft) -> int:
        """Bond an unbonding lock again; return its LPTU."""
        if self.lock_id is None:
            return 0
        lock = draft.state.delegator.lock(self.lock_id)
        if lock is not None:
            rebond(draft, self.lock_id, lock.amount)
            return lock.amount
        if not draft.state.transcoder.registered:  # else it was bonded again by an earlier try
            draft.problem("no_such_lock", f"there is no unbonding lock {self.lock_id}")
        return 0

    def _bond(self, draft: Draft, locked_in: int) -> None:
        state, target = draft.state, self.stake
        missing = max(0, target - state.delegator.stake - locked_in)
        if not missing and (state.transcoder.registered or locked_in):
            return
        if not missing and not state.delegator.stake:
            draft.problem("no_stake", "an orchestrator needs LPT of its own bonded: give a stake")
            return
        draft.needs_lpt(missing)
        draft.bond(
            missing,
            state.address,
            lambda now: now.transcoder.registered and now.delegator.stake >= target,
        )

    def _rates(self, draft: Draft) -> None:
        coder = draft.state.transcoder
        wanted = (self.reward_cut, PERC_DIVISOR - self.fee_cut)
        if (coder.reward_cut, coder.fee_share) == wanted:
            return
        draft.needs_open_rates()
        draft.reward_first()
        draft.rates(*wanted)

    def _check_place(self, draft: Draft) -> None:
        state = draft.state
        others = state.transcoder.total_stake - state.delegator.stake
        total = max(self.stake, state.delegator.stake) + max(0, others)
        if state.address not in state.pool and total <= state.pool.least_stake:
            draft.warn(
                f"all {state.pool.max_size} places are taken: it becomes active with more than"
                f" {format_lpt(state.pool.least_stake)} in total, your delegators' included"
            )


@frozen
class Deactivate:
    """Unbond everything, which ends being an orchestrator with the round."""

    def plan(self, state: AccountState) -> Plan:
        """Return what it takes."""
        draft = Draft("deactivate", state)
        if not state.transcoder.registered:
            draft.problem("not_registered", "this account is not an orchestrator")
            return draft.finish()
        if draft.needs_protocol():
            draft.reward_first()
            unbond_everything(draft)
        if state.delegator.fees:
            draft.warn(f"{format_eth(state.delegator.fees)} of fees stay and can be withdrawn")
        if state.transcoder.active:
            draft.warn("keep the node running until the round ends: it is active until then")
        return draft.finish()


@frozen
class SetRates:
    """Change what is kept of rewards and fees.

    Attributes:
        reward_cut: Millionths of the rewards to keep; None: as it is.
        fee_cut: Millionths of the fees to keep; None: as it is.
    """

    reward_cut: int | None = None
    fee_cut: int | None = None

    def plan(self, state: AccountState) -> Plan:
        """Return what it takes; a reward that is due is called first, as the contract demands."""
        draft = Draft("set_rates", state)
        coder = state.transcoder
        cut = coder.reward_cut if self.reward_cut is None else self.reward_cut
        fee_cut = coder.fee_cut if self.fee_cut is None else self.fee_cut
        _check_rate(draft, "reward cut", cut)
        _check_rate(draft, "fee cut", fee_cut)
        if not coder.registered:
            draft.problem("not_registered", "this account is not an orchestrator: activate it")
        elif (cut, fee_cut) != (coder.reward_cut, coder.fee_cut) and draft.needs_protocol():
            draft.needs_open_rates()
            draft.reward_first()
            draft.rates(cut, PERC_DIVISOR - fee_cut)
        return draft.finish()


@frozen
class SetServiceUri:
    """Change where gateways find the node.

    Attributes:
        service_uri: ``https://HOST:PORT``.
    """

    service_uri: str

    def plan(self, state: AccountState) -> Plan:
        """Return what it takes."""
        draft = Draft("set_service_uri", state)
        uri = _check_uri(draft, self.service_uri) if self.service_uri else ""
        if not uri:
            draft.problem("bad_service_uri", "give the service URI that gateways shall connect to")
        if not state.transcoder.registered:
            draft.warn("this account is not an orchestrator: gateways do not look for it yet")
        if uri != state.service_uri:
            draft.service_uri(uri)
        return draft.finish()


def unbond(draft: Draft, amount: int) -> None:
    """Append the unbonding of some stake."""
    lock_id = draft.state.delegator.next_lock_id
    draft.add(
        _unbond_request(draft.state, amount, f"unbond:{lock_id}:{amount}"),
        Gas.unbond,
        f"Unbond {format_lpt(amount)}: {_withdrawal(draft.state)}",
        lambda now: now.delegator.next_lock_id > lock_id,
    )


def unbond_everything(draft: Draft) -> None:
    """Append the unbonding of all stake there is when its turn comes, new rewards included."""
    lock_id = draft.state.delegator.next_lock_id

    def request(now: AccountState) -> TxRequest:
        return _unbond_request(now, now.delegator.stake, f"unbond:{lock_id}:all")

    step = Step(
        f"Unbond all stake, {format_lpt(draft.state.delegator.stake)} now:"
        f" {_withdrawal(draft.state)}",
        request(draft.state),
        Gas.unbond,
        lambda now: now.delegator.next_lock_id > lock_id,
        request,
    )
    draft.steps.append(step)


def _withdrawal(state: AccountState) -> str:
    ready = state.round.number + state.unbonding_period
    return f"lock {state.delegator.next_lock_id}, to be withdrawn from round {ready} on"


def _unbond_request(state: AccountState, amount: int, key: str) -> TxRequest:
    hints = state.pool.hints(state.delegator.delegate, state.delegate_stake - amount)
    data = BondingManager.unbond_with_hint.encode(amount, hints.previous, hints.following)
    return TxRequest(state.contracts.bonding_manager, data, "unbond", key)


def rebond(draft: Draft, lock_id: int, amount: int) -> None:
    """Append the bonding of an unbonding lock's stake."""
    state, delegator = draft.state, draft.state.delegator
    if delegator.delegate == ZERO_ADDRESS:
        hints = draft.own_hints(amount)
        data = BondingManager.rebond_from_unbonded_with_hint.encode(
            state.address, lock_id, hints.previous, hints.following
        )
        whom = "yourself"
    else:
        hints = state.pool.hints(delegator.delegate, state.delegate_stake + amount)
        data = BondingManager.rebond_with_hint.encode(lock_id, hints.previous, hints.following)
        own = delegator.delegate == state.address
        whom = "yourself" if own else checksum_address(delegator.delegate)
    draft.add_bonding(
        data,
        f"rebond:{lock_id}",
        Gas.rebond,
        f"Bond the {format_lpt(amount)} of lock {lock_id} again, to {whom}",
        lambda now: now.delegator.lock(lock_id) is None,
    )
