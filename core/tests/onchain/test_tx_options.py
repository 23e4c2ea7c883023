"""How transactions are sent, by network."""

import pytest
from podium.chain.networks import find_network
from podium.config.load import parse_settings
from podium.onchain.connect import tx_options

CONTROLLER = "0x" + "11" * 20


@pytest.mark.parametrize(
    ("name", "poll_s", "again_s"),
    [("devnet", 0, 3.0), ("devnet", 0.1, 0.6), ("arbitrum-one-mainnet", 0, 20.0)],
)
def test_what_a_node_forgot_is_sent_again_soon_where_blocks_are_quick(name, poll_s, again_s):
    chain = {"network": name, "controller": CONTROLLER, "rpc_urls": ["http://127.0.0.1:1"]}
    settings = parse_settings({"chain": chain | ({"poll_interval_s": poll_s} if poll_s else {})})
    options = tx_options(find_network(name, settings.chain.controller_bytes), settings)
    assert options.rebroadcast_s == pytest.approx(again_s)
    assert options.rebroadcast_s < options.replace_after_s
