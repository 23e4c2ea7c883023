"""A node process on the devnet, gateways that pay it, and what the chain says came of it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from fractions import Fraction
from itertools import count
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from podium.bench.load import Connection, LoadError, Request
from podium.bench.paid import discover
from podium.chain.blocks import log_of
from podium.chain.contracts import BondingManager, RoundsManager, TicketBroker
from podium.cli import cli
from podium.crypto import KeySigner, checksum_address, keccak256
from podium.devnet import ETHER, DevnetOptions, start_devnet
from podium.payments.params import RandSource, Terms
from podium.payments.redeem.receipts import redemptions
from podium.testing.gateway.requests import build_payment, build_segdata, build_segment_request
from podium.testing.gateway.tickets import TicketTerms, integer, word
from podium.wire.payment import ExpirationParams
from podium.wire.pb import lp_rpc_pb2 as net

ROUND_LENGTH = 200
START_TIMEOUT_S = 60
FACE_WEI = ETHER // 100
GATEWAYS = ("gateway", "gateway2", "gateway3")
PURPOSES = {
    TicketBroker.redeem.selector: "redeem",
    TicketBroker.batch_redeem.selector: "redeem",
    BondingManager.reward_with_hint.selector: "reward",
    RoundsManager.initialize.selector: "initialize",
    b"": "gap",
}


def until(condition, timeout_s=30, what=""):
    """Wait for something that has no event; returns what the condition returned."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what or condition}"
        time.sleep(0.05)
    return found


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


# ---------------------------------------------------------------- a node


def toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


class NodeProcess:
    """``podium serve`` on the devnet, with a data folder that outlives its processes."""

    def __init__(self, folder, devnet, urls=None, name="orchestrator", **sections):
        self.folder, self.devnet = folder, devnet
        self.port, self.admin_port = free_port(), free_port()
        self.data = folder / "data"
        self.config = folder / "podium.toml"
        self.log_path = folder / "log"
        self.child = None
        folder.mkdir(parents=True, exist_ok=True)
        self.document = {
            "node": {
                "data_dir": str(self.data),
                "listen": f"127.0.0.1:{self.port}",
                "admin_listen": f"127.0.0.1:{self.admin_port}",
                "log_format": "json",
                "log_level": "debug",
                "startup_check": False,
                **sections.pop("node", {}),
            },
            "account": sections.pop("account", None)
            or {"private_key": devnet.account(name).key.hex()},
            "chain": {
                "network": "devnet",
                "rpc_urls": list(urls or [devnet.rpc_url]),
                "controller": checksum_address(devnet.controller),
                "poll_interval_s": 0.2,
                **sections.pop("chain", {}),
            },
            "payments": {
                "price_per_unit": 1,
                "ticket_ev_wei": FACE_WEI,  # each ticket wins
                "max_face_value_wei": FACE_WEI,
                **sections.pop("payments", {}),
            },
            **sections,
        }

    def write(self):
        lines = ["version = 1"]
        for section, values in self.document.items():
            lines += [f"[{section}]", *(f"{key} = {toml(item)}" for key, item in values.items())]
        self.config.write_text("\n".join(lines) + "\n")

    def spawn(self):
        """Start a process, and do not wait for it."""
        self.write()
        environ = {**os.environ, "HOME": str(self.folder)}
        environ.pop("PODIUM_CONFIG", None)
        with self.log_path.open("ab") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "podium", "serve", "-c", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                start_new_session=True,
            )
        return self.child

    def start(self):
        """Start a process, and wait until it serves."""
        self.spawn()
        until(self.is_up, START_TIMEOUT_S, "the node's start")
        return self

    def is_up(self):
        assert self.child.poll() is None, f"the node ended:\n{self.log[-3000:]}"
        try:
            with urllib.request.urlopen(self.admin + "/healthz", timeout=2) as answer:
                return answer.status == 200
        except urllib.error.HTTPError as error:
            error.close()  # it holds the connection of a node that is starting
        except OSError:
            pass
        return False

    @property
    def admin(self):
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def metrics(self):
        with urllib.request.urlopen(self.admin + "/metrics", timeout=5) as answer:
            return answer.read().decode()

    def kill(self):
        """SIGKILL: nothing gets a chance to be put in order."""
        if self.child is not None and self.child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.child.pid, signal.SIGKILL)
            self.child.wait(10)

    def stop(self):
        """SIGTERM, and what the process says at its end."""
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            self.child.wait(30)
        return self.child.returncode

    def run(self, *arguments):
        """Run a command on its configuration, in this process: that is faster; its output."""
        done = CliRunner(env={"COLUMNS": "250"}).invoke(cli, [*arguments, "-c", str(self.config)])
        assert done.exit_code == 0, done.output
        return done.stdout

    def tickets(self):
        """All tickets, as ``podium tickets list`` tells them."""
        said = self.run("tickets", "list", "--json", "--limit", "100000")
        return [json.loads(line) for line in said.splitlines() if line.startswith("{")]

    @property
    def secret(self):
        return (self.data / "ticket-secret").read_bytes()


