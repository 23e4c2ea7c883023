"""Payments recorded from an unmodified gateway and orchestrator, taken by ours.

The node has the recorded secret, clock, round and funds (``tests/contract/data/onchain-video``,
see its PROVENANCE.md). Here only what payments decide; whole requests are replayed elsewhere.
"""

import json
from fractions import Fraction
from pathlib import Path

import pytest
from attrs import evolve
from podium.crypto import KeySigner, checksum_address
from podium.errors import PodiumError, WireError
from podium.payments import RandSource, SenderFunds
from podium.payments.params import Terms
from podium.payments.ticket import TicketTerms, draw
from podium.testing.chain import FakeChain, reference_packing
from podium.wire.payment import (
    TicketParams,
    TicketSenderParams,
    decode_payment,
    params_from_pb,
    params_to_pb,
)
from podium.wire.pb import lp_rpc_pb2 as pb

DATA = Path(__file__).parents[3] / "tests/contract/data/onchain-video"
QUOTED = Fraction(101000000303, 200)
TICKET_EV = 7_000_000_000_000_001

OURS = {
    40: 'invalid expected price sent with payment err="price is negative"',
    55: "Insufficient balance",
    56: "Insufficient balance",
    57: 'invalid expected price sent with payment err="expected price is nil"',
    59: "Insufficient balance",
    60: "expiration params of tickets are missing",
    64: 'invalid expected price sent with payment err="price is 1, not 101000000303/200 as fixed for the session"',
    65: 'invalid expected price sent with payment err="price is negative"',
}
"""Where the reference serves for nothing, pays the sender, or crashes, and we answer 400."""


def load(name):
    return json.loads((DATA / name).read_text())


@pytest.fixture(scope="module")
def recorded_secrets():
    secrets = load("setup.json")["orchestrator_secrets"]
    return {
        name: bytes.fromhex(found["ticket_secret"])
        for name, found in secrets.items()
        if "ticket_secret" in found
    }


@pytest.fixture
def recorded_node(make_setup, recorded_secrets):
    """A node of ours in the place of a recorded one."""

    def build(process):
        reserve = 5 * 10**18
        chain = FakeChain(
            wei=1_000_000_007,
            default_funds=SenderFunds(4 * 10**18, reserve, pool_size=2),
        )
        rand = RandSource(recorded_secrets.get(process, b"\x01" * 32), reference_packing)
        return make_setup(chain=chain, rand=rand, ticket_ev=TICKET_EV)

    return build


def set_clock(chain, payment, *, age=1):
    """Set the chain to when a payment's parameters were ``age`` blocks old."""
    if payment.ticket_params and payment.expiration_params:
        chain.l1_block = payment.ticket_params.expiration_block - 40 + age
        chain.current_round = payment.expiration_params.creation_round
        chain.round_hashes[chain.current_round] = payment.expiration_params.block_hash


def headers_of(exchange):
    return {name.lower(): value for name, value in dict(exchange["request"]["headers"]).items()}


def header_of(exchange):
    return headers_of(exchange).get("livepeer-payment")


SEGMENTS = load("segments.json")


@pytest.mark.parametrize("exchange", SEGMENTS, ids=lambda exchange: str(exchange["id"]))
def test_every_recorded_ticket_is_recomputed(exchange, recorded_secrets):
    payment = decode_payment(header_of(exchange))
    derived = exchange["derived"]
    assert payment.sender.hex() == exchange["payment"]["sender"]
    if not payment.has_tickets:
        assert not derived.get("tickets")
        return
    params = payment.ticket_params
    promised = Terms(
        params.seed,
        payment.sender,
        params.face_value,
        params.win_prob,
        params.expiration_block,
        payment.expected_price.wei_per_unit,
        payment.expiration_params,
    )
    assert reference_packing(promised).hex() == derived["hmac_message"]
    source = RandSource(recorded_secrets[exchange["process"]], reference_packing)
    rand = source.recipient_rand(promised)
    assert rand.to_bytes(32, "big").hex() == derived["recipient_rand"]
    terms = TicketTerms(payment.sender, params, payment.expiration_params, rand)
    for ticket, expected in zip(payment.ticket_sender_params, derived["tickets"], strict=True):
        assert ticket.nonce == expected["nonce"]
        assert terms.ticket_hash(ticket.nonce).hex() == expected["ticket_hash"]
        assert draw(ticket.signature, rand) == int(expected["draw"], 16)
        assert (draw(ticket.signature, rand) < params.win_prob) is expected["wins"]


