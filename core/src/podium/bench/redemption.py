"""How fast winning tickets are redeemed, against what the chain's blocks have room for.

A devnet with the real contracts makes a block each second. The chain's part of a node, as it is
when a node serves, finds its store full of winners whose time has come, and redeems them all.
Beside it, payments are checked over the views of that chain and over a fixed view, in turn.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from podium.bench.onchain import ORCHESTRATOR, SENDERS, Rig, make_winners, prepare, rigged
from podium.bench.process import BenchError
from podium.bench.validation import Validation, compare

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium.devnet import Devnet

BLOCK_S = 1
GAS_LIMIT = 30_000_000
BASE_FEE_WEI = 7
"""Next to nothing, so that full blocks do not make gas dear while we measure: here only the tip
counts, and the room in the blocks."""

ROUND_LENGTH = 2_000
"""Blocks; so long that no round ends meanwhile."""

ETHER = 10**18
FACE_WEI = ETHER // 100
RESERVE_WEI = ETHER
RELEASE_BLOCKS = 3
TIMEOUT_S = 300.0
MINUTE_S = 60


@frozen(kw_only=True)
class Plan:
    """How much to measure.

    Attributes:
        winners: Tickets redeemed in a round.
        rounds: Rounds of which the medians are taken.
        batch: Tickets of one transaction; 0: as many as without a configuration.
        validations: Rounds in which payments are checked.
    """

    winners: int = 3000
    rounds: int = 3
    batch: int = 0
    validations: int = 9


@frozen(kw_only=True)
class Round:
    """One round's figures.

    Attributes:
        winners: Tickets redeemed.
        seconds: From the moment that they could be redeemed to the last one's confirmation.
        gas: Units used by all transactions.
        transactions: How many it took.
        blocks: Blocks with redemptions in them.
        node_cpu_s: Seconds of processor of the node's.
        chain_cpu_s: Seconds of processor of the devnet's.
        rpc_calls: Requests to the chain.
    """

    winners: int
    seconds: float
    gas: int
    transactions: int
    blocks: int
    node_cpu_s: float
    chain_cpu_s: float
    rpc_calls: int

    @property
    def per_minute(self) -> float:
        """Winners a minute."""
        return MINUTE_S * self.winners / self.seconds

    @property
    def gas_per_winner(self) -> float:
        """Units of gas for one of them."""
        return self.gas / self.winners

    def share_of_blocks(self, gas: float) -> float:
        """Return the rate over what all blocks hold, each filled to its last unit of gas.

        Args:
            gas: Units for one winner.
        """
        return self.per_minute / (MINUTE_S / BLOCK_S * GAS_LIMIT / gas)


@frozen(kw_only=True)
class RedemptionReport:
    """Medians over the rounds.

    Attributes:
        rounds: Each round.
        single_gas: Units of gas of a redemption by itself, the way the reference sends all.
        validation: Payments checked over the views of the chain, and over a fixed view.
    """

    rounds: tuple[Round, ...]
    single_gas: int
    validation: Validation

    def figures(self) -> dict[str, float]:
        """Return the figures by their names in the JSON."""
        return {
            "redemption.winners_per_minute": self._median(lambda r: r.per_minute),
            "redemption.block_limit_ratio": self._median(
                lambda r: r.share_of_blocks(self.single_gas)
            ),
            "redemption.block_fill": self._median(lambda r: r.share_of_blocks(r.gas_per_winner)),
            "redemption.gas_per_winner": self._median(lambda r: r.gas_per_winner),
            "redemption.gas_single": self.single_gas,
            "redemption.batch": self._median(lambda r: r.winners / r.transactions),
            "redemption.blocks": self._median(lambda r: r.blocks),
            "redemption.seconds": self._median(lambda r: r.seconds),
            "redemption.node_cpu_ms": self._median(lambda r: 1000 * r.node_cpu_s / r.winners),
            "redemption.chain_cpu_ms": self._median(lambda r: 1000 * r.chain_cpu_s / r.winners),
            "redemption.rpc_calls": self._median(lambda r: r.rpc_calls / r.winners),
            **self.validation.figures(),
        }

    def _median(self, of: Callable[[Round], float]) -> float:
        return statistics.median(map(of, self.rounds))

    def lines(self) -> list[str]:
        """Return the report as text."""
        return [
            *(
                f"{each.winners:,} winners in {each.seconds:.1f} s and {each.blocks} blocks:"
                f" {each.per_minute:,.0f} a minute; {each.transactions} transactions,"
                f" {each.gas_per_winner:,.0f} gas a winner, {each.rpc_calls:,} requests"
                for each in self.rounds
            ),
            f"a redemption by itself takes {self.single_gas:,} gas: a minute of full blocks holds"
            f" {MINUTE_S / BLOCK_S * GAS_LIMIT / self.single_gas:,.0f} of them",
            *self.validation.lines(),
        ]


def run_redemption_bench(
    plan: Plan | None = None, *, progress: Callable[[str], None] = lambda _: None
) -> RedemptionReport:
    """Measure over a devnet of its own; it takes some minutes.

    Args:
        plan: How much.
        progress: Hears what is being done.

    Raises:
        BenchError: not every winner was redeemed, or one twice.
        DevnetError: the devnet cannot be started.
    """
    from podium.devnet import DevnetOptions, start_devnet

    options = DevnetOptions(
        round_length=ROUND_LENGTH,
        gas_limit=GAS_LIMIT,
        base_fee_wei=BASE_FEE_WEI,
        progress=progress,
    )
    with (
        tempfile.TemporaryDirectory(prefix="podium-bench-") as folder,
        start_devnet(options) as devnet,
    ):
        return asyncio.run(_run(plan or Plan(), devnet, Path(folder), progress))


async def _run(
    plan: Plan, devnet: Devnet, folder: Path, progress: Callable[[str], None]
) -> RedemptionReport:
    each = -(-plan.winners // len(SENDERS)) + 1
    prepare(devnet, FACE_WEI * each * (plan.rounds + 2), RESERVE_WEI)
    devnet.set_next_base_fee(BASE_FEE_WEI)
    async with rigged(devnet, folder, plan.batch) as rig:
        await _redeem(rig, len(SENDERS), 0)  # the contracts' storage grows with each one's first
        rounds = []
        for number in range(1, plan.rounds + 1):
            rounds.append(await _redeem(rig, plan.winners, number))
            progress(f"round {number}: {rounds[-1].per_minute:,.0f} winners a minute")
        single = await _redeem(rig, 1, plan.rounds + 1)
        validation = await compare(rig, folder, plan.validations)
    return RedemptionReport(rounds=tuple(rounds), single_gas=single.gas, validation=validation)


async def _redeem(rig: Rig, number: int, secret: int) -> Round:
    """Store winners, let their time come, and wait until all are redeemed and confirmed."""
    devnet, node, heard = rig.devnet, rig.node, rig.heard
    devnet.set_automine(True)
    opens_at = devnet.block_number + RELEASE_BLOCKS
    winners = make_winners(
        node.clock,
        [devnet.account(name) for name in SENDERS],
        devnet.account(ORCHESTRATOR).address,
        number=number,
        face_value=FACE_WEI,
        expiration_block=opens_at,
        secret=1 + secret,
    )
    await node.redeemer.add(winners)
    await rig.taken_over(number, TIMEOUT_S)
    before = (heard.redeemed, heard.gas, heard.transactions, rig.rpc_calls, rig.chain_cpu_s)
    await asyncio.to_thread(_release, devnet)
    cpu_s, started_s = time.process_time(), time.perf_counter()
    await heard.reach(before[0] + number, TIMEOUT_S)
    seconds, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    blocks = await asyncio.to_thread(_check, devnet, opens_at, number, secret)
    return Round(
        winners=number,
        seconds=seconds,
        gas=heard.gas - before[1],
        transactions=heard.transactions - before[2],
        blocks=blocks,
        node_cpu_s=cpu_s,
        chain_cpu_s=rig.chain_cpu_s - before[4],
        rpc_calls=rig.rpc_calls - before[3],
    )


def _release(devnet: Devnet) -> None:
    """Go past the block that the tickets wait for; from then on blocks come by the clock."""
    devnet.set_interval(BLOCK_S)
    devnet.mine(RELEASE_BLOCKS)


def _check(devnet: Devnet, since: int, number: int, secret: int) -> int:
    """Return how many blocks have redemptions in them.

    Raises:
        BenchError: the chain does not have each ticket's redemption once.
    """
    from podium.chain.contracts import TicketBroker

    query: dict[str, Any] = {
        "fromBlock": hex(since),
        "toBlock": "latest",
        "topics": ["0x" + TicketBroker.ticket_redeemed.topic.hex()],
    }
    logs = devnet.rpc.call("eth_getLogs", query)
    topics = {(log["data"], *log["topics"]) for log in logs}
    if len(logs) != number or len(topics) != number:
        msg = f"round {secret}: {len(logs)} redemptions on the chain, of {len(topics)} tickets"
        raise BenchError(f"{msg}; {number} were to be redeemed")
    return len({log["blockNumber"] for log in logs})