# ---------------------------------------------------------------- who pays


class Ticket:
    """A ticket that was sent, and all that decides about it."""

    def __init__(self, sender, info, nonce, signature):
        params = info.ticket_params
        self.sender, self.nonce, self.signature = sender, nonce, signature
        self.terms = TicketTerms.read(params)
        self.seed = integer(params.seed)
        self.price = Fraction(info.price_info.pricePerUnit, info.price_info.pixelsPerUnit)
        self.answers = []

    @property
    def taken(self):
        return 200 in self.answers

    def rand(self, secret):
        """The recipient's randomness, worked out anew from the node's secret."""
        terms = self.terms
        expiration = ExpirationParams(terms.creation_round, terms.creation_round_block_hash)
        rand = RandSource(secret).recipient_rand(
            Terms(
                seed=self.seed,
                sender=self.sender,
                face_value=terms.face_value,
                win_prob=terms.win_prob,
                expiration_block=terms.expiration_block,
                price=self.price,
                expiration=expiration,
            )
        )
        assert keccak256(word(rand)) == terms.recipient_rand_hash
        return rand

    def wins(self, secret):
        draw = integer(keccak256(self.signature + word(self.rand(secret))))
        return draw < self.terms.win_prob

    def identity(self, secret):
        return self.sender, self.nonce, self.rand(secret)


