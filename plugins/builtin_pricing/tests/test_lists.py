"""Who may come in, by address and by kind of work."""

import pytest
from podium_hookspecs import AdmitRequest

ONE, TWO, OTHER = (bytes([number]) * 20 for number in (0x11, 0x22, 0x33))


async def admits(host, sender, capabilities=None, stage="discover"):
    asked = None if capabilities is None else frozenset(capabilities)
    answer = await host.admit(AdmitRequest(sender, stage, capabilities=asked))
    return answer.allow or answer.reason


@pytest.mark.parametrize("stage", ["discover", "job"])
async def test_those_of_deny_are_refused_with_the_reason(load, stage):
    host = await load(
        f"""
        [plugins.admit-lists]
        enabled = true
        deny = ["0x{ONE.hex()}"]
        reason = "ask us for an account"
        """
    )
    assert await admits(host, ONE, stage=stage) == "ask us for an account"
    assert await admits(host, OTHER, stage=stage) is True


async def test_with_allow_all_others_are_refused(load):
    host = await load(
        f"""
        [plugins.admit-lists]
        enabled = true
        allow = ["0x{ONE.hex().upper()}"]
        """.replace("0X", "0x")
    )
    assert await admits(host, ONE) is True
    assert await admits(host, TWO) == "not admitted"
    assert await admits(host, bytes(20)) == "not admitted"


async def test_a_list_of_one_kind_of_work_holds_where_that_is_asked_for(load):
    host = await load(
        f"""
        [plugins.admit-lists]
        enabled = true
        deny = ["0x{OTHER.hex()}"]
        [[plugins.admit-lists.capabilities]]
        capability = "text-to-image"
        allow = ["0x{ONE.hex()}"]
        [[plugins.admit-lists.capabilities]]
        capability = 0
        deny = ["0x{ONE.hex()}"]
        """
    )
    assert await admits(host, ONE, {27}) is True
    assert await admits(host, TWO, {27, 12}) == "not admitted"
    assert await admits(host, ONE, {0, 27}) == "not admitted"
    assert await admits(host, TWO, {0}) is True
    assert await admits(host, OTHER, {5}) == "not admitted"
    assert await admits(host, ONE) is True
