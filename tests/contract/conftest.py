"""Replays recorded exchanges against a real node on loopback, and keeps the tally.

A replay sends what was recorded and compares what comes back field by field. Three things in an
answer are each node's own and are proved instead of compared: a result's signature (recovered
over the renditions that our node serves), a new session's token (its HMAC), and times of day.
Everything else that differs needs an entry in a test's table of explanations, which holds our
exact answer; an entry that is no longer needed fails too.
"""

from __future__ import annotations

import contextlib
import hmac
import http.client
import json
import socket
import ssl
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import h2.config
import h2.connection
import h2.events
import pytest
from attrs import define, field, frozen
from podium.app import Overrides
from podium.crypto import keccak256, recover
from podium.payments import RandSource, SenderFunds
from podium.testing.chain import FakeChain, reference_packing
from podium.testing.node import PodiumApp, node_document

DATA = Path(__file__).parent / "data"
MEDIA = Path(__file__).parents[2] / "plugins/builtin_transcode/tests/data"
GENESIS_S = 1_795_423_893
"""Unix time of the recorded chain's block 0; it has a block a second."""
MAX_LAG_BLOCKS = 4
VALIDITY_BLOCKS = 40
TOKEN_LIFE_S = 1800
TIMEOUT_S = 30.0
TRANSCODER = {"transcode": {"enabled": True, "devices": ["cpu"], "preset": "ultrafast"}}
"""The real one; a fast preset gives the same frames, so the same pixel counts, sooner."""

CAPABILITIES = {
    "bitstring[0]": 133554175,
    **{f"capacities.{number}": 1 for number in (15, 16, 18, 20)},
    **{f"capacities.{number}": None for number in (17, *range(27, 33), 34, 36)},
}
"""Ours where a reply's capabilities differ; see WHY_CAPABILITIES."""
MIME = (
    {"headers.content-type": "video/mp2t"},
    "MPEG-TS is served as video/mp2t, not as what a desktop's MIME table makes of .ts",
)
WHY_CAPABILITIES = (
    "capabilities: HEVC and VP9 are done, VP8 fits no container, AI bits without models are"
    " not copied"
)


# ---------------------------------------------------------------- the recordings


def load(name):
    """A recording, by its path under ``data``."""
    return json.loads((DATA / name).read_text())


@pytest.fixture(scope="session")
def media():
    """The source segments by the SHA-256 that recordings name them with."""
    names = {
        "4efc35156e4548c7c94f947adbfcb77758766034f8b989caa4b97e4e18d80cc6": "seg000.ts",
        "fe83e6f5649546106ba9330a0d944fca307348eb0568ed9ff5f9ebddd1e87579": "seg001.ts",
    }
    return {sha256: (MEDIA / name).read_bytes() for sha256, name in names.items()}


# ---------------------------------------------------------------- clients


@frozen
class Answer:
    """What came back; ``status`` is None when the connection was cut first."""

    status: int | None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)
    trailers: tuple[tuple[str, str], ...] = ()
    alpn: str | None = None

    @property
    def text(self):
        return self.body.decode(errors="replace")

    def header(self, name):
        return dict((key.lower(), value) for key, value in self.headers).get(name)


def tls_context(*alpn):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def over_h1(port, method, path, headers=(), body=b""):
    """One request over HTTP/1.1, without ALPN and SNI, as the recording clients made theirs."""
    connection = http.client.HTTPSConnection(
        "127.0.0.1", port, context=tls_context(), timeout=TIMEOUT_S
    )
    has_host = any(name == "Host" for name, _ in headers)
    connection.putrequest(method, path, skip_host=has_host, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value)
    if method != "GET" or body:
        connection.putheader("Content-Length", str(len(body)))
    try:
        connection.endheaders()
        alpn = connection.sock.selected_alpn_protocol()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.send(body)  # if refused before all of it is sent, the answer can be read
        response = connection.getresponse()
        return Answer(response.status, tuple(response.getheaders()), response.read(), (), alpn)
    except (http.client.IncompleteRead, http.client.RemoteDisconnected):
        return Answer(None)
    finally:
        connection.close()


