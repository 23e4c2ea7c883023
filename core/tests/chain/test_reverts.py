"""Every refusal of the contracts is known, with what to do about it."""

import pytest
from podium.chain.reverts import Revert, RevertKind, classify

REDEMPTION = {
    "system is paused": RevertKind.RETRY,
    "current round is not initialized": RevertKind.RETRY,
    "ticket recipient is null address": RevertKind.FINAL,
    "ticket sender is null address": RevertKind.FINAL,
    "invalid length for ticket auxData: must be 64 bytes": RevertKind.FINAL,
    "ticket creationRound does not have a block hash": RevertKind.FINAL,
    "ticket creationRoundBlockHash invalid for creationRound": RevertKind.FINAL,
    "ticket is expired": RevertKind.FINAL,
    "recipientRand does not match recipientRandHash": RevertKind.FINAL,
    "ticket is used": RevertKind.FINAL,
    "INVALID_SIGNATURE_LENGTH": RevertKind.FINAL,
    "ECDSA: invalid signature": RevertKind.FINAL,
    "ECDSA: invalid signature 's' value": RevertKind.FINAL,
    "invalid signature over ticket hash": RevertKind.FINAL,
    "ticket did not win": RevertKind.FINAL,
    "sender is unlocked": RevertKind.UNLOCKED,
    "sender deposit and reserve are zero": RevertKind.FUNDS,
    "transcoder must be registered": RevertKind.FINAL,
    "Panic 0x11": RevertKind.RETRY,
}

OTHERS = [
    "round already initialized",
    "can only retrieve past block hashes",
    "can only retrieve hashes for last 256 blocks",
    "msg.value does not equal sum of deposit amount and reserve amount",
    "unlock already initiated",
    "no unlock request in progress",
    "account is locked",
    "registered transcoders can't delegate towards other addresses",
    "delegation amount must be greater than 0",
    "INVALID_DELEGATOR",
    "INVALID_DELEGATE",
    "INVALID_DELEGATE_CHANGE",
    "ILLEGAL_CLAIM_EARNINGS",
    "can't update transcoder params, current round is locked",
    "invalid rewardCut percentage",
    "invalid feeShare percentage",
    "caller can't be active or must have already called reward for the current round",
    "caller must be an active transcoder",
    "caller has already called reward for the current round",
    "caller must be bonded",
    "unbond amount must be greater than 0",
    "amount is greater than bonded amount",
    "invalid unbonding lock ID",
    "caller must be unbonded",
    "withdraw round must be before or equal to the current round",
    "invalid recipient",
    "insufficient fees to withdraw",
    "caller must be TicketBroker",
    "caller must be RoundsManager",
    "caller must be Verifier",
    "ERC20: transfer amount exceeds balance",
]


@pytest.mark.parametrize(("text", "kind"), REDEMPTION.items())
def test_refusals_of_a_redemption(text, kind):
    assert classify(text).text == text
    assert classify(text).kind is kind


@pytest.mark.parametrize("text", OTHERS)
def test_other_refusals(text):
    assert classify(text).text == text
    assert classify(text).kind is not RevertKind.UNKNOWN


@pytest.mark.parametrize("text", ["", "ticket", "ticket is used!", "Panic 0x12", "TICKET IS USED"])
def test_what_is_not_known_is_never_taken_for_final(text):
    assert classify(text) is Revert.UNKNOWN
    assert classify(text).kind is RevertKind.UNKNOWN


def test_a_text_with_white_space_around_it_is_the_same():
    assert classify(" ticket is used\n") is Revert.USED


def test_each_says_in_a_sentence_what_to_do():
    for revert in Revert:
        assert revert.advice.endswith(".")
        assert revert.advice[0].isupper()
        assert len(revert.advice) > 20
