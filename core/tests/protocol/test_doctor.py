"""What is wrong is found, each thing by its own check, and the sentence says what to do."""

import json
import time

import pytest
from attrs import evolve
from podium.chain.contracts import BondingManager, Controller, RoundsManager
from podium.devnet import ETHER
from podium.errors import AccountError, RpcUnavailable
from podium.protocol.doctor import Patient, examine, ticket_checks
from podium.protocol.registration import check_service_uri
from podium.protocol.status import NodeFacts, TicketSum, read_status

URI = "https://orchestrator.example:8935"


async def reached(uri):
    del uri
    return ""


@pytest.fixture
def patient(devnet, line):
    """In good health; two endpoints, which are one."""
    devnet.register_orchestrator("orchestrator", service_uri=URI)
    devnet.next_round()
    none = bytes(20)
    devnet.send("orchestrator", "BondingManager", BondingManager.reward_with_hint, none, none)
    return Patient(
        endpoints={"one": line, "two": line.rpc},
        controller=devnet.controller,
        chain_id=devnet.chain_id,
        account=devnet.account("orchestrator").address,
        unlock=lambda: None,
        service_uri=URI,
        reach=reached,
        ticket_ev=8 * 10**9,
        max_floats={devnet.account("gateway").address: ETHER},
        now=lambda: block_time(devnet),
    )


def block_time(devnet):
    return int(devnet.rpc.call("eth_getBlockByNumber", "latest", False)["timestamp"], 16)


async def wrong(patient):
    """The checks that are not all right, by name and verdict."""
    return {c.name: (c.verdict, c.text) for c in await examine(patient) if c.verdict != "ok"}


async def test_good_health(patient):
    checks = await examine(patient)
    assert {c.verdict for c in checks} == {"ok"}
    assert [c.name for c in checks] == [
        "rpc", "rpc", "key", "contracts", "protocol", "round", "registered", "active", "reward",
        "service_uri", "balance", "tickets", "endpoint",
    ]  # fmt: skip


async def test_endpoints_that_do_not_answer(patient, line):
    line.broken = "down"
    found = await wrong(patient)
    assert found == {"rpc": ("fail", "one does not answer: connection refused")}
    alone = evolve(patient, endpoints={"one": line})
    found = await wrong(alone)
    assert found["rpc_spare"][0] == "warn"
    assert found["contracts"] == ("fail", "not checked: no endpoint can be asked")
    assert (await wrong(evolve(patient, endpoints={})))["rpc"][0] == "fail"


async def test_another_chain_and_another_controller(patient):
    found = await wrong(evolve(patient, chain_id=42161))
    assert "serves chain 31337, not 42161" in found["chain_id"][1]
    found = await wrong(evolve(patient, controller=b"\1" * 20))
    assert found["contracts"][0] == "fail"
    assert "there is no contract at 0x0101" in found["contracts"][1]


async def test_clocks(patient, devnet):
    found = await wrong(evolve(patient, now=lambda: block_time(devnet) + 1000))
    assert "1000 s old" in found["rpc"][1]
    found = await wrong(evolve(patient, now=lambda: block_time(devnet) - 1000))
    assert "1000 s ahead of this machine's clock" in found["rpc"][1]
    assert Patient(endpoints={}, controller=b"", account=b"").now is time.time


async def test_the_key(patient):
    def locked():
        raise AccountError("the password is wrong")

    assert await wrong(evolve(patient, unlock=locked)) == {"key": ("fail", "the password is wrong")}


async def test_protocol_and_round(patient, devnet):
    devnet.to_next_round()
    devnet.send("deployer", devnet.controller, type(Controller.paused)("pause()"))
    found = await wrong(patient)
    assert found["protocol"][0] == "fail"
    assert found["round"][0] == "warn"


async def test_standing(patient, devnet, line):
    other = evolve(patient, account=devnet.account("orchestrator2").address)
    found = await wrong(other)
    assert found["registered"][0] == "fail"
    assert "podium activate" in found["registered"][1]
    assert found["service_uri"][0] == "warn"
    devnet.bond("orchestrator2", ETHER)
    found = await wrong(other)
    assert f"active from round {devnet.current_round + 1} on" in found["active"][1]
    assert found["service_uri"][0] == "fail"
    devnet.next_round()
    found = await wrong(patient)
    assert "a running node does that" in found["reward"][1]
    found = await wrong(evolve(patient, rewards=False))
    assert "podium rewards call" in found["reward"][1]


async def test_the_service_uri(patient, devnet):
    found = await wrong(evolve(patient, service_uri="https://other.example:8935"))
    assert "is registered, but node.service_uri is https://other" in found["service_uri"][1]
    assert await wrong(evolve(patient, service_uri="orchestrator.example")) == {}