class OverH2:
    """A connection that speaks HTTP/2, one request at a time."""

    def __init__(self, port, *alpn):
        raw = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self.socket = tls_context(*(alpn or ("h2", "http/1.1"))).wrap_socket(raw)
        self.alpn = self.socket.selected_alpn_protocol()
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.connection = h2.connection.H2Connection(config)
        self.connection.initiate_connection()
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()

    def flush(self):
        self.socket.sendall(self.connection.data_to_send())

    def request(self, method, path, headers=(), body=b""):
        """Send one request and read the answer to its end, trailers included."""
        stream = self.connection.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "https"), (":authority", "127.0.0.1")]
        head += [(":path", path), *headers]
        self.connection.send_headers(stream, head, end_stream=not body)
        answer = _Incoming(self.connection, stream)
        rest = memoryview(body)
        while not answer.ended:
            while rest and (size := self._window(stream, rest)):
                self.connection.send_data(stream, rest[:size], end_stream=size == len(rest))
                rest = rest[size:]
            self.flush()
            data = self.socket.recv(1 << 16)
            if not data:
                return Answer(None, alpn=self.alpn)
            answer.take(self.connection.receive_data(data))
        self.flush()
        return Answer(
            answer.status, tuple(answer.headers), bytes(answer.body), tuple(answer.trailers),
            self.alpn,
        )  # fmt: skip

    def _window(self, stream, rest):
        window = self.connection.local_flow_control_window(stream)
        return min(window, self.connection.max_outbound_frame_size, len(rest))


class _Incoming:
    """The answer on one stream, as it grows."""

    def __init__(self, connection, stream):
        self.connection, self.stream = connection, stream
        self.status, self.headers, self.trailers = None, [], []
        self.body, self.ended = bytearray(), False

    def take(self, events):
        for event in events:
            if getattr(event, "stream_id", None) != self.stream:
                continue
            if isinstance(event, h2.events.ResponseReceived):
                self.status = int(dict(event.headers)[":status"])
                self.headers = [pair for pair in event.headers if not pair[0].startswith(":")]
            elif isinstance(event, h2.events.DataReceived):
                self.body += event.data
                self.connection.acknowledge_received_data(event.flow_controlled_length, self.stream)
            elif isinstance(event, h2.events.TrailersReceived):
                self.trailers = list(event.headers)
            elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
                self.ended = True


# ---------------------------------------------------------------- the node


@define
class Time:
    """Unix seconds that stand still between requests."""

    now: float

    def __call__(self):
        return self.now


@define(eq=False)
class RecordedNode:
    """Our node in the place of a recorded one: its secrets, its chain, its time."""

    app: PodiumApp
    chain: FakeChain
    time: Time
    secrets: dict

    @property
    def port(self):
        return self.app.node.public.port

    def moment(self, unix_s, params=None):
        """Set clock and chain to a recorded moment.

        The node was one to three blocks behind; exactly how many, and which seed it drew, the
        recorded reply's ticket parameters tell.
        """
        self.time.now = unix_s
        if params is None:
            self.chain.l1_block = max(self.chain.l1_block, int(unix_s) - GENESIS_S - 2)
            return
        block = int(params["expiration_block"], 16) - VALIDITY_BLOCKS
        assert 0 <= unix_s - GENESIS_S - block <= MAX_LAG_BLOCKS
        self.chain.l1_block = block
        expiration = params["expiration_params"]
        round_number = self.chain.current_round = expiration["creation_round"]
        block_hash = bytes.fromhex(expiration["creation_round_block_hash"])
        self.chain.round_hashes[round_number] = block_hash
        seed = int(params["seed"], 16)
        self.app.node.payments.issuer.new_seed = lambda: seed

    def balance(self, sender, key):
        return self.app.call(self.app.node.payments.balance, sender, key)


def onchain_settings(folder, setup, uri):
    return node_document(
        folder,
        {
            "node": {"service_uri": uri, "max_sessions": 1000},
            "account": {"private_key": setup["accounts"]["orchestrator"]["private_key"]},
            "payments": {
                "price_per_unit": 1_000_000_003,
                "pixels_per_unit": 2,
                "ticket_ev_wei": setup["ticket_ev"],
            },
            "plugins": TRANSCODER,
        },
    )


@pytest.fixture(scope="session")
def setup():
    """Keys, secrets and flags of the recording on chain."""
    return load("onchain-video/setup.json")


@pytest.fixture(scope="session")
def funds_of():
    """Deposit and reserve in ether; a second active orchestrator halves the reserve."""

    def of(deposit, reserve):
        ether = 10**18
        return SenderFunds(int(deposit * ether), int(reserve * ether), pool_size=2)

    return of


@pytest.fixture(scope="session")
def funds(setup, funds_of):
    """Funds by sender, as ``roles`` of the setup tells."""
    of = funds_of
    accounts = setup["accounts"]
    address = {name: bytes.fromhex(a["address"][2:]) for name, a in accounts.items()}
    return {
        address["gateway"]: of(4, 5),
        address["sender2"]: of(2, 2),
        address["nofunds"]: of(0, 0),
    }


