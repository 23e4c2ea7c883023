"""Paid AI jobs of a client of its own, and what a node on chain refused.

Prices, keys, tickets and texts are the recorded ones. The recorded node's secrets are not known,
so each ticket is signed anew over our node's parameters, and each balance is set to the recorded
one before its case: what is compared is the answer, and what the case did to the balance.
"""

import base64
import binascii
import contextlib
import json
from fractions import Fraction
from pathlib import Path

import pytest
from google.protobuf.message import DecodeError
from podium.app import Overrides
from podium.crypto import KeySigner, keccak256, sign_message
from podium.testing.chain import FakeChain
from podium.testing.gateway.requests import build_payment, build_segdata, orchestrator_request
from podium.testing.gateway.tickets import TicketTerms
from podium.wire.pb import lp_rpc_pb2 as pb

DATA = Path(__file__).parents[1] / "data/ai-onchain"
OWN = json.loads((DATA / "own-client.json").read_text())["cases"]
REFUSALS = json.loads((DATA / "refusals.json").read_text())
SETUP = json.loads((DATA / "own-client-setup.json").read_text())
EV = 7_000_000_000_000_001
SATURATED = 9_223_372_036_854_775
OVERHEAD = Fraction(101, 100)
PLENTY = 2 * EV
CAPABILITIES = {"/llm": 33, "/text-to-image": 27, "/image-to-text": 34, "/text-to-speech": 36}
REMADE = "the node's secrets are not known: tickets and token are our node's"

COVERED = "the estimate must be covered before the work, not only one ticket's value"
BYTES = "speech is charged by the bytes that gateways pay for, not a thousand times its characters"
MADE_UP = "a price that no ticket proves is refused; the reference serves and bills at it"
NO_PRICE = "the reference divides by zero after the work and cuts the connection"
SPACE = "Go's decoder varies the space in this text on purpose; ours is plain"


def wanting(number, model):
    asked = pb.Capabilities(
        bitstring=[sum(1 << bit for bit in (*range(13), 14, 26, number))],
        capacities=dict.fromkeys((*range(13), 14, 26, number), 1),
        version="0.9.1",
    )
    asked.constraints.PerCapability[number].models[model].warm = False
    return asked


def model_of(case):
    path = case["request"]["path"]
    return CAPABILITIES[path], f"acme/{path[1:]}"


class Payer:
    """A sender that pays our node for one model, with the recorded key."""

    def __init__(self, kit, node, key, number, model):
        self.kit, self.node = kit, node
        self.signer = KeySigner(bytes.fromhex(key.removeprefix("0x")))
        self.number, self.model = number, model
        request = orchestrator_request(self.signer, wanting(number, model))
        with kit.OverH2(node.port) as client:
            headers = [("content-type", "application/grpc"), ("te", "trailers")]
            path = "/net.Orchestrator/GetOrchestrator"
            answer = client.request("POST", path, headers, kit.framed(request))
        self.info = kit.unframed(pb.OrchestratorInfo, answer.body)

    @property
    def key(self):
        return f"{self.number}_{self.model}"

    @property
    def balance(self):
        found = self.node.app.call(
            self.node.app.node.payments.balance, self.signer.address, self.key
        )
        return Fraction(found or 0)

    def set_balance(self, wanted):
        """Move the balance there, as debits do."""
        payments = self.node.app.node.payments
        self.node.app.call(payments.debit, self.signer.address, self.key, self.balance - wanted)

    def payment(self, case):
        """The recorded payment, over our parameters."""
        paid = case["payment"]
        price = None
        if paid["expected_price"]:
            units, per = paid["expected_price"]
            price = pb.PriceInfo(pricePerUnit=units, pixelsPerUnit=per)
        terms = TicketTerms.read(self.info.ticket_params)
        payment = build_payment(
            self.signer, price, terms, paid.get("nonces", [1])[: paid["tickets"]]
        )
        if "bad ticket signature" in case["case"]:
            payment.ticket_sender_params[0].sig = bytes(65)
        return base64.b64encode(payment.SerializeToString()).decode()

    def credentials(self, case):
        name = case["case"]
        signed_for = self.key
        if "another manifest id" in name:
            signed_for = "34_acme/image-to-text"
        made = build_segdata(
            self.signer,
            token=self.info.auth_token,
            manifest_id=signed_for,
            seq=0,
            body=b"",
            duration_ms=0,
            profiles=[],
            capabilities=wanting(self.number, self.model),
        )
        assert made.hash == keccak256(b"")
        if name == "bad segment signature":
            made.sig = sign_message(self.signer, b"something else")
        elif name == "manifest of another model":
            made.manifestId = b"27_acme/text-to-image"  # and not signed again
        return base64.b64encode(made.SerializeToString()).decode()

    def send(self, ai_kit, case):
        request = case["request"]
        headers = []
        for name, value in request["headers"].items():
            if name == "Livepeer-Segment":
                headers.append((name, self.credentials(case)))
            elif (
                name == "Livepeer-Payment"
                and "tickets" in (case["payment"] or {})
                and _reads(value)
            ):
                headers.append((name, self.payment(case)))
            else:
                headers.append((name, value))
        body = request["body"]
        data = body.encode() if isinstance(body, str) else ai_kit.body_of(body)
        if request["path"] == "/image-to-text":  # its picture did not survive being kept as text
            data = picture_form(ai_kit, self.model)
        return self.kit.over_h1(self.node.port, "POST", request["path"], headers, data)


