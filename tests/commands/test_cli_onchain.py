"""What an operator does on chain, with the real commands against the real contracts."""

import re
import signal
import time

import pytest
from podium.chain.contracts import (
    BondingManager,
    RoundsManager,
    ServiceRegistry,
    TicketBroker,
    Token,
)
from podium.chain.keystore import Keystore
from podium.crypto import KeySigner, checksum_address
from podium.model import MAX_WIN_PROB, WinningTicket
from podium.payments.ticket import rand_hash, winner_hash

LPT = 10**18
ETHER = 10**18
URI = "https://orchestrator.example:8935"
ACTIVATE = ("activate", "--stake", "1000", "--reward-cut", "10%", "--fee-cut", "5%")


def test_an_orchestrators_life(desk, devnet, tmp_path):
    # An account of its own, made and funded.
    created = desk.run("account", "create", "--password-file", str(desk.password))
    made = Keystore(tmp_path / "data" / "keystore").find()
    assert checksum_address(made.address) in created
    devnet.set_balance(made.address, ETHER)
    devnet.send("orchestrator", "LivepeerToken", Token.transfer, made.address, 1500 * LPT)
    desk.address = made.address
    desk.configure(desk.keystore_account(made.path.parent))

    # Active with the next round.
    output = desk.run(*ACTIVATE, "--yes")
    assert "4 transactions, about 0.00" in output
    assert "[4/4] Register the service URI https://orchestrator.example:8935: done" in output
    assert "active from round" in output
    number = devnet.next_round()
    status = desk.ask("status")
    assert status["standing"] == "active"
    assert (status["stake"]["own"], status["service_uri"]) == (str(1000 * LPT), URI)
    assert status["orchestrator"]["reward_cut_millionths"] == 100_000
    assert status["orchestrator"]["fee_cut_millionths"] == 50_000
    assert status["configured_service_uri"] == URI
    assert "nothing to do" in desk.run("activate", "--yes")

    # The reward, which changed cuts need.
    output = desk.run("set", "reward-cut", "20%", "--yes")
    assert f"Call the reward of round {number}" in output
    assert "Keep 20 % of the rewards and 5 % of the fees" in output
    assert desk.ask("rewards", "show")["rewarded"]
    assert "nothing to do" in desk.run("rewards", "call", "--yes")
    devnet.next_round()
    assert desk.ask("rewards", "show")["due"]
    assert "done in block" in desk.run("rewards", "call", "--yes")
    assert desk.stake() > 1000 * LPT

    # Stake out, in again, out for good.
    desk.run("stake", "unbond", "100", "--yes")
    desk.run("stake", "rebond", "0", "--yes")
    desk.run("stake", "unbond", "50", "--yes")
    shown = desk.ask("stake", "show")
    assert [lock["id"] for lock in shown["locks"]] == [1]
    refused = desk.run("stake", "withdraw", "--yes", code=1)
    assert f"no stake can be withdrawn before round {devnet.current_round + 1}" in refused
    devnet.next_round()
    desk.run("stake", "withdraw", "--yes")
    assert desk.ask("stake", "show")["not_bonded_lptu"] == 550 * LPT

    # The end.
    assert desk.ask("fees", "show")["fees_wei"] == 0
    output = desk.run("deactivate", "--yes")
    assert "keep the node running until the round ends" in output
    assert desk.ask("status")["orchestrator"]["registered"] is False
    assert "there is nothing to leave" in desk.run("deactivate", "--yes", code=1)


# fees


def earn(desk, face_value):
    """Have a winning ticket redeemed: its face value becomes fees."""
    devnet, gateway = desk.devnet, desk.devnet.account("gateway")
    devnet.fund_gateway("gateway", 2 * face_value, face_value)
    number = devnet.current_round
    ticket = WinningTicket(
        sender=gateway.address,
        recipient=desk.address,
        face_value=face_value,
        win_prob=MAX_WIN_PROB,
        nonce=1,
        recipient_rand_hash=rand_hash(7),
        creation_round=number,
        block_hash=devnet.call("RoundsManager", RoundsManager.block_hash_for_round, number),
        recipient_rand=7,
        expiration_block=0,
        signature=b"",
    )
    fields = (ticket.recipient, ticket.sender, face_value, MAX_WIN_PROB, 1, rand_hash(7))
    aux = number.to_bytes(32, "big") + ticket.block_hash
    signature = KeySigner(gateway.key).sign_digest(winner_hash(ticket))
    devnet.send("redeemer", "TicketBroker", TicketBroker.redeem, (*fields, aux), signature, 7)


