"""Every recorded BYOC request, in its order: registration, tokens, jobs, streams, payments.

A container that behaves as the recorded one stands behind our node, so what reached it is compared
as well. It does in a second what took six, where only the order counts.
"""

import base64
import json
import threading
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest
from podium.app import Overrides
from podium.crypto import KeySigner, checksum_address, keccak256, recover, sign_message
from podium.testing.chain import FakeChain
from podium.testing.container import Container, serving_in_thread
from podium.testing.gateway.requests import build_payment
from podium.testing.gateway.tickets import TicketTerms
from podium.testing.node import PodiumApp, node_document
from podium.wire.byoc import decode_job, decode_sender, signature_bytes
from podium.wire.pb import lp_rpc_pb2 as pb

DATA = Path(__file__).parent / "data"
SECRET = "s3cret"
RECORDED_URL = "http://127.0.0.1:23400"
RECORDED_DEAD = "http://127.0.0.1:23499"
DEAD = "http://127.0.0.1:9"
SERVICE_URI = "https://127.0.0.1:23200"


def load(name):
    return json.loads((DATA / name).read_text())


OFF_CHAIN = {name: load(f"byoc/{name}.json") for name in ("register", "token", "job", "sse")}
SIGNED = load("byoc/signature.json")
PAID = load("byoc-onchain/own-client.json")
GATEWAY = load("byoc-onchain/gateway-orchestrator.json")


def span(name, first, last):
    return [(name, number) for number in range(first, last + 1)]


ORDER = [
    *span("register", 0, 17),
    *span("token", 0, 12),
    *span("job", 0, 29),
    ("token", 13),
    ("register", 18),
    ("token", 14),
    *span("job", 30, 32),
    ("token", 15),  # while the next one runs
    ("job", 33),
    ("token", 16),
    ("job", 34),
    ("register", 19),
    ("token", 17),
    ("job", 35),
    ("token", 18),
    *span("job", 36, 38),
    *span("sse", 0, 2),
    *span("register", 20, 25),
    ("token", 19),
    ("job", 39),
]
"""The run, over all files."""

NO_ROOM = "No capacity available for capability\n"
FAILED = "job not able to be processed, removing capability err="
OWN_TEXT = "the JSON error is told in our own words"
NOTHING_HELD = "a request that is refused holds no slot"
END = 'data: {"balance": 0.000}\n\n\ndata: [DONE]\n\n'
EVENTS = "".join(f'data: {{"n":{number}}}\n\n' for number in range(6))
FOUR = EVENTS[: EVENTS.index("4") - 11]


def refused(text, why, **more):
    return {"status": 400, "headers.content-type": "application/json", "text": text} | more, why


def bad(what):
    return f"Error registering capability: {what}"


EXPLAINED = {
    ("register", 7): refused(
        bad("no price is known for the currency usd"), "an unknown currency is refused, not a crash"
    ),
    ("register", 9): ({"text": bad("price_per_unit is not a whole number from 0")}, OWN_TEXT),
    ("register", 10): (
        {"status": 400, "text": bad("url is not an http or https address")},
        "a registration that cannot work is refused",
    ),
    ("register", 11): (
        {"status": 400, "text": bad("capacity is not a whole number from 0")},
        "a registration that cannot work is refused",
    ),
    ("register", 15): (
        {"text": bad("invalid JSON: Expecting property name enclosed in double quotes:"
                     " line 1 column 2 (char 1)")},
        OWN_TEXT,
    ),
    ("token", 13): ({"token.available_capacity": 2}, NOTHING_HELD),
    ("token", 17): ({"token.available_capacity": 2}, "a job that timed out frees its slot"),
    ("job", 27): (
        {"status": 503, "headers.content-type": "text/plain; charset=utf-8",
         "headers.x-content-type-options": "nosniff", "headers.livepeer-balance": None,
         "headers.x-metadata": None, "text": NO_ROOM, "container": []},
        "capacity is enforced",
    ),
    ("job", 28): (
        {"text": "Unable to unmarshal job request details err=not JSON\n"}, OWN_TEXT),
    ("job", 29): (
        {"text": "Unable to unmarshal job request details err=not JSON\n"}, OWN_TEXT),
    ("job", 33): ({"statuses[1]": 503, "statuses[2]": 503}, "capacity is enforced"),
    ("job", 34): (
        {"text": f"{FAILED}no end within 2 s\n"}, "the container's address is not told to gateways"
    ),
    ("job", 35): (
        {"text": f"{FAILED}executor unreachable: Connection refused\n"},
        "the container's address is not told to gateways",
    ),
    ("sse", 0): ({"text": FOUR + END, "newlines": 0}, "a stream ends with [DONE], at once"),
    ("sse", 1): (
        {"text": FOUR + END, "newlines": 0},
        "a stream that ends without [DONE] gets one, and no flood of newlines",
    ),
    ("sse", 2): (
        {"text": EVENTS + 'event: timeout\ndata: {"error": "no end within 3 s"}\n\n' + END},
        "a time-out says so in a last event",
    ),
}  # fmt: skip


