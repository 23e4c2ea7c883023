"""``podium demo-chain``: the paid demo on a chain of its own, from activation to withdrawn fees.

A local EVM node runs the protocol's real contracts. Everything an operator does is done by the
commands that an operator types; the node redeems tickets and calls rewards by itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import define, field

from podium.chain.contracts import BondingManager, TicketBroker
from podium.crypto import checksum_address
from podium.demo.books import conclude, stored_winners
from podium.demo.command import given_or_clip, shared_options, told_in_a_sentence
from podium.demo.errors import DemoError
from podium.demo.processes import NodeConfig, NodeProcess, send_video, write_key
from podium.demo.video import show
from podium.devnet import DevnetOptions, start_devnet
from podium.units import format_eth, format_lpt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from podium.devnet import Devnet

TICKET_EV_WEI = 7 * 10**15
WEI_PER_PIXEL = 1_000_000_000
"""A segment of the default ladder costs about eight tickets, and one ticket in five wins."""

MAX_TICKET_EV_WEI = 10**16
MAX_TOTAL_EV_WEI = 10**18
DEPOSIT_WEI = RESERVE_WEI = 5 * 10**18
STAKE_LPT = 3000
PARAMS_LIFE_BLOCKS = 40
REDEEM_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 120.0

PAYMENTS = f"""
price_per_unit = {WEI_PER_PIXEL}
ticket_ev_wei = {TICKET_EV_WEI}
"""

CHAIN_TOML = """
[chain]
network = "devnet"
rpc_urls = ["{rpc_url}"]
controller = "{controller}"
initialize_rounds = true
initialize_max_delay_s = 0
"""


@click.command("demo-chain")
@shared_options
def demo_chain(source: Path | None, profiles: str, out: Path) -> None:
    """Become an orchestrator on a local chain, work for a paying Gateway, and cash in.

    Leaves what podium demo leaves, and chain.json: rounds, rewards, redeemed tickets, fees. Exits
    with 1 when anything was not as it should be.
    """
    with told_in_a_sentence(), given_or_clip(source) as path:
        document = run_demo_chain(path, out, ["--profiles", profiles, "--parallel", "2"])
    show_chain(document, out)
    sys.exit(0 if document["ok"] else 1)


def run_demo_chain(
    source: Path, out: Path, flags: Sequence[str], say: Callable[[str], None] = click.echo
) -> dict[str, Any]:
    """Run all of it.

    Returns:
        What ``chain.json`` holds; ``ok`` tells whether everything was good.

    Raises:
        PodiumError: it could not be done to its end.
    """
    from podium.testing.gateway.media import check_input
    from podium.testing.gateway.room import check_room

    check_room(out)
    check_input(source)
    say("Starting a chain with the protocol's contracts ...")
    options = DevnetOptions(block_time_s=1, progress=say)
    with (
        tempfile.TemporaryDirectory(prefix="podium-demo-") as folder,
        start_devnet(options) as devnet,
    ):
        return _Demo(devnet, Path(folder), out, say).run(source, flags)


@define
class _Demo:
    devnet: Devnet
    work: Path
    out: Path
    say: Callable[[str], None]
    config: NodeConfig = field(init=False)
    problems: list[str] = field(factory=list)

    def run(self, source: Path, flags: Sequence[str]) -> dict[str, Any]:
        devnet = self.devnet
        orchestrator, gateway = devnet.accounts["orchestrator"], devnet.accounts["gateway"]
        write_key(self.work / "node.key", orchestrator.key)
        chain = CHAIN_TOML.format(
            rpc_url=devnet.rpc_url, controller=checksum_address(devnet.controller)
        )
        self.config = NodeConfig.write(self.work, payments=PAYMENTS, sections=chain)
        self.say("Becoming an orchestrator: podium activate")
        cuts = ("--reward-cut", "10%", "--fee-cut", "100%", "--stake", str(STAKE_LPT))
        self.podium("activate", *cuts, "--yes")
        devnet.fund_gateway("gateway", DEPOSIT_WEI, RESERVE_WEI)
        self.say(f"Round {devnet.next_round()}: active")
        summary = self.stream(source, gateway.key, flags)
        document = self.document(summary)
        (self.out / "chain.json").write_text(json.dumps(document, indent=2) + "\n", "utf-8")
        return document

    def stream(self, source: Path, key: bytes, flags: Sequence[str]) -> dict[str, Any]:
        """Serve, be paid, redeem, be rewarded, withdraw."""
        limits = ["--max-ticket-ev", str(MAX_TICKET_EV_WEI), "--max-total-ev"]
        limits.append(str(MAX_TOTAL_EV_WEI))
        node = NodeProcess.start(self.config, self.work / "node.log")
        sent = False
        try:
            node.wait_until_ready()
            self.say("Sending the video, a ticket or more with each segment")
            key_file = write_key(self.work / "gateway.key", key)
            summary = send_video(source, self.out, node.uri, key_file, [*limits, *flags])
            sent = True
            entries = node.ledger()
            self.say(f"Redeeming: {PARAMS_LIFE_BLOCKS} blocks later, when parameters are expired")
            self.devnet.mine(PARAMS_LIFE_BLOCKS)
            self.wait_until_redeemed()
            self.wait_until_rewarded()
            self.say("Withdrawing: podium fees withdraw")
            self.podium("fees", "withdraw", "--yes")
        finally:
            clean_stop = node.stop()
            if sent:
                (self.out / "node.log").write_bytes(node.log.read_bytes())
        winners = stored_winners(self.config.data_dir)
        return conclude(self.out, summary, entries, winners=winners, clean_stop=clean_stop)

    def wait_until_redeemed(self) -> None:
        """Wait until no ticket is open."""

        def done() -> bool:
            return not self.podium("tickets", "list", "--open", "--json").strip()

        self.wait(done, "not every winning ticket was redeemed")

    def wait_until_rewarded(self) -> None:
        """Wait for the current round's reward."""

        def done() -> bool:
            orchestrator = self.devnet.accounts["orchestrator"].address
            last, *_ = self.devnet.call(
                "BondingManager", BondingManager.get_transcoder, orchestrator
            )
            return bool(last == self.devnet.current_round)

        self.wait(done, "the round has no reward")

    def wait(self, done: Callable[[], bool], problem: str) -> None:
        """Wait for something, with a limit."""
        deadline = time.monotonic() + REDEEM_TIMEOUT_S
        while not done():
            if time.monotonic() > deadline:
                self.problems.append(f"{problem} within {REDEEM_TIMEOUT_S:.0f} s")
                return
            time.sleep(0.5)

    def podium(self, *words: str) -> str:
        """Run a command as an operator does.

        Raises:
            DemoError: it failed; with what it said.
        """
        command = [sys.executable, "-m", "podium", *words, "--config", str(self.config.path)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
        if done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise DemoError(f"podium {' '.join(words)} failed:\n{said}")
        return done.stdout

    def document(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Read from the chain what happened, and judge."""
        devnet, orchestrator = self.devnet, self.devnet.accounts["orchestrator"].address
        redeemed = devnet.events("TicketBroker", TicketBroker.ticket_redeemed)
        transfers = devnet.events("TicketBroker", TicketBroker.ticket_transfer)
        rewards = devnet.events("BondingManager", BondingManager.reward)
        withdrawn = devnet.events("BondingManager", BondingManager.fees_withdrawn)
        sent = [json.loads(line) for line in self.podium("tickets", "list", "--json").splitlines()]
        paid = sum(each["amount"] for each in transfers)
        cashed = sum(each["amount"] for each in withdrawn)
        left = devnet.call("BondingManager", BondingManager.pending_fees, orchestrator, 0)
        won = summary["payments"]["tickets_won"]
        checks = {
            "every winner redeemed once": len(redeemed) == won == len(sent),
            "node and chain agree to the wei": sum(int(t["paid_wei"] or 0) for t in sent) == paid,
            "all fees withdrawn": won > 0 and cashed + left == paid and left == 0,
            "rewards called": bool(rewards),
            "the video": bool(summary["ok"]),
        }
        self.problems += [f"not so: {text}" for text, good in checks.items() if not good]
        return {
            "podium": version("podium"),
            "chain_id": devnet.chain_id,
            "contracts": {n: checksum_address(a) for n, a in devnet.addresses.items()},
            "orchestrator": checksum_address(orchestrator),
            "rounds": {"last": devnet.current_round, "rewards": [plain(each) for each in rewards]},
            "tickets": {
                "sent": summary["payments"]["tickets_sent"],
                "won": won,
                "redeemed": [plain(each) for each in redeemed],
                "paid_wei": str(paid),
            },
            "fees": {"withdrawn_wei": str(cashed), "left_wei": str(left)},
            "checks": checks,
            "problems": [*summary["problems"], *self.problems],
            "ok": not self.problems and bool(summary["ok"]),
            "summary": summary,
        }


def plain(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event as JSON can hold it: bytes as hex, large numbers as text."""
    return {
        name: "0x" + value.hex()
        if isinstance(value, bytes)
        else str(value)
        if isinstance(value, int) and value > 2**53
        else value
        for name, value in event.items()
    }


def show_chain(document: dict[str, Any], out: Path) -> None:
    """Print the stream's table, and the chain's."""
    from rich.console import Console
    from rich.table import Table

    show(document["summary"], out)
    tickets, fees = document["tickets"], document["fees"]
    table = Table(title="On chain", show_header=False)
    rewards = document["rounds"]["rewards"]
    minted = sum(int(each["amount"]) for each in rewards)
    for name, text in (
        ("Tickets sent / won / redeemed",
         f"{tickets['sent']} / {tickets['won']} / {len(tickets['redeemed'])}"),
        ("Paid by redeemed tickets", format_eth(int(tickets['paid_wei']))),
        ("Fees withdrawn", format_eth(int(fees['withdrawn_wei']))),
        ("Rewards called", f"{len(rewards)}, {format_lpt(minted)}"),
        ("Round", str(document["rounds"]["last"])),
    ):  # fmt: skip
        table.add_row(name, text)
    console = Console()
    console.print(table)
    for text, good in document["checks"].items():
        console.print(f"  [green]ok[/]   {text}" if good else f"  [red]FAIL[/] {text}")
    console.print(f"All of it: {out / 'chain.json'}", markup=False, highlight=False)
