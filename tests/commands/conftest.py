"""A desk with a chain of its own: a configuration, and the commands that an operator types."""

import contextlib
import json
import os
import pty
import socket
import subprocess
import sys
import threading

import pytest
from click.testing import CliRunner
from podium.chain.contracts import BondingManager
from podium.chain.keystore import Keystore
from podium.cli import cli
from podium.crypto import checksum_address
from podium.devnet import DevnetOptions, attach_devnet, start_devnet

LPT = 10**18
PASSWORD = "correct horse"
URI = "https://orchestrator.example:8935"
COMMAND_TIMEOUT_S = 60
ROUND_LENGTH = 300
BLOCK_S = 0.3

CONFIG = """\
version = 1
[node]
data_dir = "{folder}/data"
service_uri = "{uri}"
admin_listen = "127.0.0.1:{admin}"
[account]
{account}
[chain]
network = "{network}"
rpc_urls = ["{rpc_url}"]
controller = "{controller}"
poll_interval_s = 0.1
"""


class Miner(threading.Thread):
    """Makes three blocks a second, unless its lock is held: confirmations come fast."""

    def __init__(self, devnet):
        super().__init__(daemon=True)
        self.devnet = attach_devnet(devnet.rpc_url, devnet.addresses)
        self.lock = threading.Lock()
        self.ended = threading.Event()

    def run(self):
        while not self.ended.wait(BLOCK_S):
            with self.lock:
                self.devnet.mine()
        self.devnet.close()


@pytest.fixture(scope="module")
def chain():
    options = DevnetOptions(round_length=ROUND_LENGTH, unbonding_period=1)
    with start_devnet(options) as running:
        running.miner = Miner(running)
        running.miner.start()
        yield running
        running.miner.ended.set()
        running.miner.join(timeout=10)


@pytest.fixture
def devnet(chain):
    accounts = chain.accounts
    with chain.miner.lock:
        snapshot = chain.snapshot()
    yield chain
    with chain.miner.lock:
        chain.drop_pending()
        chain.revert(snapshot)
        chain.set_automine(True)
    chain.accounts = accounts


class Desk:
    """A folder with a configuration, and the commands typed there."""

    secret = PASSWORD
    uri = URI

    def __init__(self, folder, devnet, name="orchestrator"):
        self.folder = folder
        self.devnet = devnet
        self.name = name
        self.address = devnet.account(name).address
        self.environ = os.environ | {"HOME": str(folder / "home"), "COLUMNS": "100"}
        self.environ.pop("PODIUM_CONFIG", None)
        self.password = folder / "password"
        self.password.write_text(PASSWORD + "\n")
        self.configure()

    @staticmethod
    def closed_port():
        """Return a port where nothing listens."""
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            return sock.getsockname()[1]

    def configure(self, account=None, **changes):
        if account is None:
            account = f'private_key = "{self.devnet.account(self.name).key.hex()}"'
        values = {
            "folder": self.folder,
            "uri": URI,
            "admin": self.closed_port(),
            "account": account,
            "network": "devnet",
            "rpc_url": self.devnet.rpc_url,
            "controller": checksum_address(self.devnet.controller),
            **changes,
        }
        (self.folder / "podium.toml").write_text(CONFIG.format(**values))

    def keystore_account(self, keystore, password=True):
        text = f'keystore = "{keystore}"'
        return text + (f'\npassword = {{file = "{self.password}"}}' if password else "")

    def spawn(self, *args, **options):
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **options}
        return subprocess.Popen(
            [sys.executable, "-m", "podium", *args],
            cwd=self.folder,
            env=self.environ,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )

    def run(self, *args, code=0):
        """Run a command as a process; return what it wrote."""
        process = self.spawn(*args)
        try:
            output, _ = process.communicate(timeout=COMMAND_TIMEOUT_S)
        finally:
            process.kill()
        assert process.returncode == code, output
        return output

    def ask(self, *args):
        """Run a command that reads, in this process, and return its JSON."""
        result = self.call(*args, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def call(self, *args):
        """Run a command in this process, which is faster."""
        return CliRunner().invoke(cli, [*args, "-c", str(self.folder / "podium.toml")])

    @contextlib.contextmanager
    def sent(self, *args):
        """Run a command until its transaction waits for a block, while none is made."""
        with self.devnet.miner.lock:
            self.devnet.set_automine(False)
            process = self.spawn(*args)
            try:
                yield process, _until_sent(process)
            finally:
                process.kill()
                process.wait(timeout=10)
                process.stdout.close()
                self.devnet.set_automine(True)
                self.devnet.mine()

    def refused(self, args, code, *texts):
        """Run a command that must say why not, and send nothing."""
        before = self.transactions()
        result = self.call(*args)
        assert result.exit_code == code, result.output
        assert isinstance(result.exception, SystemExit)
        for text in texts:
            assert text in result.output
        assert self.transactions() == before

    def keep_key(self, password):
        """Put the account's key into a keystore; return its folder."""
        folder = self.folder / "keys"
        Keystore(folder, scrypt_n=4096).add(self.devnet.account(self.name).key, password)
        return folder

    # what the chain says

    def stake(self):
        return self.devnet.call("BondingManager", BondingManager.pending_stake, self.address, 0)

    def transactions(self):
        address = checksum_address(self.address)
        return self.devnet.rpc.number("eth_getTransactionCount", address, "latest")

    def fees(self):
        return self.devnet.call("BondingManager", BondingManager.pending_fees, self.address, 0)


@pytest.fixture
def desk(tmp_path, devnet):
    return Desk(tmp_path, devnet)


@pytest.fixture
def registered(desk):
    """The desk of an orchestrator that is active."""
    desk.devnet.register_orchestrator(desk.name, 1000 * LPT, 100_000, 950_000, URI)
    desk.devnet.next_round()
    return desk


def _until_sent(process):
    lines = []
    while not lines or not lines[-1].startswith("waiting for 0x"):
        line = process.stdout.readline()
        assert line, "".join(lines)
        lines.append(line)
    return lines


class Terminal:
    """A command with a terminal, and somebody who answers."""

    def __init__(self, desk, *args):
        self.fd, child = pty.openpty()
        self.process = desk.spawn(*args, stdin=child, stdout=child, start_new_session=True)
        os.close(child)
        self.text = ""

    def read(self):
        try:
            piece = os.read(self.fd, 4096)
        except OSError:
            return False
        self.text += piece.decode(errors="replace")
        return bool(piece)

    def answer(self, prompt, reply):
        start = len(self.text)
        while prompt not in self.text[start:]:
            assert self.read(), self.text
        os.write(self.fd, (reply + "\n").encode())

    def end(self):
        while self.read():
            pass
        return self.process.wait(timeout=30)

    def close(self):
        self.process.kill()
        self.process.wait(timeout=10)
        os.close(self.fd)


@pytest.fixture
def terminal(desk):
    """Run a command of the desk on a terminal of its own."""
    with contextlib.ExitStack() as stack:

        def start(*args):
            return stack.enter_context(contextlib.closing(Terminal(desk, *args)))

        yield start
