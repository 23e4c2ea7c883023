"""The demo's two programs: a ``podium serve`` and a ``podium gateway`` of our own."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, frozen

from podium.demo.errors import DemoError, GatewayEnded

if TYPE_CHECKING:
    from collections.abc import Sequence

READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 40.0
POLL_S = 0.05

NODE_TOML = """\
version = 1

[node]
data_dir = {data_dir}
listen = "127.0.0.1:{port}"
service_uri = "https://127.0.0.1:{port}"
admin_listen = "127.0.0.1:{admin_port}"

[account]
private_key = {{ file = {key_file} }}

[payments]
{payments}
"""

TRANSCODE_TOML = """
[plugins.transcode]
enabled = true
"""


def write_key(path: Path, key: bytes | None = None) -> Path:
    """Write a private key, a new throwaway one if none is given, readable by its owner only."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32) if key is None else key.hex())
    return path


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback interface that nobody uses at the moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@frozen
class NodeConfig:
    """A configuration file that was written, and where its node will be reached.

    Attributes:
        path: The file.
        data_dir: The node's data.
        uri: Where Gateways reach it.
        admin_uri: Its admin port.
    """

    path: Path
    data_dir: Path
    uri: str
    admin_uri: str

    @classmethod
    def write(
        cls, folder: Path, *, payments: str, sections: str = "", plugins: str = TRANSCODE_TOML
    ) -> NodeConfig:
        """Write a node's configuration and its throwaway key, on free ports.

        Args:
            folder: Where.
            payments: Body of ``[payments]``.
            sections: Further sections.
            plugins: The plugins' sections.
        """
        port, admin_port = free_ports(2)
        key = folder / "node.key"
        text = NODE_TOML.format(
            data_dir=json.dumps(str(folder / "node")),
            key_file=json.dumps(str(key if key.exists() else write_key(key))),
            port=port,
            admin_port=admin_port,
            payments=payments.strip(),
        )
        path = folder / "podium.toml"
        path.write_text(text + plugins + sections)
        uris = (f"https://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}")
        return cls(path, folder / "node", *uris)


@define(eq=False)
class NodeProcess:
    """A ``podium serve`` of our own.

    Attributes:
        process: The running program, in a session of its own, as the Gateway: a Ctrl-C on the
            terminal is passed on to the Gateway, and the node is stopped when that is done.
        uri: Where Gateways reach it.
        admin_uri: Its admin port.
        log: Everything it wrote.
    """

    process: subprocess.Popen[bytes]
    uri: str
    admin_uri: str
    log: Path

    @classmethod
    def start(cls, config: NodeConfig, log: Path) -> NodeProcess:
        """Start it with a configuration."""
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "podium", "serve", "--config", str(config.path)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(process, config.uri, config.admin_uri, log)

    def wait_until_ready(self) -> None:
        """Wait for ``/readyz``.

        Raises:
            DemoError: it ended, or was not ready in time; with its last lines.
        """
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError):
                self._get("/readyz")
                return
            time.sleep(POLL_S)
        raise self.failed("the node did not get ready")

    def failed(self, what: str) -> DemoError:
        """Return an error that says what is wrong, with the node's last lines."""
        lines = self.log.read_text(errors="replace").strip().splitlines()[-5:]
        return DemoError(f"{what}:\n" + "\n".join(lines))

    def ledger(self) -> list[dict[str, Any]]:
        """Return the node's books, one entry per sender and session."""
        try:
            entries: list[dict[str, Any]] = json.loads(self._get("/podium/ledger"))["entries"]
        except (OSError, ValueError, KeyError) as error:
            raise DemoError(f"the node did not show its ledger: {error}") from error
        return entries

    def _get(self, path: str) -> bytes:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(self.admin_uri + path, timeout=5) as reply:
                body: bytes = reply.read()
        except urllib.error.HTTPError as error:
            error.close()  # it holds the connection
            raise
        return body

    def stop(self) -> bool:
        """Let it drain and end; kill it when it does not. Returns whether it ended by itself."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_TIMEOUT_S) == 0
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return False


def send_video(
    source: Path, out: Path, uri: str, key_file: Path, flags: Sequence[str]
) -> dict[str, Any]:
    """Run the Gateway; its progress goes to our terminal.

    Raises:
        GatewayEnded: it left no summary.
        DemoError: the same, and it cannot have said why.
    """
    arguments = ["--orch-addr", uri, "--input", str(source), "--out", str(out)]
    arguments += ["--key-file", str(key_file), "--json", *flags]
    return run_gateway(arguments)


def run_gateway(arguments: Sequence[str]) -> dict[str, Any]:
    """Run ``podium gateway`` with these arguments, ``--json`` among them.

    Raises:
        GatewayEnded: it left no summary.
        DemoError: the same, and it cannot have said why.
    """
    gateway = subprocess.Popen(
        [sys.executable, "-m", "podium", "gateway", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        output, _ = gateway.communicate()
    except KeyboardInterrupt:
        gateway.send_signal(signal.SIGINT)
        output, _ = gateway.communicate(timeout=STOP_TIMEOUT_S)
    finally:
        gateway.kill()  # does nothing when it has ended
    try:
        summary: dict[str, Any] = json.loads(output)
    except ValueError as error:
        if gateway.returncode > 0:
            raise GatewayEnded(gateway.returncode) from error
        raise DemoError(f"the Gateway was killed by signal {-gateway.returncode}") from error
    return summary