# ---------------------------------------------------------------- both sides


@pytest.fixture(scope="module")
def container():
    """The recorded container, and its address."""
    app = Container(tokens=set(), slow_s=1.0, step_s=0.5)
    with serving_in_thread(app) as url:
        yield SimpleNamespace(app=app, url=url)


def section():
    return {"byoc": {"enabled": True, "secret": SECRET}}


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A node without an account in the place of the recorded one."""
    document = node_document(
        tmp_path_factory.mktemp("byoc"),
        {"node": {"service_uri": SERVICE_URI}, "plugins": section()},
    )
    del document["account"]
    app = PodiumApp.start(document)
    yield app
    app.stop()


def ours_of(text, container):
    """A recorded body, with our addresses in it."""
    return text.replace(RECORDED_URL, container.url).replace(RECORDED_DEAD, DEAD)


def send(kit, port, case, container, **headers):
    request = case["request"]
    sent = dict(request["headers"]) | headers
    body = ours_of(request["body"].get("text", ""), container).encode()
    names = {"host", "content-length", "user-agent", "accept", "connection", "accept-encoding"}
    sent = {name: value for name, value in sent.items() if name.lower() not in names}
    return kit.over_h1(port, request["method"], request["path"], sent.items(), body)


def shown(kit, answer, received=None):
    """An answer in comparable form; a token's JSON as such."""
    if answer.status is None:
        return {"status": None}
    length = len(answer.body)
    view = {"status": answer.status, "headers": kit.named(answer.headers, length)}
    if answer.text.startswith('{"sender_address"'):
        return view | {"token": json.loads(answer.text)}
    view["text"] = answer.text if answer.text.isascii() else answer.body.hex()
    if received is not None:
        view["container"] = received
    return view


def recorded_view(kit, case):
    response = case.get("response")
    if response is None:
        return {"status": None}
    view = {"status": response["status"]}
    if "chunks" in response:
        view["headers"] = kit.named(response["headers"], 0)
        view["text"] = "".join(chunk["text"] for chunk in response["chunks"])
        view["newlines"] = response["newlines_after_listed_chunks"]
        return view
    body = response["body"]
    view["headers"] = kit.named(response["headers"], body["length"])
    text = body.get("text", body.get("hex", ""))
    if text.startswith('{"sender_address"'):
        return view | {"token": json.loads(text)}
    view["text"] = text
    if "container_received" in case:
        view["container"] = [
            as_received(got["request"]["method"], got["request"]["path"],
                        dict(got["request"]["headers"]), got["request"]["body"].get("text", ""))
            for got in case["container_received"]
        ]  # fmt: skip
    return view


def as_received(method, path, headers, body):
    kept = {name: headers.get(name) for name in ("authorization", "content-length")}
    kept["content-type"] = headers.get("content-type") or None
    return {"method": method, "path": path, "body": body} | kept


