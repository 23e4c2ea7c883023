"""Blocks that are taken back: what they held is done again, once."""

import pytest
from podium.chain.contracts import BondingManager


def last_reward(devnet):
    account = devnet.account("orchestrator").address
    return devnet.call("BondingManager", BondingManager.get_transcoder, account)[0]


def confirmed(node, number=1):
    rows = node.tickets()
    return len(rows) == number and all(row["state"] == "confirmed" for row in rows) and rows


@pytest.mark.timeout(150)
def test_a_reorg_that_drops_a_redemption_a_reward_and_a_round_has_them_redone(lab):
    devnet, books = lab.devnet, lab.books()
    chain = {
        "initialize_rounds": True,
        "initialize_max_delay_s": 0.0,
        "transaction_timeout_s": 3.0,  # then it also fills the gap that a lost nonce leaves
    }
    node = lab.node(chain=chain).start()
    lab.until(books.rewards, 20, "the first reward")

    # Before it is final: the transaction is still under way.
    payer = lab.payer(node)
    assert payer.pay().status == 200
    devnet.mine(41)
    [(_, redemption)] = lab.until(books.redeemed, 20, "redemption")
    devnet.reorg(devnet.block_number - redemption.block + 1)
    [(_, again)] = lab.until(books.redeemed, 30, "redemption anew")
    [row] = lab.until(lambda: confirmed(node), 20, "the ticket's state")
    assert (row["tx_hash"], row["paid_wei"]) == ("0x" + again.tx_hash.hex(), lab.face_wei)

    # After it was, and with nobody there to see it.
    node.kill()
    devnet.reorg(devnet.block_number - again.block + 1)
    assert books.redeemed() == []
    node.start()
    [(_, third)] = lab.until(books.redeemed, 60, "redemption for the third time")
    [row] = lab.until(lambda: confirmed(node), 20, "the ticket's state")
    assert (row["tx_hash"], row["paid_wei"]) == ("0x" + third.tx_hash.hex(), lab.face_wei)

    # A round with all that was done in it, all of it final.
    assert payer.pay().status == 200
    number = devnet.to_next_round()
    first_block = devnet.block_number
    lab.until(lambda: last_reward(devnet) == number, 20, "the round and its reward")
    lab.until(lambda: confirmed(node, 2), 20, "the second redemption")
    devnet.reorg(devnet.block_number - first_block)
    assert number not in books.initialized()
    assert last_reward(devnet) < number
    lab.until(lambda: number in books.initialized(), 20, "the round anew")
    lab.until(lambda: last_reward(devnet) == number, 30, "its reward anew")
    lab.until(lambda: len(books.redeemed()) == 2, 60, "the second redemption anew")
    lab.until(lambda: confirmed(node, 2), 20, "the tickets' states")
    # A reward that was not final is sent again as it was; that may come before the round does.
    counts = books.assert_nothing_twice(may_fail=True)
    assert counts["redeem"] == 2
    assert number in books.rewards()
    assert node.stop() == 0
