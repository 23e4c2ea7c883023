"""What the operator's settings become."""

import attrs
import pytest
from podium import assembly
from podium.config.load import parse_settings
from podium.config.settings import Settings
from podium.listener import Limits


def test_the_limits_nobody_set_are_the_listeners_own():
    node = Settings().node
    assert assembly.limits(Settings()) == Limits(graceful_timeout_s=node.drain_timeout_s)


@pytest.mark.parametrize(
    ("key", "value", "limit"),
    [
        ("max_connections", 7, "max_connections"),
        ("silent_connections_per_address", 3, "silent_per_address"),
        ("max_streams", 11, "max_streams"),
        ("max_head_bytes", 131_072, "max_head_bytes"),
        ("max_fields", 70, "max_fields"),
        ("handshake_timeout_s", 2.5, "handshake_timeout_s"),
        ("head_timeout_s", 3.5, "head_timeout_s"),
        ("write_stall_timeout_s", 4.5, "write_stall_timeout_s"),
        ("idle_timeout_s", 5.5, "idle_timeout_s"),
    ],
)
def test_each_limit_reaches_the_listener_and_no_other_does(key, value, limit):
    limits = assembly.limits(parse_settings({"limits": {key: value}}))
    expected = attrs.evolve(assembly.limits(Settings()), **{limit: value})
    assert limits == expected