def received(container, case):
    if "container_received" not in case:
        return None
    return [
        as_received(g.method, g.path, g.headers, g.body.decode()) for g in container.app.received
    ]


# ---------------------------------------------------------------- off chain


@pytest.fixture(scope="module")
def answers(kit, node, container):
    """Ours, to everything that was sent off chain."""
    found = {}
    for name, number in ORDER:
        case = OFF_CHAIN[name][number]
        container.app.received.clear()
        if (name, number) == ("token", 15):
            found["job", 33] = three_at_once(kit, node, container, found)
        elif (name, number) != ("job", 33):
            found[name, number] = one(kit, node, container, name, number, case)
    return found


def one(kit, node, container, name, number, case):
    container.app.slow_s = 3.0 if (name, number) == ("job", 34) else 1.0
    view = shown(kit, send(kit, node.node.public.port, case, container), received(container, case))
    if name == "sse":
        view.pop("container")
        view["newlines"] = len(view["text"]) - len(view["text"].rstrip("\n")) - 2
        if number == 2:
            view["newlines"] = 0
    return view


def three_at_once(kit, node, container, found):
    """Three jobs side by side on one slot, and a token in between."""
    case, statuses = OFF_CHAIN["job"][33], []

    def run():
        answer = send(kit, node.node.public.port, case, container)
        statuses.append(answer.status)
        if answer.status == 200:
            found_ok.append(shown(kit, answer))

    found_ok = []
    container.app.slow_s, container.app.running = 1.5, 0
    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads[:]:
        thread.join(0.2)
    token = OFF_CHAIN["token"][15]
    found["token", 15] = shown(kit, send(kit, node.node.public.port, token, container))
    for thread in threads:
        thread.join()
    return found_ok[0] | {"statuses": sorted(statuses)}


def test_the_whole_run_is_replayed():
    everything = {(name, n) for name, cases in OFF_CHAIN.items() for n in range(len(cases))}
    assert set(ORDER) == everything
    assert len(ORDER) == len(everything)


@pytest.mark.parametrize("where", ORDER, ids=lambda where: f"{where[0]}-{where[1]}")
def test_off_chain(kit, tally, answers, where):
    name, number = where
    case, ours = OFF_CHAIN[name][number], dict(answers[where])
    recorded = recorded_view(kit, case)
    if where == ("job", 33):
        recorded |= {"statuses": [200, 200, 200]}
    found = kit.differences(recorded, ours)
    explained = [EXPLAINED[where]] if where in EXPLAINED else []
    if where == ("register", 7):
        found = {"status": 400, "headers.content-type": "application/json", "text": ours["text"]}
    tally.judge((f"byoc/{name}", number), found, *explained)


def test_the_recorded_signatures_are_what_we_check():
    signer = KeySigner(bytes.fromhex(SIGNED["private_key_hex"]))
    assert checksum_address(signer.address) == SIGNED["address"]
    for part, message in (("job_sender", SIGNED["address"]), ("job_request", '{"run":"echo"}{}')):
        recorded = SIGNED[part]
        assert recorded["message"] == message
        assert sign_message(signer, message.encode()) == signature_bytes(recorded["signature"])
        assert recover(keccak256(message.encode()), signature_bytes(recorded["signature"])) == (
            signer.address
        )
    digest = keccak256(SIGNED["address"].encode())
    assert digest.hex() == SIGNED["job_sender"]["keccak256_of_message"]


# ---------------------------------------------------------------- on chain


TICKET_PARAMS = ("recipient_rand_hash", "seed", "expiration_block", "expiration_params")
EV = 7_000_000_000_000_001
SECOND = 10_100_000_000_000


