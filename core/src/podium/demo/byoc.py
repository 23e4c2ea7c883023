"""``podium demo-byoc``: paid requests to containers behind a node of its own.

The node is an ordinary ``podium serve`` with the BYOC plugin. Two containers of one name register
at it, plain HTTP programs that know nothing of the network; each request is sent by a ``podium
gateway byoc`` of its own. Everything stays on the loopback interface.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podium.demo.books import stored_winners
from podium.demo.byoc_result import OURS, conclude, tables, write_result
from podium.demo.command import told_in_a_sentence
from podium.demo.processes import NodeConfig, NodeProcess, run_gateway, write_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAME = "words"
CONTAINERS = 2
CONTAINER = "podium.demo.byoc_container"
"""The program behind the node; another one takes its place here."""

PRICE_WEI = 2_000_000
"""A second."""

TICKET_EV_WEI = 20_000_000
FACE_VALUE_WEI = 5 * TICKET_EV_WEI
"""One ticket in five wins, so that a short demo shows some."""

START_TIMEOUT_S = 20.0
POLL_S = 0.1

PAYMENTS = f"""
price_per_unit = 1
ticket_ev_wei = {TICKET_EV_WEI}
max_face_value_wei = {FACE_VALUE_WEI}
"""

PLUGIN = """
[plugins.byoc]
enabled = true
secret = {{ file = {secret} }}
"""


@click.command()
@click.option(
    "--text",
    default="bring your own container",
    show_default=True,
    help="What to send to the containers.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-out") / "byoc",
    show_default=True,
)
def demo_byoc(text: str, out: Path) -> None:
    """Send paid requests to containers behind a node of its own, plain and streamed.

    Leaves the answers, the balances and the bills as summary.json, and the node's log. The folder
    must be empty, or hold an earlier result, which is replaced. Exits with 1 when a request failed,
    or node and Gateway disagree by a wei.
    """
    with told_in_a_sentence():
        summary = run_demo_byoc(text, out)
    show(summary, out)
    sys.exit(0 if summary["ok"] else 1)


def run_demo_byoc(text: str, out: Path) -> dict[str, Any]:
    """Run node, containers and Gateway, compare their books, write the result.

    Returns:
        What ``summary.json`` holds; ``ok`` tells whether everything was good.

    Raises:
        DemoError: one of them could not do its part at all.
        GatewayError: the folder cannot be used.
    """
    from podium.testing.gateway.room import check_room, make_room

    check_room(out, OURS)
    with tempfile.TemporaryDirectory(prefix="podium-demo-") as folder:
        work = Path(folder)
        secret = write_key(work / "secret")
        plugins = PLUGIN.format(secret=f'"{secret}"')
        config = NodeConfig.write(work, payments=PAYMENTS, plugins=plugins)
        node = NodeProcess.start(config, work / "node.log")
        made = False
        try:
            with ExitStack() as stack:
                for _ in range(CONTAINERS):
                    stack.enter_context(container(node.uri, secret.read_text()))
                node.wait_until_ready()
                wait_for_capacity(node)
                make_room(out, OURS)
                made = True
                requests = send_all(node.uri, write_key(work / "gateway.key"), text)
                entries = node.ledger()
        finally:
            clean_stop = node.stop()
            if made:
                shutil.copyfile(node.log, out / "node.log")
        winners = stored_winners(config.data_dir)
    summary = conclude(requests, entries, winners=winners, clean_stop=clean_stop)
    write_result(out, summary)
    return summary


@contextmanager
def container(uri: str, secret: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run one container, which registers by itself when the node answers."""
    environ = os.environ | {
        "ORCH_URL": uri,
        "ORCH_SECRET": secret,
        "CAPABILITY_NAME": NAME,
        "CAPABILITY_DESCRIPTION": "Words, large or one by one",
        "CAPABILITY_CAPACITY": "2",
        "CAPABILITY_PRICE_PER_UNIT": str(PRICE_WEI),
    }
    process = subprocess.Popen([sys.executable, "-m", CONTAINER], env=environ)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def wait_for_capacity(node: NodeProcess) -> None:
    """Wait until all containers have registered.

    Raises:
        DemoError: they did not in time.
    """
    from podium.crypto import KeySigner
    from podium.testing.gateway.byoc import ByocGateway
    from podium.testing.gateway.errors import GatewayError

    async def capacity() -> int:
        signer = KeySigner(secrets.token_bytes(32))
        async with ByocGateway(signer=signer, token_timeout_s=2) as asking:
            return (await asking.token(node.uri, NAME)).capacity

    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            if asyncio.run(capacity()) == 2 * CONTAINERS:
                return
        except GatewayError:
            pass
        time.sleep(POLL_S)
    raise node.failed("the containers did not register")


def send_all(uri: str, key: Path, text: str) -> list[dict[str, Any]]:
    """Send some requests, one after the other: answered at once, and streamed."""
    common = ["--orch-addr", uri, "--key-file", str(key), "--json"]

    def send(route: str, said: str) -> dict[str, Any]:
        click.echo(f"{NAME}/{route} ...", err=True)
        arguments = ["byoc", NAME, "--route", route, "--text", json.dumps({"text": said})]
        return {**run_gateway([*arguments, *common]), "route": route, "input": said}

    return [send("shout", text), send("spell", text), send("shout", f"{text}, again")]


def show(summary: Mapping[str, Any], out: Path) -> None:
    """Print the tables, the troubles and where the result is."""
    from rich.console import Console

    console = Console()
    for table in tables(summary):
        console.print(table)
    for line in summary["problems"]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"Look at it: {out / 'summary.json'}", markup=False, soft_wrap=True)
