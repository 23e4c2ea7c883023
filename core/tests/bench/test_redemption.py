"""The bench of redemption runs small over a real devnet; no figure is compared with a clock."""

import math

import pytest
from podium.bench import onchain, redemption
from podium.bench.process import BenchError
from podium_hookspecs import TicketRedeemed, TransactionEnded

SMALL = redemption.Plan(winners=24, rounds=1, batch=5, validations=2)
PAYER, TX = b"\x01" * 20, b"\x02" * 32


@pytest.fixture(scope="module")
def report():
    said = []
    return redemption.run_redemption_bench(SMALL, progress=said.append), said


def test_each_winner_is_redeemed_once_in_batches(report):
    (measured,) = report[0].rounds
    assert measured.winners == 24
    assert 5 <= measured.transactions <= 24
    assert 1 <= measured.blocks <= measured.transactions
    assert measured.gas > 24 * 50_000
    assert measured.seconds > 0
    assert measured.rpc_calls > 24  # a dry run each


def test_figures(report):
    figures = report[0].figures()
    assert {
        "redemption.winners_per_minute",
        "redemption.block_limit_ratio",
        "redemption.block_fill",
        "tickets_onchain.ratio_offchain",
    } <= set(figures)
    assert all(math.isfinite(value) for value in figures.values())
    assert 0 < figures["redemption.block_fill"] <= figures["redemption.block_limit_ratio"]
    assert figures["redemption.gas_per_winner"] < figures["redemption.gas_single"]
    assert any("24 winners in" in line for line in report[0].lines())
    assert any("round 1:" in line for line in report[1])


def test_checking_payments_asks_the_chain_nothing(report):
    found = report[0].validation
    assert found.rpc_calls == 0
    assert found.onchain_per_s > 0
    assert found.ratio > 0


def measured(**changes):
    facts = {
        "winners": 600, "seconds": 2.0, "gas": 60_000_000, "transactions": 30, "blocks": 2,
        "node_cpu_s": 0.6, "chain_cpu_s": 0.3, "rpc_calls": 900,
    }  # fmt: skip
    return redemption.Round(**facts | changes)


def test_a_rate_and_its_share_of_the_blocks():
    one = measured()
    assert one.per_minute == 18_000
    assert one.gas_per_winner == 100_000
    assert one.share_of_blocks(one.gas_per_winner) == pytest.approx(1.0)
    assert one.share_of_blocks(200_000) == pytest.approx(2.0)


def ended(outcome, purpose="redeem"):
    return TransactionEnded(purpose, outcome, TX, 100_000, 1)


async def test_what_a_node_tells_is_added_up():
    heard = onchain.Heard()
    heard.hear(TicketRedeemed(PAYER, 10, 7, TX))
    heard.hear(ended("mined"))
    heard.hear(ended("replaced"))
    heard.hear(ended("mined", "reward"))
    assert (heard.redeemed, heard.paid_wei) == (1, 7)
    assert (heard.transactions, heard.gas) == (1, 100_000)
    await heard.reach(1, 0.01)
    with pytest.raises(BenchError, match="1 of 2 tickets were redeemed within 0 s"):
        await heard.reach(2, 0.01)