async def test_the_balance(patient, devnet):
    price = devnet.rpc.number("eth_gasPrice")
    devnet.set_balance("orchestrator", 5 * 350_000 * price + price)
    found = await wrong(patient)
    assert found["balance"][0] == "warn"
    assert "5 redemptions only" in found["balance"][1]
    devnet.set_balance("orchestrator", 1)
    assert (await wrong(patient))["balance"][0] == "fail"
    payer = devnet.account("redeemer").address
    assert await wrong(evolve(patient, payer=payer)) == {}


async def test_the_endpoint(patient):
    async def refused(uri):
        return "connection refused"

    async def slow(uri):
        raise TimeoutError

    for reach, text in ((refused, "connection refused"), (slow, "no answer within 15 s")):
        found = await wrong(evolve(patient, reach=reach))
        assert text in found["endpoint"][1]


@pytest.mark.parametrize(
    ("changes", "verdict", "text"),
    [
        ({"max_face_value": 10}, "fail", "raise payments.max_face_value_wei"),
        ({"max_face_value": 10**15}, "ok", "a ticket is worth 0.001 ETH"),
        ({"ticket_ev": 10**18}, "ok", "a ticket is worth 100 ETH"),
        ({"max_gas_price": 1}, "warn", "nothing is sent above 0.000000001 gwei"),
        ({"max_floats": {b"\1" * 20: 10**15}}, "warn", "its tickets are smaller and dearer"),
        ({"max_floats": {b"\1" * 20: 1}}, "warn", "its work is refused"),
    ],
)
def test_tickets(changes, verdict, text):
    base = Patient(endpoints={}, controller=b"", account=b"", ticket_ev=8 * 10**9)
    first = next(ticket_checks(evolve(base, **changes), 10**9))
    assert (first.verdict, text in first.text) == (verdict, True), first.text


@pytest.mark.parametrize(
    ("text", "uri", "problem", "warning"),
    [
        ("o.example", "https://o.example:8935", False, False),
        ("https://o.example:443/", "https://o.example:443", False, False),
        ("https://203.0.113.7:1", "https://203.0.113.7:1", False, True),
        ("https://127.0.0.1:1", "https://127.0.0.1:1", False, True),
        ("https://localhost", "https://localhost:8935", False, True),
        ("https://10.0.0.1", "https://10.0.0.1:8935", False, True),
        ("https://8.8.8.8", "https://8.8.8.8:8935", False, False),
        ("https://[2001:4860::1]:8935", "https://[2001:4860::1]:8935", False, False),
        ("https://[::]", "https://[::]:8935", True, False),
        ("http://o.example", "http://o.example:8935", True, False),
    ],
)
def test_service_uris(text, uri, problem, warning):
    check = check_service_uri(text)
    assert (check.uri, bool(check.problem), bool(check.warning)) == (uri, problem, warning)


# ---------------------------------------------------------------- status


async def test_the_status_shows_all_and_is_a_document(patient, devnet, line, contracts):
    gateway = devnet.account("gateway").address
    status = await read_status(
        line,
        contracts,
        patient.account,
        tickets={"pending": TicketSum(2, 3 * ETHER), "dead": TicketSum(0, 0)},
        node=NodeFacts("0.1.0", URI, 1, 10, [gateway]),
    )
    sections = {title: dict(rows) for title, rows in status.sections()}
    assert list(sections) == ["Node", "Round", "Stake", "Earnings", "Winning tickets"]
    assert sections["Node"]["orchestrator"] == "active"
    assert sections["Node"]["gateways"] == devnet.account("gateway").text
    assert sections["Round"]["reward"] == "called"
    assert sections["Stake"]["place"] == "1 of 1, at most 100"
    assert sections["Earnings"]["fee cut"] == "95 %"
    assert sections["Winning tickets"] == {"pending": "2, 3 ETH"}
    document = json.loads(json.dumps(status.as_document()))
    assert document["round"]["rewarded"] is True
    assert document["orchestrator"]["deactivation_round"] is None
    assert int(document["stake"]["own"]) == status.account.delegator.stake
    assert document["node"]["gateways"] == [devnet.account("gateway").text]


async def test_how_an_orchestrator_stands(devnet, line, contracts):
    account = devnet.account("orchestrator2").address

    async def standing():
        return (await read_status(line, contracts, account)).standing

    assert await standing() == "not registered"
    devnet.bond("orchestrator2", ETHER)
    number = devnet.current_round
    assert await standing() == f"registered, active from round {number + 1} on"
    devnet.next_round()
    assert await standing() == "active"
    unbond = BondingManager.unbond_with_hint
    devnet.send("orchestrator2", "BondingManager", unbond, ETHER, bytes(20), bytes(20))
    assert await standing() == f"active, leaves with round {number + 2}"
    devnet.next_round()
    assert await standing() == "not registered, stake is being unbonded"
    assert devnet.call("RoundsManager", RoundsManager.initialized)


async def test_a_chain_that_cannot_be_read_has_no_status(line, contracts, patient):
    line.broken = "down"
    with pytest.raises(RpcUnavailable):
        await read_status(line, contracts, patient.account)
