"""What ``podium status`` shows: the node, the round, the stake, what was earned, the tickets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from podium.chain.contracts import NEVER
from podium.crypto import ZERO_ADDRESS, checksum_address
from podium.protocol.state import AccountState, read_account
from podium.units import format_eth, format_gwei, format_lpt, format_percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from podium.chain.ports import Rpc
    from podium.chain.reader import Addresses

Rows = list[tuple[str, str]]


@frozen
class TicketSum:
    """Winning tickets of one state.

    Attributes:
        count: How many.
        face_value: Wei they are worth.
        paid: Wei they brought.
    """

    count: int
    face_value: int
    paid: int = 0


@frozen
class NodeFacts:
    """A running node, as it tells itself.

    Attributes:
        version: Podium's.
        service_uri: As configured.
        sessions: Open now.
        max_sessions: At most.
        gateways: Addresses, 20 bytes each, of the gateways with a session.
    """

    version: str
    service_uri: str = ""
    sessions: int = 0
    max_sessions: int = 0
    gateways: Sequence[bytes] = ()


@frozen
class Status:
    """All of it.

    Attributes:
        account: What the chain says.
        tickets: Winning tickets by their state; empty: none, or not known.
        node: The running node; None: none was reached.
    """

    account: AccountState
    tickets: Mapping[str, TicketSum] = field(factory=dict)
    node: NodeFacts | None = None

    @property
    def standing(self) -> str:
        """Return how the orchestrator stands, in a few words."""
        state, number = self.account, self.account.round.number
        coder = state.transcoder
        if coder.leaving:
            return f"active, leaves with round {coder.deactivation_round}"
        if coder.active:
            return "active"
        if coder.registered and coder.deactivation_round == NEVER:
            return f"registered, active from round {coder.activation_round} on"
        if coder.registered:
            return "registered, without a place in the active set"
        if any(lock.withdraw_round > number for lock in state.delegator.locks):
            return "not registered, stake is being unbonded"
        return "not registered"

    def sections(self) -> list[tuple[str, Rows]]:
        """Return it for people: titles, and names with values."""
        made = [
            ("Node", self._node_rows()),
            ("Round", self._round_rows()),
            ("Stake", self._stake_rows()),
            ("Earnings", self._earning_rows()),
            ("Winning tickets", self._ticket_rows()),
        ]
        return [section for section in made if section[1]]

    def _node_rows(self) -> Rows:
        state, node = self.account, self.node
        rows = [
            ("account", checksum_address(state.address)),
            ("orchestrator", self.standing),
            ("service URI on chain", state.service_uri or "none"),
            ("balance", f"{format_eth(state.eth)}, {format_lpt(state.lpt)}"),
            ("gas price", format_gwei(state.gas_price)),
        ]
        if node is None:
            return [*rows, ("running", "no node was reached")]
        gateways = ", ".join(map(checksum_address, node.gateways)) or "none"
        return [
            *rows,
            ("running", f"version {node.version} as {node.service_uri}"),
            ("sessions", f"{node.sessions} of {node.max_sessions}"),
            ("gateways", gateways),
        ]

    def _round_rows(self) -> Rows:
        round_ = self.account.round
        phase = "initialized" if round_.initialized else "not initialized yet"
        if round_.paused:
            phase += ", the protocol is paused"
        elif round_.locked:
            phase += ", locked: rates cannot be set"
        return [
            ("number", f"{round_.number}, {phase}"),
            ("blocks left", f"{round_.blocks_left} of {round_.length}"),
            ("reward", self._reward()),
        ]

    def _reward(self) -> str:
        state = self.account
        if not state.transcoder.active:
            return "none, not active"
        if state.rewarded:
            return "called"
        return f"not called yet, {format_lpt(state.predicted_reward)}"

    def _stake_rows(self) -> Rows:
        state, own = self.account, self.account.delegator
        rows = [
            ("own", format_lpt(own.stake)),
            ("with delegators", format_lpt(state.transcoder.total_stake)),
        ]
        if own.delegate not in {ZERO_ADDRESS, state.address}:
            rows.append(("bonded to", checksum_address(own.delegate)))
        places = [member for member, _ in state.pool.members]
        if state.address in places:
            place = places.index(state.address) + 1
            rows.append(("place", f"{place} of {len(places)}, at most {state.pool.max_size}"))
        rows += [
            (f"unbonding lock {lock.id}", f"{format_lpt(lock.amount)}, round {lock.withdraw_round}")
            for lock in own.locks
        ]
        return rows

    def _earning_rows(self) -> Rows:
        coder = self.account.transcoder
        return [
            ("fees to withdraw", format_eth(self.account.delegator.fees)),
            ("reward cut", format_percent(coder.reward_cut)),
            ("fee cut", format_percent(coder.fee_cut) if coder.activation_round else "none set"),
            ("last reward", f"round {coder.last_reward_round}" if coder.last_reward_round else "-"),
        ]

    def _ticket_rows(self) -> Rows:
        return [
            (name, f"{each.count}, {format_eth(each.face_value)}")
            for name, each in self.tickets.items()
            if each.count
        ]

    def as_document(self) -> dict[str, Any]:
        """Return it for programs: amounts as text in their smallest parts, addresses as text."""
        state = self.account
        return {
            "account": checksum_address(state.address),
            "standing": self.standing,
            "block": state.block,
            "eth_wei": str(state.eth),
            "lpt": str(state.lpt),
            "gas_price_wei": str(state.gas_price),
            "service_uri": state.service_uri,
            "round": self._round_document(),
            "orchestrator": self._orchestrator_document(),
            "stake": self._stake_document(),
            "tickets": {
                name: {
                    "count": each.count,
                    "face_value_wei": str(each.face_value),
                    "paid_wei": str(each.paid),
                }
                for name, each in self.tickets.items()
            },
            "node": self._node_document(),
        }

    def _round_document(self) -> dict[str, Any]:
        round_ = self.account.round
        return {
            "number": round_.number,
            "initialized": round_.initialized,
            "locked": round_.locked,
            "paused": round_.paused,
            "blocks_left": round_.blocks_left,
            "length": round_.length,
            "rewarded": self.account.rewarded,
            "expected_reward": str(self.account.predicted_reward),
        }

    def _orchestrator_document(self) -> dict[str, Any]:
        coder = self.account.transcoder
        stays = coder.deactivation_round == NEVER
        return {
            "registered": coder.registered,
            "active": coder.active,
            "activation_round": coder.activation_round,
            "deactivation_round": None if stays else coder.deactivation_round,
            "last_reward_round": coder.last_reward_round,
            "reward_cut_millionths": coder.reward_cut,
            "fee_cut_millionths": coder.fee_cut,
            "total_stake": str(coder.total_stake),
        }

    def _stake_document(self) -> dict[str, Any]:
        own = self.account.delegator
        return {
            "own": str(own.stake),
            "fees_wei": str(own.fees),
            "delegate": checksum_address(own.delegate),
            "locks": [
                {"id": k.id, "amount": str(k.amount), "withdraw_round": k.withdraw_round}
                for k in own.locks
            ],
        }

    def _node_document(self) -> dict[str, Any] | None:
        node = self.node
        if node is None:
            return None
        return {
            "version": node.version,
            "service_uri": node.service_uri,
            "sessions": node.sessions,
            "max_sessions": node.max_sessions,
            "gateways": [checksum_address(gateway) for gateway in node.gateways],
        }


async def read_status(
    rpc: Rpc,
    contracts: Addresses,
    account: bytes,
    *,
    tickets: Mapping[str, TicketSum] | None = None,
    node: NodeFacts | None = None,
) -> Status:
    """Read the chain's part of the status, and add what others know.

    Raises:
        ChainError: the chain could not be read.
    """
    return Status(await read_account(rpc, contracts, account), tickets or {}, node)
