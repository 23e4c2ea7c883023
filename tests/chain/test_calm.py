"""What a live session does not notice: the chain is not asked, and a gas spike changes nothing."""

import time
from collections import Counter

import pytest
from podium.crypto import checksum_address
from podium.devnet import ETHER, GWEI
from podium.testing.node import PodiumApp, node_document

TICKETS = 500
OWN_METHODS = {"eth_getBlockByNumber", "eth_gasPrice", "eth_feeHistory", "eth_getBalance"}
"""What the follower, the gas monitor and the watch over balances ask, whoever pays."""


@pytest.fixture
def app(lab, tmp_path):
    devnet = lab.devnet
    document = node_document(
        tmp_path,
        {
            "account": {"private_key": devnet.account("orchestrator").key.hex()},
            "chain": {
                "network": "devnet",
                "rpc_urls": [devnet.rpc_url],
                "controller": checksum_address(devnet.controller),
                "poll_interval_s": 0.2,
            },
            "payments": {
                "price_per_unit": 1,
                "ticket_ev_wei": lab.face_wei // 10,
                "max_face_value_wei": lab.face_wei,
            },
        },
    )
    running = PodiumApp.start(document)
    yield running
    running.stop()


def test_500_tickets_of_a_known_sender_cost_no_request(lab, app):
    devnet, books = lab.devnet, lab.books()
    node = app.node
    lab.until(books.rewards, 20, "the reward")
    payer = lab.payer(node.public)
    assert payer.pay().status == 200  # from now on it is known
    rewards = node.onchain.rewards
    lab.until(lambda: rewards.last_rewarded_round == devnet.current_round, 20, "it to be final")
    devnet.set_automine(True)  # no blocks: what blocks bring is read for each of them, once
    time.sleep(1.5)
    calls = node.onchain.chain.rpc.calls
    before, started = Counter(calls), time.monotonic()
    taken = 0
    while taken < TICKETS:
        payer.discover()  # a new session's offer asks nobody either
        for _ in range(2):
            answer = payer.pay(25)
            assert answer.status == 200
            taken += len(answer.made)
    seconds = time.monotonic() - started
    asked = Counter(calls) - before
    print(f"{taken} tickets in {seconds:.2f} s; requests meanwhile: {dict(asked)}")
    assert set(asked) <= OWN_METHODS
    assert asked["eth_getBlockByNumber"] <= seconds / 0.2 + 2  # the follower's looks, no more
    assert asked["eth_getBalance"] <= 1
    secret = (node.settings.node.data_dir / "ticket-secret").read_bytes()
    winners = sum(ticket.wins(secret) for ticket in payer.tickets)

    def kept():
        return sum(total.tickets for total in app.call(node.onchain.redeemer.summary).values())

    lab.until(lambda: kept() == winners, 10, f"{winners} winners")


@pytest.mark.timeout(100)
def test_a_gas_spike_reprices_nothing_refuses_nothing_and_is_waited_out(lab):
    devnet, books = lab.devnet, lab.books()
    node = lab.node(payments={"ticket_ev_wei": ETHER // 50, "max_face_value_wei": 0}).start()
    lab.until(books.rewards, 20, "the reward")
    payer = lab.payer(node)
    before = payer.discover()
    price, face = before.price_info.pricePerUnit, payer.make(1)[1][0].terms.face_value
    assert face > 100 * 300_000 * GWEI  # its redemption's cost a hundred times, at a gwei
    answer = payer.pay(12)
    assert answer.status == 200
    devnet.set_automine(True)
    for _ in range(45):
        devnet.set_next_base_fee(50 * GWEI)
        devnet.mine()
    winners = sum(ticket.wins(node.secret) for ticket in answer.made)
    assert winners
    rows = lab.until(lambda: blocked(node, winners), 20, "the tickets' state")
    assert {row["reason"] for row in rows} == {"gas price is far above the usual"}
    assert all(float(row["unlocks_at"].split()[0]) < 10 for row in rows)

    payer.info = None
    assert payer.pay(3).status == 200  # new terms, in the spike
    assert payer.pay(3).status == 200  # and with the same once more
    assert payer.info.price_info.pricePerUnit == price
    offered = payer.tickets[-1].terms.face_value
    assert abs(offered - face) < face // 1000
    assert books.redeemed() == []
    assert "livepeer_suggested_gas_price" in node.metrics()

    devnet.mine(40)  # it is over
    lab.until(lambda: len(books.redeemed()) >= winners, 30, "redemption")
    books.assert_nothing_twice()


def blocked(node, number):
    rows = [row for row in node.tickets() if row["state"] == "blocked"]
    return rows if len(rows) == number else None