def picture_form(ai_kit, model):
    """The recorded form, with the recorded picture."""
    picture = base64.b64decode(ai_kit.load("fixtures")["in.png"]["base64"])
    line, head = b"--podiumvectorboundary", b"Content-Disposition: form-data; name="
    return b"\r\n".join(
        (line, head + b'"image"; filename="in.png"', b"", picture,
         line, head + b'"model_id"', b"", model.encode(), line + b"--", b"")
    )  # fmt: skip


def _reads(header):
    with contextlib.suppress(binascii.Error, DecodeError):
        pb.Payment.FromString(base64.b64decode(header, validate=True))
        return True
    return False


@pytest.fixture(scope="module")
def paid_node(kit, ai_kit, start_ai, recorded_runner):
    keys = SETUP["keys"]
    url = f"http://127.0.0.1:{recorded_runner.port}"
    entries = [
        {**entry, "url": url, "price_per_unit": int(entry["price_per_unit"] * OVERHEAD)}
        for entry in SETUP["ai_models"]
    ]
    chain = FakeChain()
    sections = {
        "account": {"private_key": keys["orchestrator"]["key"].removeprefix("0x")},
        "payments": {"ticket_ev_wei": EV, "auto_adjust_price": False},
    }
    overrides = Overrides(clock=chain, broker=chain, gas_price=chain)
    node = start_ai(sections, overrides, entries)
    ai_kit.wait_for_models(node, len(entries))
    return node


@pytest.fixture(scope="module")
def payer(kit, paid_node):
    """Payers, one for each sender and model: ``payer(key, number, model)``."""
    made = {}

    def find(name, number, model):
        if (name, model) not in made:
            made[name, model] = Payer(kit, paid_node, SETUP["keys"][name]["key"], number, model)
        return made[name, model]

    return find


def view(status, text, moved):
    result = text
    if status == 200:
        result = json.loads(text)
        for image in [*(result.get("images") or []), result.get("audio") or {}]:
            image.pop("url", None)
    return {"status": status, "result": result, "moved": moved}


def recorded_moves(case):
    """What the case did to the balance, exactly: the recorded readings are cut off."""
    if (case.get("response") or {}).get("status") is None:
        return None
    if abs(case["balance_before"]) < SATURATED and abs(case["balance_after"]) < SATURATED:
        return str(case["balance_after"] - case["balance_before"])
    return None


