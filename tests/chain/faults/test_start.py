"""What can be wrong at a start: one clear sentence and nothing done, or service with a warning."""

import socket
import time

import pytest
from podium.chain.abi import Function
from podium.chain.keystore import Keystore
from podium.crypto import checksum_address
from podium.devnet import ETHER

PASSWORD = "correct horse"


def closed_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def keystore(lab, folder, password=PASSWORD):
    keys = folder / "keys"
    Keystore(keys, scrypt_n=4096).add(lab.devnet.account("orchestrator").key, password)
    return {"keystore": str(keys), "password": PASSWORD}


def wrong_password(lab, folder):
    return {"account": keystore(lab, folder, "another")}


def no_password(lab, folder):
    return {"account": {"keystore": keystore(lab, folder)["keystore"]}}


def no_key(lab, folder):
    return {"account": {"keystore": str(folder / "nothing here"), "password": PASSWORD}}


def wrong_chain(lab, folder):
    del lab, folder
    return {"chain": {"network": "arbitrum-one-mainnet"}}


def no_contract(lab, folder):
    del lab, folder
    return {"chain": {"controller": "0x" + "12" * 20}}


def no_endpoint(lab, folder):
    del lab, folder
    return {"chain": {"rpc_urls": [f"http://127.0.0.1:{closed_port()}/"]}}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (wrong_password, "password"),
        (no_password, "account.password: must be given"),
        (no_key, "does not exist"),
        (wrong_chain, "chain 31337"),
        (no_contract, "there is no contract at"),
        (no_endpoint, "chain.rpc_urls"),
    ],
)
def test_what_cannot_work_ends_with_one_sentence(lab, tmp_path, wrong, words):
    books = lab.books()
    node = lab.node(**wrong(lab, tmp_path))
    before = set(tmp_path.rglob("*key*"))
    began = time.monotonic()
    assert node.spawn().wait(60) == 1
    print(f"{wrong.__name__}: {time.monotonic() - began:.1f} s, {node.log.strip()}")
    said = [line for line in node.log.splitlines() if line.startswith("podium: ")]
    assert len(said) == 1, node.log
    assert words in said[0]
    assert "Traceback" not in node.log
    assert PASSWORD not in node.log
    assert books.count() == books.first_nonce  # nothing was sent
    made = {path for path in set(tmp_path.rglob("*key*")) - before if path.is_file()}
    assert {path.name for path in made} <= {"tls.key", "key.pem"}  # no account was made


def test_an_endpoint_that_comes_late_is_waited_for(lab):
    endpoint = lab.endpoint()
    endpoint.die()
    node = lab.node([endpoint.url])
    node.spawn()
    time.sleep(2)
    assert node.child.poll() is None
    endpoint.revive()
    lab.until(node.is_up, 30, "the start")


def test_another_chain_than_the_folder_was_used_with(lab):
    node = lab.node(chain={"network": "mine"}).start()
    assert node.stop() == 0
    lab.devnet.rpc.call("anvil_setChainId", 4242)
    try:
        assert node.spawn().wait(60) == 1
        assert "was used with chain 31337" in node.log
    finally:
        lab.devnet.rpc.call("anvil_setChainId", lab.devnet.chain_id)


@pytest.mark.parametrize("registered", [False, True], ids=["unregistered", "inactive"])
def test_who_is_not_in_the_active_set_serves_and_refuses_payments(lab, registered):
    devnet = lab.devnet
    if registered:
        devnet.register_orchestrator("orchestrator2")  # active from the next round on
    node = lab.node(name="orchestrator2").start()
    books = lab.books("orchestrator2")
    payer = lab.payer(node)
    answer = payer.pay()
    address = checksum_address(devnet.account("orchestrator2").address)
    assert answer.status == 400
    assert answer.text.strip() == (
        f"orchestrator {address} is inactive in round {devnet.current_round},"
        " cannot process payments"
    )
    warnings = [line for line in node.log.splitlines() if '"level": "warning"' in line]
    assert any("active" in line or "registered" in line for line in warnings), node.log
    time.sleep(1)
    assert books.count() == books.first_nonce  # no reward was tried
    assert node.tickets() == []
    if registered:
        devnet.next_round()
        lab.until(lambda: lab.payer(node).pay().status == 200, 10, "a payment in the next round")
        lab.until(books.rewards, 20, "the reward")


def test_an_account_without_gas_serves_and_says_so(lab):
    devnet = lab.devnet
    devnet.set_balance("orchestrator", 10**12)
    books = lab.books()
    node = lab.node().start()
    assert lab.payer(node).pay().status == 200
    devnet.mine(41)
    lab.until(lambda: reasons(node) == {"the account cannot pay for gas"}, 20, "the state")
    assert books.count() == books.first_nonce
    lab.until(lambda: "reward not called" in node.log, 10, "word of the reward")
    lab.until(lambda: "tickets and rewards wait; send ETH" in node.log, 10, "word of the balance")
    devnet.set_balance("orchestrator", ETHER)
    lab.until(books.redeemed, 40, "redemption, once there is money")
    lab.until(books.rewards, 40, "the reward, once there is money")
    books.assert_nothing_twice()


def test_a_paused_protocol_is_served_and_waited_for(lab):
    devnet = lab.devnet
    devnet.send("deployer", "Controller", Function("pause()"))
    books = lab.books()
    node = lab.node().start()
    assert lab.payer(node).pay().status == 200
    devnet.mine(41)
    lab.until(lambda: reasons(node) == {"system is paused"}, 20, "the state")
    assert books.count() == books.first_nonce
    devnet.send("deployer", "Controller", Function("unpause()"))
    lab.until(lambda: books.redeemed() and books.rewards(), 30, "redemption and reward")
    books.assert_nothing_twice()


def reasons(node):
    return {row["reason"] for row in node.tickets()}