class Payer:
    """A gateway that pays without work: ``POST /payment``, over a connection of its own."""

    def __init__(self, node_port, account):
        self.port, self.account = node_port, account
        self.signer = KeySigner(account.key)
        self.tickets = []
        self.info, self._nonces, self._connection = None, None, None

    def connect(self):
        self.close()
        self._connection = Connection.open("127.0.0.1", self.port)
        return self._connection

    def close(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def discover(self):
        """Ask for a token and ticket parameters."""
        self.info = discover(self._connection or self.connect(), self.signer)
        self._nonces = count(1)
        return self.info

    def make(self, tickets):
        """Sign a payment; what is sent again is sent as it is."""
        info, nonces = self.info, [next(self._nonces) for _ in range(tickets)]
        terms = TicketTerms.read(info.ticket_params)
        payment = build_payment(self.signer, info.price_info, terms, nonces)
        made = [
            Ticket(self.account.address, info, each.sender_nonce, each.sig)
            for each in payment.ticket_sender_params
        ]
        self.tickets += made
        return payment, made

    def post(self, payment):
        """Send a payment once; the answer."""
        segdata = build_segdata(
            self.signer,
            token=self.info.auth_token,
            manifest_id=self.account.name,
            seq=0,
            body=b"",
            duration_ms=2000,
            profiles=[],
        )
        made = build_segment_request(segdata, payment, b"")
        headers = tuple((name.lower(), value) for name, value in made.headers.items())
        answer = (self._connection or self.connect()).request(Request("/payment", headers))
        if answer.status == 200:
            self.info.auth_token.CopyFrom(net.PaymentResult.FromString(answer.body).info.auth_token)
        return answer

    def pay(self, tickets=1, timeout_s=60):
        """Pay until there is an answer: without one the same payment is sent again."""
        deadline = time.monotonic() + timeout_s
        payment, made = None, []
        while True:
            try:
                if self.info is None or payment is None:
                    self.discover()
                    payment, made = self.make(tickets)
                answer = self.post(payment)
                break
            except (OSError, LoadError):
                assert time.monotonic() < deadline, "the node does not come back"
                self.close()
                time.sleep(0.1)
                with contextlib.suppress(OSError, LoadError):  # the old token is worth nothing now
                    fresh = discover(self.connect(), self.signer)
                    if self.info is not None:
                        self.info.auth_token.CopyFrom(fresh.auth_token)
        for ticket in made:
            ticket.answers.append(answer.status)
        if answer.status != 200:
            self.info = None  # new parameters next time
        return SimpleNamespace(status=answer.status, text=answer.body.decode("latin-1"), made=made)


# ---------------------------------------------------------------- what the chain says


class Books:
    """What happened on the chain since a block."""

    def __init__(self, devnet, account="orchestrator"):
        self.devnet, self.account = devnet, devnet.account(account)
        self.since = devnet.block_number + 1
        self.first_nonce = self.count()

    def count(self):
        """The account's transactions that were mined."""
        return self.devnet.rpc.number("eth_getTransactionCount", self.account.text, "latest")

    def logs(self, contract, *events):
        if self.devnet.block_number < self.since:
            return []  # no block was made yet
        query = {
            "address": checksum_address(self.devnet.addresses[contract]),
            "fromBlock": hex(self.since),
            "toBlock": "latest",
            "topics": [["0x" + event.topic.hex() for event in events]],
        }
        return [log_of(log) for log in self.devnet.rpc.call("eth_getLogs", query)]

    def redeemed(self):
        """Each redemption: identity, and what it brought."""
        broker = self.devnet.addresses["TicketBroker"]
        events = TicketBroker.ticket_transfer, TicketBroker.ticket_redeemed
        return list(redemptions(self.logs("TicketBroker", *events), broker))

    def rewards(self):
        """The rounds in which a reward was called, one for each call."""
        logs = self.logs("BondingManager", BondingManager.reward)
        return [self.round_at(log.block_number) for log in logs]

    def round_at(self, block):
        start = self.devnet.call("RoundsManager", RoundsManager.start_block)
        current = self.devnet.current_round
        length = self.devnet.call("RoundsManager", RoundsManager.round_length)
        return current + (block - start) // length

    def initialized(self):
        """The rounds that were initialized, one for each time."""
        logs = self.logs("RoundsManager", RoundsManager.new_round)
        return [RoundsManager.new_round.decode(log)["round"] for log in logs]

    def too_early(self, block):
        """Whether a block's round was not initialized before it."""
        logs = self.logs("RoundsManager", RoundsManager.new_round)
        began = {RoundsManager.new_round.decode(log)["round"]: log.block_number for log in logs}
        initialized = began.get(self.round_at(block))
        return initialized is not None and block <= initialized

    def transactions(self):
        """The account's transactions: purpose, nonce, whether it succeeded, its call data."""
        found = []
        for number in range(self.since, self.devnet.block_number + 1):
            block = self.devnet.rpc.call("eth_getBlockByNumber", hex(number), True)
            found += [tx for tx in block["transactions"] if tx["from"] == self.account.text.lower()]
        return [self._transaction(tx) for tx in found]

    def _transaction(self, tx):
        receipt = self.devnet.rpc.call("eth_getTransactionReceipt", tx["hash"])
        data = bytes.fromhex(tx["input"][2:])
        return SimpleNamespace(
            purpose=PURPOSES[data[:4]],
            nonce=int(tx["nonce"], 16),
            block=int(receipt["blockNumber"], 16),
            ok=int(receipt["status"], 16) == 1,
            hash=bytes.fromhex(tx["hash"][2:]),
            data=data,
        )

    def assert_nothing_twice(self, *, may_fail=False):
        """Each of the account's transactions did something that no other had done.

        Those that only fill a gap in the nonces are counted as such. What was sent in one round
        and mined in the next before that was initialized fails, and nobody can help it.
        """
        found = self.transactions()
        assert [tx.nonce for tx in found] == list(range(self.first_nonce, self.count()))
        assert may_fail or [tx for tx in found if not tx.ok and not self.too_early(tx.block)] == []
        found = [tx for tx in found if tx.ok]
        counts = Counter(tx.purpose for tx in found)
        redeemed = self.redeemed()
        assert len({identity for identity, _ in redeemed}) == len(redeemed)
        did = {tx.hash for tx in found if tx.purpose == "redeem"}
        assert did == {redemption.tx_hash for _, redemption in redeemed}
        assert len(self.rewards()) == len(set(self.rewards()))
        assert counts["reward"] == len(set(self.rewards()))
        assert counts["initialize"] <= len(set(self.initialized()))
        return counts


@pytest.fixture(scope="session")
def chain_base():
    """A chain with an active orchestrator and three funded gateways, in a fresh round."""
    options = DevnetOptions(round_length=ROUND_LENGTH, inflation=0)
    with start_devnet(options) as devnet:
        devnet.register_orchestrator("orchestrator", service_uri="https://127.0.0.1:8935")
        for name in GATEWAYS:
            devnet.fund_gateway(name, ETHER, ETHER)
        devnet.next_round()
        yield devnet


@pytest.fixture
def devnet(chain_base):
    """That chain, with a block each second; all that a test does to it is undone."""
    accounts = dict(chain_base.accounts)
    snapshot = chain_base.snapshot()
    chain_base.mine()
    chain_base.set_interval(1)
    yield chain_base
    chain_base.resume_process()
    chain_base.set_automine(True)
    chain_base.drop_pending()
    chain_base.revert(snapshot)
    chain_base.accounts = accounts


@pytest.fixture
def lab(devnet, tmp_path):
    """Makes nodes and payers, and ends them all."""
    with contextlib.ExitStack() as stack:

        def node(urls=None, folder="node", **sections):
            made = NodeProcess(tmp_path / folder, devnet, urls, **sections)
            stack.callback(made.kill)
            return made

        def payer(made_node, account="gateway"):
            made = Payer(made_node.port, devnet.account(account))
            stack.callback(made.close)
            return made

        yield SimpleNamespace(
            devnet=devnet,
            node=node,
            payer=payer,
            books=lambda account="orchestrator": Books(devnet, account),
            until=until,
            gateways=GATEWAYS,
            face_wei=FACE_WEI,
            round_length=ROUND_LENGTH,
        )
