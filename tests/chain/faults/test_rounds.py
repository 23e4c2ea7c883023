"""No round stays without its reward in which the node ran, whenever that was."""

import os
import random
import secrets
import time

import pytest

AT_LEAST_BLOCKS = 5
"""A minute of L1 blocks: with less than that before a round's end nothing is promised."""


@pytest.mark.timeout(200)
def test_every_round_in_which_the_node_ran_has_its_reward(lab):
    seed = int(os.environ.get("PODIUM_ROUNDS_SEED") or secrets.randbits(32))
    print(f"PODIUM_ROUNDS_SEED={seed}")
    draw = random.Random(seed)
    devnet, books = lab.devnet, lab.books()
    node = lab.node(chain={"initialize_rounds": True, "initialize_max_delay_s": 0.0})
    owed = []
    # Where in the round the node starts, counted from its end; None: it runs on from before.
    for blocks_left in (AT_LEAST_BLOCKS + 1, None, lab.round_length - 1, None, 12):
        number = devnet.to_next_round() if owed else devnet.current_round
        if blocks_left is not None:
            node.kill()
            devnet.set_automine(True)  # a slow start on a slow machine uses up no blocks
            end = (number + 1) * lab.round_length
            devnet.mine(end - blocks_left - devnet.block_number)
            node.start()
            devnet.set_interval(1)
        owed.append(number)
        lab.until(lambda: number in books.rewards(), 30, f"the reward of round {number}")  # noqa: B023
        assert devnet.current_round == number
        if draw.random() < 0.7:
            time.sleep(draw.uniform(0, 1.5))
            node.kill()  # also before the reward is confirmed
            if draw.random() < 0.5:
                node.start()
        elif blocks_left is None:
            node.stop()
        if node.child.poll() is not None:
            node.start()
    assert sorted(books.rewards()) == owed
    counts = books.assert_nothing_twice()
    assert set(counts) == {"reward", "initialize"}
    assert counts["reward"] == len(owed)
    print(f"rewards in {owed}, {dict(counts)}")


@pytest.mark.timeout(100)
def test_a_reward_that_the_chain_does_not_take_is_sent_until_it_does(lab):
    devnet, books = lab.devnet, lab.books()
    endpoint = lab.endpoint()
    endpoint.on_send = lambda stage, _raw: "drop" if stage == "before" else ""
    node = lab.node([endpoint.url]).start()
    lab.until(lambda: endpoint.calls["eth_sendRawTransaction"] >= 3, 20, "three tries")
    assert books.count() == books.first_nonce
    node.kill()
    node.start()
    endpoint.on_send = lambda _stage, _raw: ""
    number = devnet.current_round
    lab.until(lambda: number in books.rewards(), 30, "the reward")
    assert books.assert_nothing_twice() == {"reward": 1}