@pytest.mark.parametrize("process", ["orch1", "orch3"])
async def test_the_ledger_of_all_recorded_segments(process, recorded_node):
    """Every payment is taken, every balance is the recorded one, every winner is stored."""
    setup, winners = recorded_node(process), 0
    for exchange in [found for found in SEGMENTS if found["process"] == process]:
        payment = decode_payment(header_of(exchange))
        key = exchange["segdata"]["auth_token"]["session_id"]
        set_clock(setup.chain, payment)
        ledger = exchange["derived"].get("o_ledger") or {}
        before = setup.node.balance(payment.sender, key) or Fraction(0)
        receipt = await setup.node.receive(payment, key)
        price = setup.node.charge(payment, key, QUOTED)
        assert price == QUOTED
        winners += sum(ticket["wins"] for ticket in exchange["derived"].get("tickets", []))
        assert len(setup.store.tickets) == winners
        after = setup.node.balance(payment.sender, key)
        pixels = sum(
            found["pixels"] for found in exchange["response"]["message"]["data"]["segments"]
        )
        setup.node.debit(payment.sender, key, pixels * price)
        if ledger.get("before_wei_floor") is None:
            continue
        assert int(before) == ledger["before_wei_floor"]
        assert int(receipt.expected_value) == ledger["credit_wei_floor"]
        assert int(after) == ledger["after_credit_wei_floor"]
        assert pixels * price == Fraction(ledger["debit_exact"])
        left = setup.node.balance(payment.sender, key)
        assert left // 1 == ledger["after_debit_wei_floor"]
    assert winners > 0 or process == "orch3"


def recorded_offers():
    """Every OrchestratorInfo with parameters that a known secret made, with its sender."""
    for exchange in load("getorchestrator.json"):
        if exchange.get("derived", {}).get("issued_by") in {"orch1", "orch3"}:
            sender = exchange["request"]["message"]["address"]
            yield exchange["derived"]["issued_by"], sender, exchange["response"]["message"]
    for exchange in SEGMENTS:
        sender = exchange["payment"]["sender"]
        yield exchange["process"], sender, exchange["response"]["message"]["info"]


async def test_our_offers_are_the_recorded_ones(recorded_node):
    """With the recorded seed, clock and funds, the parameters are equal to the last byte."""
    count = 0
    for process, sender, info in recorded_offers():
        found = info["ticket_params"]
        setup = recorded_node(process)
        message = pb.TicketParams(
            recipient=bytes.fromhex(found["recipient"]),
            face_value=bytes.fromhex(found["face_value"]),
            win_prob=bytes.fromhex(found["win_prob"]),
            recipient_rand_hash=bytes.fromhex(found["recipient_rand_hash"]),
            seed=bytes.fromhex(found["seed"]),
            expiration_block=bytes.fromhex(found["expiration_block"]),
            expiration_params=pb.TicketExpirationParams(
                creation_round=found["expiration_params"]["creation_round"],
                creation_round_block_hash=bytes.fromhex(
                    found["expiration_params"]["creation_round_block_hash"]
                ),
            ),
        )
        expected: TicketParams = params_from_pb(message)
        setup.chain.l1_block = expected.expiration_block - 40
        setup.chain.current_round = expected.expiration_params.creation_round
        setup.chain.round_hashes = {
            setup.chain.current_round: expected.expiration_params.block_hash
        }
        setup.node.issuer.new_seed = lambda expected=expected: expected.seed
        price = Fraction(info["price_info"]["pricePerUnit"], info["price_info"]["pixelsPerUnit"])
        offered = await setup.node.offer(bytes.fromhex(sender), price)
        assert offered == expected
        assert params_to_pb(offered).SerializeToString() == message.SerializeToString()
        count += 1
    assert count == 70


NOT_PAYMENTS = {401, 403, 500}
"""Answers of earlier checks: credentials, capacity, the reply's own parameters."""