@pytest.fixture(scope="session")
def start_onchain(tmp_path_factory, setup, funds):
    """Start a node like a recorded process: ``start_onchain("orch1", unix_s)``."""
    started = []

    def start(process, unix_s, uri="https://127.0.0.1:22936"):
        known = setup["orchestrator_secrets"].get(process, {})
        secrets = {
            name: bytes.fromhex(known.get(name, f"{index:02x}" * 32))
            for index, name in enumerate(("ticket_secret", "auth_token_secret"), 1)
        }
        chain = FakeChain(wei=setup["gas_price_seen"], l1_block=0, current_round=0)
        chain.funds = dict(funds)
        time = Time(unix_s)
        overrides = Overrides(
            clock=chain,
            broker=chain,
            gas_price=chain,
            redeem_gas=setup["redeem_gas_constant"],
            rand=RandSource(secrets["ticket_secret"], reference_packing),
            token_secret=secrets["auth_token_secret"],
            now=time,
        )
        settings = onchain_settings(tmp_path_factory.mktemp(process), setup, uri)
        app = PodiumApp.start(settings, overrides)
        started.append(app)
        return RecordedNode(app, chain, time, secrets)

    yield start
    for app in started:
        app.stop()


@pytest.fixture(scope="session")
def start_offchain(tmp_path_factory):
    """Start a node without an account: ``start_offchain(uri, unix_s)``."""
    started = []

    def start(uri, unix_s):
        secrets = {"auth_token_secret": b"\x03" * 32}
        time = Time(unix_s)
        overrides = Overrides(token_secret=secrets["auth_token_secret"], now=time)
        sections = {"node": {"service_uri": uri}, "plugins": TRANSCODER}
        settings = node_document(tmp_path_factory.mktemp("offchain"), sections)
        del settings["account"]
        app = PodiumApp.start(settings, overrides)
        started.append(app)
        return RecordedNode(app, None, time, secrets)

    yield start
    for app in started:
        app.stop()


# ---------------------------------------------------------------- comparing


def named(headers, length):
    """Headers by lower-case name: that there is a date, that the length is right.

    Whether a connection goes on is each server's own.
    """
    found = {name.lower(): value for name, value in headers}
    found.pop("connection", None)
    if "date" in found:
        found["date"] = "a date"
    if "content-length" in found:
        found["content-length"] = "right" if int(found["content-length"]) == length else "wrong"
    return found


def plain(message):
    """A protobuf message as the recordings write it: bytes as hex, map keys as text."""
    if hasattr(message, "ListFields"):
        return {
            descriptor.name: value.decode()
            if descriptor.name in ("manifestId", "profiles")
            else plain(value)
            for descriptor, value in message.ListFields()
        }
    if isinstance(message, bytes):
        return message.hex()
    if isinstance(message, int | str):
        return message
    if hasattr(message, "items"):
        return {str(key): plain(value) for key, value in message.items()}
    return [plain(value) for value in message]


def differences(recorded, ours, path=""):
    """Ours, by path, wherever it differs; a missing value is None."""
    if isinstance(recorded, dict) and isinstance(ours, dict):
        found = {}
        for key in sorted(recorded.keys() | ours.keys()):
            found |= differences(recorded.get(key), ours.get(key), f"{path}.{key}".lstrip("."))
        return found
    if isinstance(recorded, list) and isinstance(ours, list) and len(recorded) == len(ours):
        found = {}
        for index, (theirs, mine) in enumerate(zip(recorded, ours, strict=True)):
            found |= differences(theirs, mine, f"{path}[{index}]")
        return found
    return {} if recorded == ours else {path: ours}


def proved(node, message, renditions, recorded):
    """A result's message with its signature replaced by the recorded one if ours is good.

    The signature covers our own renditions, so it cannot be the recorded one: it has to recover
    to the orchestrator over what our node serves.
    """
    if "data" in message:
        digest = keccak256(b"".join(keccak256(data) for data in renditions))
        signer = recover(digest, bytes.fromhex(message["data"].get("sig", "")))
        if signer == node.app.node.service.signer.address:
            message["data"]["sig"] = recorded.get("data", {}).get("sig")
    return message


