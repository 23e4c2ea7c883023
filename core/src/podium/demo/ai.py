"""``podium demo-ai``: three paid AI jobs through a node of its own, and what came back.

The node is an ordinary ``podium serve`` with the AI plugin and our own runner behind it, in
containers where there is an engine, else in processes. Each job is sent by a ``podium gateway ai``
of its own. Everything stays on the loopback interface.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import frozen

from podium.demo import ai_inputs
from podium.demo.ai_executor import Executor, choose
from podium.demo.ai_page import write_page
from podium.demo.ai_result import OURS, conclude, tables
from podium.demo.books import stored_winners
from podium.demo.command import told_in_a_sentence
from podium.demo.processes import NodeConfig, NodeProcess, run_gateway, write_key

if TYPE_CHECKING:
    from collections.abc import Mapping

TICKET_EV_WEI = 5_000_000
FACE_VALUE_WEI = 5 * TICKET_EV_WEI
"""One ticket in five wins, so that a short demo shows some."""

START_TIMEOUT_S = 120.0
POLL_S = 0.5

PAYMENTS = f"""
price_per_unit = 1
ticket_ev_wei = {TICKET_EV_WEI}
max_face_value_wei = {FACE_VALUE_WEI}
"""


@frozen
class Model:
    """One model of the demo: its pipeline, its name, its price in wei per unit."""

    pipeline: str
    name: str
    price: int


SPEAK = Model("text-to-speech", "espeak-ng", 2_000_000)
LISTEN = Model("audio-to-text", "pocketsphinx", 40_000)
LOOK = Model("image-to-text", "rapidocr", 1200)
MODELS = (SPEAK, LISTEN, LOOK)


@click.command()
@click.option(
    "--speech",
    default=ai_inputs.SPEECH,
    show_default=True,
    help="What to have spoken, and then heard.",
)
@click.option(
    "--text", default=ai_inputs.TEXT, show_default=True, help="What to draw, and then have read."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-out") / "ai",
    show_default=True,
)
@click.option(
    "--executor",
    type=click.Choice(["auto", "docker", "process"]),
    default="auto",
    show_default=True,
    help="Where the models run. auto: in containers where an engine answers and has the image.",
)
@click.option("--image", default="", help="The runner's image.  [default: our own]")
def demo_ai(speech: str, text: str, out: Path, executor: str, image: str) -> None:
    """Send paid AI jobs to a node of its own: speak a text, hear it, read a picture.

    Leaves the inputs, the answers, index.html and summary.json. The folder must be empty, or hold
    an earlier result, which is replaced. Exits with 1 when a job failed, or node and Gateway
    disagree by a wei.
    """
    with told_in_a_sentence():
        summary = run_demo_ai(speech, text, out, choose(executor, image))
    show(summary, out)
    sys.exit(0 if summary["ok"] else 1)


def run_demo_ai(speech: str, text: str, out: Path, executor: Executor) -> dict[str, Any]:
    """Run node and Gateway, compare their books, write the result.

    Returns:
        What ``summary.json`` holds; ``ok`` tells whether everything was good.

    Raises:
        DemoError: one of the two could not do its part at all.
        GatewayError: the folder cannot be used.
    """
    from podium.testing.gateway.room import check_room, make_room

    check_room(out, OURS)
    with tempfile.TemporaryDirectory(prefix="podium-demo-") as folder:
        work = Path(folder)
        config = NodeConfig.write(work, payments=PAYMENTS, plugins=_sections(executor))
        _say(executor)
        node = NodeProcess.start(config, work / "node.log")
        made = False
        try:
            node.wait_until_ready()
            _wait_for_models(node)
            make_room(out, OURS)
            made = True
            jobs = _send_all(out, node.uri, write_key(work / "gateway.key"), speech, text)
            entries = node.ledger()
        finally:
            clean_stop = node.stop()
            if made:
                shutil.copyfile(node.log, out / "node.log")
        winners = stored_winners(config.data_dir)
    summary = conclude(jobs, entries, executor, winners=winners, clean_stop=clean_stop)
    write_page(out, summary)
    return summary


def _say(executor: Executor) -> None:
    click.echo(f"The models run in {executor.where}. {executor.note}".strip(), err=True)


def _sections(executor: Executor) -> str:
    models = "".join(
        f"""
[[plugins.ai.models]]
pipeline = "{model.pipeline}"
model = "{model.name}"
executor = "{executor.kind}"
{executor.options}
warm = true
price = {model.price}
"""
        for model in MODELS
    )
    return f"\n[plugins.ai]\nenabled = true\n{models}"


def _wait_for_models(node: NodeProcess) -> None:
    """Wait until the node offers all models: they load after it is ready.

    Raises:
        DemoError: it ended, or they were not there in time.
    """
    from podium.testing.gateway.ai.offers import models_offered

    wanted = {(model.pipeline, model.name) for model in MODELS}
    deadline = time.monotonic() + START_TIMEOUT_S
    missing = wanted
    while time.monotonic() < deadline and node.process.poll() is None:
        missing = wanted - models_offered(node.uri)
        if not missing:
            return
        time.sleep(POLL_S)
    names = ", ".join(sorted(name for _, name in missing))
    raise node.failed(f"the node did not load {names}")


def _send_all(out: Path, uri: str, key: Path, speech: str, text: str) -> list[dict[str, Any]]:
    """Send the three jobs, one after the other; the second hears what the first has spoken."""
    common = ["--orch-addr", uri, "--key-file", str(key), "--json"]
    wav, picture = out / "speech.wav", out / "picture.png"
    picture.write_bytes(ai_inputs.draw(text))

    def send(model: Model, given: Mapping[str, str], *options: str) -> dict[str, Any]:
        click.echo(f"{model.pipeline} ...", err=True)
        arguments = ["ai", model.pipeline, "--model", model.name, *options, *common]
        return {**run_gateway(arguments), "input": dict(given)}

    voice = f"description={ai_inputs.VOICE}"
    spoken = send(SPEAK, {"text": speech}, "--text", speech, "--set", voice, "--output", str(wav))
    jobs = [spoken]
    if spoken["ok"]:
        jobs.append(send(LISTEN, {"file": wav.name, "text": speech}, "--input", str(wav)))
    jobs.append(send(LOOK, {"file": picture.name, "text": text}, "--input", str(picture)))
    return jobs


def show(summary: Mapping[str, Any], out: Path) -> None:
    """Print the tables, the troubles and where the result is."""
    from rich.console import Console

    console = Console()
    for table in tables(summary):
        console.print(table)
    for line in summary["problems"]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"Look at it: {out / 'index.html'}", markup=False, soft_wrap=True)
