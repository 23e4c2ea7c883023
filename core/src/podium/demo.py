"""``podium demo``: a node and a Gateway as two processes, a real video, real tickets, one result.

The node is an ordinary ``podium serve`` with a throwaway key; it has no chain, so its tickets can
be won but never redeemed. Everything stays on the loopback interface.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from fractions import Fraction
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import define

from podium.errors import PodiumError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DEFAULT_LADDER = "P240p30fps16x9,P360p30fps16x9,P576p30fps16x9"
READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 40.0
POLL_S = 0.05

WEI_PER_PIXEL = 1200
TICKET_EV_WEI = 8_000_000_000
FACE_VALUE_WEI = 5 * TICKET_EV_WEI
"""One ticket in five wins, so that a short demo shows some."""

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
price_per_unit = {price}
ticket_ev_wei = {ticket_ev}
max_face_value_wei = {face_value}

[plugins.transcode]
enabled = true
"""


class DemoError(PodiumError):
    """The demo could not be run to its end."""

    code = "demo"


class GatewayEnded(DemoError):
    """The Gateway gave no result, and has said why itself; with its exit status."""

    code = "demo_gateway_ended"

    def __init__(self, status: int) -> None:
        super().__init__(f"the Gateway ended with {status}, without a result")
        self.status = status


@click.command()
@click.option(
    "--input",
    "source",
    type=click.Path(exists=True, path_type=Path),
    help="A video file, a folder of segments or a media playlist.  [default: a clip of 16 s]",
)
@click.option("--profiles", default=DEFAULT_LADDER, show_default=True, help="As podium gateway.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-out"),
    show_default=True,
)
@click.option("--parallel", type=click.IntRange(1, 16), default=2, show_default=True)
@click.option("--live", is_flag=True, help="Send at the pace of the video.")
def demo(source: Path | None, profiles: str, out: Path, parallel: int, live: bool) -> None:
    """Transcode a real video through a node of its own, paid with real tickets.

    Leaves master.m3u8, one folder per rendition, index.html and summary.json. The folder must be
    empty, or hold an earlier result, which is replaced. Exits with 1 when a segment failed, a
    check failed, or node and Gateway disagree by a wei.
    """
    flags = ["--profiles", profiles, "--parallel", str(parallel), *(["--live"] if live else [])]
    try:
        with _input(source) as path:
            summary = run_demo(path, out, flags)
    except GatewayEnded as error:
        sys.exit(error.status)
    except PodiumError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"the demo cannot run here: {error}") from error
    except KeyboardInterrupt:
        click.echo("Stopped.", err=True)
        sys.exit(130)
    _show(summary, out)
    sys.exit(0 if summary["ok"] else 1)


@contextlib.contextmanager
def _input(source: Path | None) -> Iterator[Path]:
    """Give the file to send: the operator's, or the clip that comes with Podium."""
    if source is not None:
        yield source
        return
    with as_file(files("podium.assets") / "clip" / "bigbuckbunny.mp4") as clip:
        yield clip


def run_demo(source: Path, out: Path, flags: Sequence[str]) -> dict[str, Any]:
    """Run node and Gateway, compare their books, write the result.

    Returns:
        What ``summary.json`` holds; ``ok`` tells whether everything was good.

    Raises:
        DemoError: one of the two could not do its part at all.
        GatewayError: the input or the folder cannot be used.
    """
    from podium.testing.gateway.media import check_input
    from podium.testing.gateway.room import check_room

    check_room(out)
    check_input(source)
    with tempfile.TemporaryDirectory(prefix="podium-demo-") as folder:
        work = Path(folder)
        node = NodeProcess.start(work, work / "node.log")
        sent = False
        try:
            node.wait_until_ready()
            summary = _send(source, out, node.uri, write_key(work / "gateway.key"), flags)
            sent = True
            entries = node.ledger()
        finally:
            clean_stop = node.stop()
            if sent:
                shutil.copyfile(node.log, out / "node.log")
        winners = stored_winners(work / "node")
    return _conclude(out, summary, entries, winners=winners, clean_stop=clean_stop)