def own_token(node, message):
    """Take a new session's token out of a reply if our node's secret made it, 30 min ahead.

    Returns:
        The token, None when it is not one of ours.
    """
    token = message.get("auth_token", {})
    if token.get("expiration") != int(node.time.now) + TOKEN_LIFE_S:
        return None
    tail = token["expiration"].to_bytes(4, "big")
    text = token["session_id"].encode() + tail
    expected = hmac.digest(node.secrets["auth_token_secret"], text, "sha256")
    assert len(bytes.fromhex(token["session_id"])) == 4
    return message.pop("auth_token") if bytes.fromhex(token["token"]) == expected else None


def framed(message):
    """A message as gRPC sends it, behind five bytes."""
    data = message.SerializeToString()
    return b"\0" + len(data).to_bytes(4, "big") + data


def unframed(kind, body):
    """The one message of a gRPC body; None when there is none."""
    if not body:
        return None
    assert body[0] == 0
    assert int.from_bytes(body[1:5], "big") == len(body) - 5
    return kind.FromString(body[5:])


def download(node, url):
    """A rendition, fetched as gateways do: HTTP/1.1, no ALPN."""
    path = url.removeprefix(node.app.uri)
    answer = over_h1(node.port, "GET", path)
    assert answer.status == 200, f"{url}: {answer}"
    return answer.body


def capabilities_at(path):
    """The explanation of the capabilities in a message."""
    return {f"{path}.{name}": value for name, value in CAPABILITIES.items()}, WHY_CAPABILITIES


@pytest.fixture(scope="session")
def kit():
    """The functions of this file, for tests."""
    return SimpleNamespace(
        load=load,
        over_h1=over_h1,
        OverH2=OverH2,
        plain=plain,
        differences=differences,
        named=named,
        proved=proved,
        own_token=own_token,
        framed=framed,
        unframed=unframed,
        download=download,
        Tally=lambda: Tally(),
        capabilities_at=capabilities_at,
        mime=MIME,
    )


# ---------------------------------------------------------------- the tally


@define
class Tally:
    """How many requests were replayed, and how their answers compare."""

    replayed: int = 0
    equal: int = 0
    standing: int = 0
    differing: int = 0
    groups: dict = field(factory=lambda: defaultdict(list))

    def judge(self, where, found, *explanations, standing=(), remade=None):
        """Count one answer; fail on a difference without explanation, and the other way round.

        Args:
            where: Recording and number.
            found: Our values where they differ.
            explanations: What is meant to differ here: ours by path, and why.
            standing: What differs in every answer of its kind.
            remade: Why the request could not be sent byte for byte; None: it was.
        """
        self.replayed += 1
        meant = {}
        for title, pairs in (("differs", explanations), ("differs in all", standing)):
            for ours, because in pairs:
                gone = ours.keys() - found.keys()
                assert not gone, f"{where}: does not differ as explained ({because}): {gone}"
                meant |= ours
                self.groups[title, because].append(where)
        unexplained = {path: value for path, value in found.items() if path not in meant}
        assert not unexplained, f"{where}: differs without explanation: {unexplained}"
        assert found == meant, f"{where}: differs otherwise than explained"
        self.equal += not found
        self.differing += bool(explanations)
        self.standing += bool(standing and not explanations)
        if remade:
            self.groups["request re-made", remade].append(where)

    def leave_out(self, where, because):
        """Note a recorded exchange that cannot be replayed."""
        self.groups["not replayed", because].append(where)

    def lines(self):
        yield (
            f"contract: {self.replayed} requests replayed, {self.equal} answers equal,"
            f" {self.standing} equal but for a standing difference, {self.differing} differ;"
            " each difference is explained"
        )
        for (title, because), where in sorted(self.groups.items()):
            yield f"  {title}: {because}: {len(where)}: {_ranges(where)}"


def _ranges(where):
    """``a 1-3, 5; b 2`` for the numbers of each recording."""
    by_file = defaultdict(list)
    for name, number in where:
        by_file[name].append(number)
    texts = []
    for name, numbers in by_file.items():
        spans = []
        for number in sorted(numbers):
            if spans and spans[-1][1] == number - 1:
                spans[-1][1] = number
            else:
                spans.append([number, number])
        shown = ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in spans)
        texts.append(f"{name} {shown}")
    return "; ".join(texts)


TALLY = pytest.StashKey[Tally]()


def pytest_configure(config):
    config.stash[TALLY] = Tally()


def pytest_terminal_summary(terminalreporter, config):
    tally = config.stash[TALLY]
    if tally.replayed:
        for line in tally.lines():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def tally(request):
    return request.config.stash[TALLY]