def reaches_payments(exchange):
    """Whether a recorded request gets as far as its payment, with a secret that is known."""
    response = exchange["response"] or {}
    text = ((response.get("body") or {}).get("text") or "").strip()
    if response.get("status") in NOT_PAYMENTS and text != "Forbidden":
        return False
    return exchange["issued_by"] == "orch1" or exchange["id"] in {93, 104, 105, 111, 112, 113}


async def take(setup, exchange, payment):
    """Take one request's payment as its face does; return the text of the refusal or None."""
    credentials = exchange["segdata"]
    to_payment = exchange["request"]["path"] == "/payment"
    key = credentials["manifestId"] if to_payment else credentials["auth_token"]["session_id"]
    try:
        await setup.node.receive(payment, key)
        if to_payment:
            return None
        price = setup.node.charge(
            payment, key, setup.node.fixed_price(payment.sender, key) or QUOTED
        )
    except PodiumError as error:
        return str(error)
    message = (exchange["response"] or {}).get("message") or {}
    pixels = sum(found["pixels"] for found in message.get("data", {}).get("segments", []))
    setup.node.debit(payment.sender, key, price * pixels)
    return None


def prepared(exchange, chain):
    """Decode a recorded payment and set the chain to its moment; the 601 tickets signed anew."""
    header = header_of(exchange)
    payment = decode_payment(header) if not isinstance(header, dict) else many_tickets(exchange)
    case = exchange["case"]
    set_clock(chain, payment, age=41 if "expired param" in case else 1)
    chain.inactive_rounds = {22, 23} if case.startswith("orchestrator inactive") else set()
    if case.startswith(("sender has unlocked", "  /payment")):
        chain.unlock(payment.sender, chain.current_round + 1)
    if exchange["id"] in {34, 35}:  # these lie about the round
        chain.current_round = 10
    return payment


def many_tickets(exchange):
    """Sign 601 tickets for the recorded parameters: of these only a hash was kept."""
    found = exchange["payment"]
    params = TicketParams(
        **{
            name: (int(value, 16) if name in {"face_value", "win_prob", "seed", "expiration_block"} else bytes.fromhex(value))
            for name, value in found["ticket_params"].items()
        }
    )  # fmt: skip
    template = decode_payment(header_of(next(e for e in load("refusals.json") if e["id"] == 73)))
    signer = KeySigner(bytes.fromhex(load("setup.json")["accounts"]["sender2"]["private_key"][2:]))
    terms = TicketTerms(signer.address, params, template.expiration_params, 0)
    assert found["expiration_params"]["creation_round"] == terms.expiration.creation_round
    tickets = tuple(
        TicketSenderParams(nonce, signer.sign_digest(terms.ticket_hash(nonce)))
        for nonce in [*range(1000, 1600), 752]
    )
    return evolve(template, ticket_params=params, ticket_sender_params=tickets)


async def test_refused_and_taken_payments(recorded_node):
    """Each recorded answer, or ours where the reference's would cost us."""
    setups, compared, different = {}, 0, 0
    for exchange in filter(reaches_payments, load("refusals.json")):
        setup = setups.setdefault(exchange["issued_by"], recorded_node(exchange["issued_by"]))
        setup.chain.funds.clear()
        recorded = ((exchange["response"] or {}).get("body") or {}).get("text")
        try:
            payment = prepared(exchange, setup.chain)
        except WireError as error:
            ours = str(error)
        else:
            ours = await take(setup, exchange, payment)
        theirs = recorded.strip() if recorded and recorded.strip() != "Forbidden" else None
        case = (exchange["id"], exchange["case"])
        if exchange["id"] in OURS:
            assert ours == OURS[exchange["id"]], case
            different += 1
        elif ours is not None and ours.startswith("protobuf"):
            assert theirs.startswith("protobuf unmarshal error: proto:"), case
        else:
            assert ours == theirs, case
        compared += 1
    assert (compared, different) == (COMPARED, len(OURS))


COMPARED = 71


def test_addresses_in_texts_are_checksummed():
    sender = bytes.fromhex("a88d82e1a2603efd7b9a373707c93149d552ddf1")
    assert checksum_address(sender) == "0xA88d82E1a2603efD7b9A373707c93149D552dDF1"