def exactly(case, payer):
    """The balance to begin with: as recorded, or what the case needs where the reading is cut."""
    if abs(case["balance_before"]) < SATURATED:
        return Fraction(case["balance_before"])
    return Fraction(PLENTY if case["balance_before"] > 0 else -PLENTY)


REFUSED = {"status": 400, "result": "Insufficient balance\n"}
NOT_SAID = "expected price is nil"
OWN_STANDING = {
    "llm: payment not protobuf": (
        {"result": "protobuf unmarshal error: proto: cannot parse invalid wire-format data\n"},
        SPACE,
    ),
    "llm: no tickets, fee of 5e7 max_tokens is above the balance": (REFUSED, COVERED),
    "text-to-image 512x512: one ticket, fee above one EV": ({**REFUSED, "moved": str(EV)}, COVERED),
    "text-to-speech 11 ASCII characters": ({"moved": str(EV - 11 * 707_000_000)}, BYTES),
    "text-to-speech, 4 characters of 3 bytes": ({"moved": str(EV - 12 * 707_000_000)}, BYTES),
    "llm: no tickets, expected price missing": (
        {
            "status": 400,
            "result": f'invalid expected price sent with payment err="{NOT_SAID}"\n',
        },
        NO_PRICE,
    ),
}


@pytest.mark.parametrize("number", range(len(OWN)), ids=[case["case"] for case in OWN])
def test_a_case_of_the_client_of_its_own(kit, ai_kit, payer, tally, number):
    case = OWN[number]
    who = payer("gateway" if number == len(OWN) - 1 else "other", *model_of(case))
    before = exactly(case, who)
    who.set_balance(before)
    answer = who.send(ai_kit, case)
    moved = recorded_moves(case)
    ours = view(answer.status, answer.text, str(int(who.balance - before)))
    response = case["response"] or {}
    if response.get("status") is None:
        recorded = {"status": None, "result": None, "moved": None}
    else:
        recorded = view(response["status"], response["body"]["text"], moved)
    if moved is None:
        ours["moved"] = None
    found = kit.differences(recorded, ours)
    standing = OWN_STANDING.get(case["case"])
    tally.judge(("own-client", number), found, *([standing] if standing else ()), remade=REMADE)


@pytest.fixture(scope="module")
def paid_before(ai_kit, payer):
    """The payment that the first refusal replays."""
    case = REFUSALS[0]
    paid = {**case, "payment": {**case["payment"], "tickets": 2, "nonces": [1, 2]}}
    assert payer("gateway", 33, "acme/llm").send(ai_kit, paid).status == 200


@pytest.mark.parametrize("number", range(len(REFUSALS)), ids=[case["case"] for case in REFUSALS])
@pytest.mark.usefixtures("paid_before")
def test_a_refusal_on_chain(kit, ai_kit, payer, tally, number):
    case = REFUSALS[number]
    who = payer("gateway", 33, "acme/llm")
    who.set_balance(Fraction(PLENTY))
    answer = who.send(ai_kit, case)
    response = case["response"]
    ours = view(answer.status, answer.text, None)
    recorded = view(response["status"], response["text"], None)
    found = kit.differences(recorded, ours)
    standing = REFUSALS_STANDING.get(case["case"])
    tally.judge(("refusals", number), found, *([standing] if standing else ()), remade=REMADE)


REFUSALS_STANDING = {
    "wrong expected price, no tickets": (
        {
            "status": 400,
            "result": "invalid expected price sent with payment "
            'err="price is 1, not 505000000 as fixed for the session"\n',
        },
        MADE_UP,
    ),
    "no tickets, estimate above balance (max_tokens 1e8)": (REFUSED, COVERED),
}


def test_the_price_asked_for_is_that_of_the_model(payer):
    for entry in SETUP["ai_models"]:
        number, model = CAPABILITIES[f"/{entry['pipeline']}"], entry["model_id"]
        price = payer("other", number, model).info.price_info
        quoted = Fraction(price.pricePerUnit, price.pixelsPerUnit)
        assert quoted == entry["price_per_unit"] * OVERHEAD