def test_fees_are_withdrawn_to_where_they_are_sent(registered):
    desk = registered
    earn(desk, ETHER)
    fees = desk.fees()
    assert fees > ETHER * 94 // 100
    assert desk.ask("fees", "show")["fees_wei"] == fees
    target = desk.devnet.account("delegator")
    before = desk.devnet.balance(target)
    some = desk.call("fees", "withdraw", "--amount", "0.25", "--to", target.text, "--yes")
    assert some.exit_code == 0, some.output
    assert f"! {target.text} is another account than this one" in some.output
    assert desk.devnet.balance(target) == before + ETHER // 4
    too_much = desk.call("fees", "withdraw", "--amount", "0.76", "--yes")
    assert too_much.exit_code == 1, too_much.output
    assert "podium fees show" in too_much.output
    rest = desk.call("fees", "withdraw", "--yes")
    assert rest.exit_code == 0, rest.output
    assert desk.fees() == 0


# what is killed in the middle


@pytest.mark.parametrize("mined", ["meanwhile", "later"])
def test_a_killed_command_that_is_typed_again_does_it_once(registered, mined):
    desk = registered
    before = desk.transactions()
    with desk.sent("stake", "unbond", "100", "--yes") as (process, _):
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
        if mined == "meanwhile":
            desk.devnet.mine(3)
    output = desk.run("stake", "unbond", "100", "--yes")
    assert "waiting for what an earlier command has sent" in output
    assert "done: the earlier command was the same" in output
    assert desk.stake() == 900 * LPT
    assert desk.transactions() == before + 1
    desk.run("stake", "unbond", "100", "--yes")  # once more, and this is meant
    assert desk.stake() == 800 * LPT


def test_another_command_sees_the_killed_one_through(registered):
    desk = registered
    with desk.sent("stake", "unbond", "100", "--yes") as (process, _):
        process.send_signal(signal.SIGKILL)
    output = desk.run("stake", "unbond", "50", "--yes")
    assert "waiting for what an earlier command has sent" in output
    assert desk.stake() == 850 * LPT


def test_ctrl_c_says_what_may_still_happen(registered):
    desk = registered
    with desk.sent("stake", "unbond", "100", "--yes") as (process, lines):
        tx_hash = re.search("0x[0-9a-f]{64}", lines[-1])[0]
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(timeout=10) == 130
    assert "podium: interrupted" in rest
    assert f"podium: {tx_hash} may still be mined" in rest
    assert "Traceback" not in rest


def test_what_was_broken_off_goes_on_where_it_was(desk):
    with desk.sent(*ACTIVATE, "--yes") as (process, _):
        process.send_signal(signal.SIGKILL)
    output = desk.run(*ACTIVATE, "--yes")
    assert "1. Bond 1000 LPT to yourself" in output, "the approval was left out"
    assert desk.transactions() == 4
    uri = desk.devnet.call("ServiceRegistry", ServiceRegistry.get_uri, desk.address)
    assert uri == URI


def test_one_command_sends_at_a_time(registered):
    desk = registered
    with desk.sent("stake", "unbond", "100", "--yes"):
        refused = desk.call("stake", "unbond", "50", "--yes")
    assert refused.exit_code == 1
    assert "another command is sending" in refused.output


# rewards, away from the node


def test_rewards_are_called_until_it_is_stopped(registered):
    desk = registered
    process = desk.spawn("rewards", "watch")
    try:
        for _ in range(2):
            number = desk.devnet.current_round
            deadline = time.monotonic() + 30
            while (
                desk.devnet.call("BondingManager", BondingManager.get_transcoder, desk.address)[0]
                < number
            ):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            desk.devnet.next_round()
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0, output
    assert f"round {number} rewarded: " in output
    assert "stopped" in output


# at a terminal


def test_what_is_missing_is_asked_for_on_a_terminal(desk, terminal):
    desk.configure(desk.keystore_account(desk.keep_key(desk.secret), password=False))
    typed = terminal("activate")
    typed.answer("LPT to have bonded", "twelve")
    typed.answer("LPT to have bonded", "1200.5")
    typed.answer("Share of the rewards", "")
    typed.answer("Share of the fees", "7.5%")
    typed.answer("Go on?", "y")
    typed.answer("Password of ", desk.secret)
    assert typed.end() == 0, typed.text
    assert desk.secret not in typed.text
    assert desk.stake() == 1200 * LPT + LPT // 2
    found = desk.devnet.call("BondingManager", BondingManager.get_transcoder, desk.address)
    assert (found[1], found[2]) == (100_000, 925_000)


def test_no_is_an_answer(registered, terminal):
    desk = registered
    typed = terminal("stake", "unbond", "1")
    typed.answer("Go on?", "")
    assert typed.end() == 1
    assert "nothing was sent" in typed.text
    assert desk.stake() == 1000 * LPT