def write_key(path: Path) -> Path:
    """Write a new throwaway private key, readable by its owner only."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    return path


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback interface that nobody uses at the moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


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
    def start(cls, folder: Path, log: Path) -> NodeProcess:
        """Write its configuration and start it."""
        port, admin_port = free_ports(2)
        config = folder / "podium.toml"
        config.write_text(
            NODE_TOML.format(
                data_dir=json.dumps(str(folder / "node")),
                key_file=json.dumps(str(write_key(folder / "node.key"))),
                port=port,
                admin_port=admin_port,
                price=WEI_PER_PIXEL,
                ticket_ev=TICKET_EV_WEI,
                face_value=FACE_VALUE_WEI,
            )
        )
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "podium", "serve", "--config", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(process, f"https://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}", log)

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
        lines = self.log.read_text(errors="replace").strip().splitlines()[-5:]
        raise DemoError("the node did not get ready:\n" + "\n".join(lines))

    def ledger(self) -> list[dict[str, Any]]:
        """Return the node's books, one entry per sender and session."""
        try:
            entries: list[dict[str, Any]] = json.loads(self._get("/podium/ledger"))["entries"]
        except (OSError, ValueError, KeyError) as error:
            raise DemoError(f"the node did not show its ledger: {error}") from error
        return entries

    def _get(self, path: str) -> bytes:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(self.admin_uri + path, timeout=5) as reply:
            body: bytes = reply.read()
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


def _send(
    source: Path, out: Path, uri: str, key_file: Path, flags: Sequence[str]
) -> dict[str, Any]:
    """Run the Gateway; its progress goes to our terminal.

    Raises:
        GatewayEnded: it left no summary.
        DemoError: the same, and it cannot have said why.
    """
    arguments = ["--orch-addr", uri, "--input", str(source), "--out", str(out)]
    arguments += ["--key-file", str(key_file), "--json", *flags]
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


def stored_winners(data_dir: Path) -> int:
    """Count the winning tickets in the stopped node's database."""
    import sqlite3

    path = data_dir / "podium.sqlite3"
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            (count,) = database.execute("SELECT count(*) FROM ticketQueue").fetchone()
    except sqlite3.Error as error:
        raise DemoError(f"the node's database cannot be read: {error}") from error
    return int(count)


def differences(summary: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Compare the Gateway's books with the node's, exactly; one line for each difference.

    Only where a segment was paid for and never answered (a time-out) may the node have billed
    more: it billed work that the Gateway gave up, and cannot know of.
    """
    payments = summary["payments"]
    theirs = {(e["sender"].lower(), e["key"]): e for e in entries}
    found = []
    for account in payments["accounts"]:
        entry = theirs.pop((payments["sender"].lower(), account["session_id"]), None)
        if entry is None:
            if account["tickets"]:
                found.append(f"session {account['session_id']}: the node knows nothing of it")
            continue
        found += [
            f"session {account['session_id']}: {what} {account[what]} at the Gateway, "
            f"{entry[what]} at the node"
            for what in ("credited", "debited", "tickets")
            if Fraction(account[what]) != Fraction(entry[what])
            and not (
                what == "debited"
                and account["unsettled"]
                and Fraction(account[what]) < Fraction(entry[what])
            )
        ]
    found += [f"session {key}: the Gateway knows nothing of it" for _, key in theirs]
    return found


def _conclude(
    out: Path,
    summary: dict[str, Any],
    entries: Sequence[Mapping[str, Any]],
    *,
    winners: int,
    clean_stop: bool,
) -> dict[str, Any]:
    """Add the node's side to the summary, and judge."""
    from podium.testing.gateway.run import write_summary

    unequal = differences(summary, entries)
    won = sum(entry["winners"] for entry in entries)
    segments = summary["segments"]["done"]
    summary["payments"]["tickets_won"] = won
    summary["payments"]["winners_stored"] = winners
    summary["checks"]["ledger_equal"] = not unequal
    problems = [*summary["problems"], *unequal]
    if winners != won:
        problems.append(f"{won} tickets won, {winners} are in the node's database")
    if summary["checks"]["signatures_verified"] != segments:
        problems.append("not every result was signed")
    if not clean_stop:
        problems.append("the node did not stop by itself")
    summary["problems"] = problems
    summary["ok"] = bool(summary["ok"]) and not problems
    write_summary(out, summary)
    return summary


def _show(summary: Mapping[str, Any], out: Path) -> None:
    from rich.console import Console

    from podium.testing.gateway.report import tables, troubles, where

    console = Console()
    for table in tables(summary):
        console.print(table)
    for line in troubles(summary):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(where(summary, out), markup=False, highlight=False, soft_wrap=True)
