"""What is refused: in a sentence, with nothing sent."""

import json

from podium.chain.abi import Function
from podium.chain.contracts import RoundsManager
from podium.crypto import checksum_address
from podium.devnet import DevnetOptions, start_devnet

ACTIVATE = ("activate", "--stake", "1000", "--reward-cut", "10%", "--fee-cut", "5%")


def test_without_a_terminal_it_takes_a_yes(desk):
    desk.refused(ACTIVATE, 2, "Bond 1000 LPT", "say --yes")


def test_without_a_terminal_it_takes_all_flags(desk):
    desk.refused(("activate", "--stake", "1000", "--yes"), 2, "give --reward-cut, --fee-cut")


def test_a_wrong_password(desk):
    desk.configure(desk.keystore_account(desk.keep_key("another")))
    desk.refused((*ACTIVATE, "--yes"), 1, "password")


def test_no_password_and_nobody_to_ask(desk):
    desk.configure(desk.keystore_account(desk.keep_key(desk.secret), password=False))
    desk.refused((*ACTIVATE, "--yes"), 1, "account.password: must be given")


def test_a_missing_key_is_not_made(desk, tmp_path):
    desk.configure(desk.keystore_account(tmp_path / "keys"))
    desk.refused((*ACTIVATE, "--yes"), 1, "does not exist")
    assert not (tmp_path / "keys").exists()


def test_another_chain(desk):
    desk.configure(network="arbitrum-one-mainnet")
    desk.refused((*ACTIVATE, "--yes"), 1, "chain 31337")


def test_another_chain_than_last_time(desk):
    desk.configure(network="mine")
    assert desk.call("round", "show").exit_code == 0
    with start_devnet(DevnetOptions()) as other:
        other.rpc.call("anvil_setChainId", 4242)
        desk.configure(network="mine", rpc_url=other.rpc_url)
        desk.refused((*ACTIVATE, "--yes"), 1, "this data folder was used with chain 31337")


def test_no_contract_at_the_controllers_address(desk):
    desk.configure(controller="0x" + "12" * 20)
    desk.refused((*ACTIVATE, "--yes"), 1, "there is no contract at")


def test_no_endpoint(desk):
    desk.configure(rpc_url=f"http://127.0.0.1:{desk.closed_port()}")
    desk.refused((*ACTIVATE, "--yes"), 1, "no endpoint answered")


def test_not_an_orchestrator(desk):
    for args in (("deactivate",), ("set", "fee-cut", "1%"), ("rewards", "call")):
        desk.refused((*args, "--yes"), 1, "not an orchestrator")
    desk.refused(("stake", "unbond", "1", "--yes"), 1, "has no stake")


def test_not_the_orchestrators_key(desk):
    own = desk.devnet.account("redeemer")
    account = f'private_key = "{own.key.hex()}"\nrecipient = "{checksum_address(desk.address)}"'
    desk.configure(account)
    assert desk.call("stake", "show").exit_code == 0
    desk.refused((*ACTIVATE, "--yes"), 1, "this needs the key of the orchestrator itself", own.text)


def test_too_little_lpt(desk):
    desk.refused(
        ("stake", "bond", "100001", "--yes"), 1, "has 100000 LPT and would bond 100001 LPT"
    )


def test_too_little_eth(desk):
    desk.devnet.set_balance(desk.address, 1000)
    desk.refused((*ACTIVATE, "--yes"), 1, "needs about", "send ETH to it")


def test_more_than_there_is(registered):
    registered.refused(("stake", "unbond", "1001", "--yes"), 1, "the stake is 1000 LPT")
    registered.refused(("fees", "withdraw", "--amount", "1", "--yes"), 1, "there are no fees")


def test_a_paused_protocol(registered):
    registered.devnet.send("deployer", "Controller", Function("pause()"))
    for args in (("stake", "bond", "1"), ("set", "fee-cut", "1%"), ("rewards", "call")):
        registered.refused((*args, "--yes"), 1, "the protocol is paused")


def test_a_locked_round(registered):
    start = registered.devnet.call("RoundsManager", RoundsManager.start_block)
    length = registered.devnet.call("RoundsManager", RoundsManager.round_length)
    with registered.devnet.miner.lock:
        registered.devnet.mine(start + length * 19 // 20 - registered.devnet.block_number)
        registered.refused(
            ("set", "fee-cut", "1%", "--yes"), 1, "rates cannot be set at the end of a round"
        )


def test_a_round_that_nobody_has_initialized(registered):
    registered.devnet.to_next_round()
    registered.refused(("stake", "bond", "1", "--yes"), 1, "podium round initialize")
    done = registered.call("round", "initialize", "--yes")
    assert done.exit_code == 0, done.output
    assert registered.devnet.round_initialized


# looking


def test_doctor_finds_what_is_wrong(registered):
    registered.configure(uri=f"https://127.0.0.1:{registered.closed_port()}")
    registered.devnet.set_balance(registered.address, 1)
    result = registered.call("doctor", "--json")
    assert result.exit_code == 1
    verdicts = {}
    for line in result.stdout.splitlines():
        check = json.loads(line)
        verdicts.setdefault(check["name"], check["verdict"])
    assert verdicts["service_uri"] == verdicts["balance"] == verdicts["endpoint"] == "fail"
    assert verdicts["key"] == verdicts["contracts"] == verdicts["active"] == "ok"
    assert "failures" in registered.call("doctor").output


def test_doctor_without_an_endpoint_still_looks(registered):
    closed = f"127.0.0.1:{registered.closed_port()}"
    registered.configure(rpc_url=f"http://{closed}", uri=f"https://{closed}")
    result = registered.call("doctor")
    assert result.exit_code == 1
    assert "does not answer" in result.output


def test_status_is_for_people_too(registered):
    status = registered.call("status")
    assert status.exit_code == 0
    for text in ("fees to withdraw", "no node was reached", "1000 LPT", "devnet, chain 31337"):
        assert text in status.output