@pytest.fixture(scope="module")
def start_paid(tmp_path_factory, setup, funds_of):
    """Start a node with the recorded account, prices in wei, and a full chain."""
    apps = []

    def start(uri):
        chain = FakeChain(wei=setup["gas_price_seen"], l1_block=100, current_round=7)
        accounts = setup["accounts"]
        chain.funds = {
            bytes.fromhex(accounts[name]["address"][2:]): funds_of(4, 5)
            for name in ("gateway", "sender2")
        }
        document = node_document(
            tmp_path_factory.mktemp("byoc-paid"),
            {
                "node": {"service_uri": uri},
                "account": {"private_key": accounts["orchestrator"]["private_key"]},
                "payments": {"ticket_ev_wei": EV},
                "plugins": section(),
            },
        )
        overrides = Overrides(
            clock=chain, broker=chain, gas_price=chain, redeem_gas=setup["redeem_gas_constant"]
        )
        apps.append(PodiumApp.start(document, overrides))
        return apps[-1]

    yield start
    for app in apps:
        app.stop()


class Payer:
    """Makes recorded payments anew, over the parameters that our node issues."""

    def __init__(self, setup):
        accounts = setup["accounts"]
        self.signers = {
            bytes.fromhex(a["address"][2:]): KeySigner(bytes.fromhex(a["private_key"][2:]))
            for a in accounts.values()
        }
        self.tokens = {}

    def note(self, sender, capability, token):
        self.tokens[sender, capability] = token

    def ticket_value(self, sender, capability):
        """Exact wei that one ticket is worth."""
        params = self.tokens[sender, capability]["ticket_params"]
        face, chance = (
            int.from_bytes(base64.b64decode(params[name]), "big")
            for name in ("face_value", "win_prob")
        )
        return Fraction(face * chance, 2**256 - 1)

    def payment(self, sender, capability, recorded, *, spoiled=False):
        token = self.tokens[sender, capability]
        params = token["ticket_params"]
        message = pb.TicketParams(
            **{k: base64.b64decode(v) for k, v in params.items() if k != "expiration_params"}
        )
        expiration = params.get("expiration_params", {})
        message.expiration_params.creation_round = expiration.get("creation_round", 0)
        message.expiration_params.creation_round_block_hash = base64.b64decode(
            expiration.get("creation_round_block_hash", "")
        )
        price = pb.PriceInfo(
            pricePerUnit=recorded["expected_price"][0], pixelsPerUnit=recorded["expected_price"][1]
        )
        terms = TicketTerms.read(message)
        made = build_payment(self.signers[sender], price, terms, recorded["nonces"])
        if not recorded["nonces"]:
            made.ClearField("ticket_params")
        if spoiled:
            made.ticket_sender_params[0].sig = made.ticket_sender_params[0].sig[:-1] + b"\x00"
        return base64.b64encode(made.SerializeToString()).decode()


def without_params(view):
    """A token less what is random in its ticket parameters; that they are there counts."""
    params = view.get("token", {}).get("ticket_params")
    if params is not None:
        for name in TICKET_PARAMS:
            params[name] = bool(params.get(name))
    return view


def sender_of(case):
    headers = {name.lower(): value for name, value in header_pairs(case)}
    if "livepeer" in headers:
        job = decode_job(headers["livepeer"])
        return bytes.fromhex(job.sender[2:]), job.capability
    if "livepeer-eth-address" in headers:
        who = decode_sender(headers["livepeer-eth-address"])
        return bytes.fromhex(who.address[2:]), headers["livepeer-capability"]
    return None, None


def header_pairs(case):
    headers = case["request"]["headers"]
    return list(headers.items()) if isinstance(headers, dict) else headers


def replay_paid(kit, app, payer, case, container):
    """Send a recorded request with its payment made anew; note the token it gets."""
    request = {**case["request"], "headers": header_pairs(case)}
    sender, capability = sender_of(case)
    recorded, changed = case.get("payment") or case.get("decoded", {}).get("payment"), {}
    name = next((n for n, _ in request["headers"] if n.lower() == "livepeer-payment"), None)
    if name is not None and dict(request["headers"])[name] != "***":
        spoiled = case.get("case") == "bad ticket signature"
        changed[name] = payer.payment(sender, capability, recorded, spoiled=spoiled)
    answer = send(kit, app.node.public.port, {"request": request}, container, **changed)
    view = shown(kit, answer)
    if "token" in view:
        payer.note(sender, capability, json.loads(answer.text))
    return view, bool(changed)


REMADE = "the orchestrator's secret is not known: its tickets are made anew over our parameters"


def judge_paid(kit, tally, where, case, ours, remade, *explanations):
    recorded = without_params(recorded_view(kit, {**case, "response": with_pairs(case)}))
    for view in (recorded, ours):
        for name in ("transfer-encoding", "date"):  # of the server; the client kept no dates
            view.get("headers", {}).pop(name, None)
    found = kit.differences(recorded, without_params(ours))
    tally.judge(where, found, *explanations, remade=REMADE if remade else None)


def with_pairs(case):
    response = case["response"]
    if response is None:
        return None
    return {k: v for k, v in response.items() if k != "chunks"}


def test_a_recorded_gateway_is_served_and_billed_to_the_wei(
    kit, tally, setup, start_paid, container
):
    """Tokens, refusals until a minute is covered, then jobs; the gateway's own headers."""
    container.app.slow_s = 6.0
    app, payer = start_paid("https://127.0.0.1:25936"), Payer(setup)
    saturated = "the reference's balances saturate at 9223372036854775"
    tickets = 0
    for number, case in enumerate(GATEWAY):
        recorded = recorded_view(kit, case)
        ours, remade = replay_paid(kit, app, payer, case, container)
        explanations = []
        if recorded.get("token", {}).get("balance") == 9_223_372_036_854_775:
            balance = int(tickets * payer.ticket_value(*sender_of(case)))
            explanations = [({"token.balance": balance}, saturated)]
        if remade:
            tickets += case["decoded"]["payment"]["tickets"]
        judge_paid(kit, tally, ("byoc-onchain/gateway", number), case, ours, remade, *explanations)
    assert tickets > 6


LEFT_OUT = "streams of channels are not served yet"
CUT = "a payment that is no good is refused, not a crash"
NO_BALANCE = {
    "status": 400,
    "headers": {
        "content-type": "text/plain; charset=utf-8",
        "x-content-type-options": "nosniff",
        "content-length": "right",
    },
    "text": "Insufficient balance for request\n",
}


def test_a_recorded_client_is_served_and_billed_to_the_second(
    kit, tally, setup, start_paid, container
):
    container.app.slow_s, container.app.step_s = 6.0, 0.5
    app, payer = start_paid("https://127.0.0.1:25935"), Payer(setup)
    owed = 0
    for number, case in enumerate(PAID["cases"]):
        where, name = ("byoc-onchain/own-client", number), case["case"]
        if "request" not in case or "stream" in case["request"]["path"] or "after its stop" in name:
            tally.leave_out(where, LEFT_OUT)
            continue
        if name == "sse-long of 15 s":
            container.app.step_s = 0.1
        ours, remade = replay_paid(kit, app, payer, case, container)
        explanations, owed = expected_of(case, ours, owed)
        judge_paid(kit, tally, where, case, ours, remade, *explanations)


def expected_of(case, ours, owed):
    """What differs from the recording: charges that the reference leaves out, and their sum."""
    name = case["case"]
    if case.get("error"):
        return [(NO_BALANCE, CUT)], owed
    if name == "sse of 0.4 s":
        text = case["response"]["body"]["text"].replace("6949500000000001", "6939400000000001")
        return [({"text": text + "\n"}, "a stream is charged to its last second")], SECOND
    if name == "slow container, 6 s":
        balance = str(6878800000000001 - owed)
        return [
            ({"headers.livepeer-balance": balance}, "a stream is charged to its last second")
        ], owed
    if name == "sse-long of 15 s":
        # It took 3 s here, charged as 4.
        text = case["response"]["body"]["text"].replace("5384000000000001", "6495000000000001")
        return [({"text": text + "\n"}, "a stream is charged to its last second")], owed
    if name == "token again":
        return [({"token.available_capacity": 4}, "a job that was refused holds no slot")], owed
    return [], owed
