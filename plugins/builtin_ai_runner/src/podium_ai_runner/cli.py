"""``podium ai``: what runs where, and what should. Asks the node's admin port."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

ASK_TIMEOUT_S = 10.0
PULL_TIMEOUT_S = 3600.0
"""Longest silence while an image is pulled."""

LOOK_S = 0.5
READY = ("ok", "busy")
FAILED = ("failing", "down")
PIPE_WIDTH = 240
COLOURS = {"ok": "green", "busy": "green", "failing": "red", "down": "red", "empty": "dim"}


@frozen
class Node:
    """A node's admin port."""

    url: str

    def get(self, path: str) -> dict[str, Any]:
        """Ask.

        Raises:
            click.ClickException: there is no answer.
        """
        return self._ask(urllib.request.Request(f"{self.url}/ai/{path}"), ASK_TIMEOUT_S)

    def post(self, path: str, timeout_s: float = ASK_TIMEOUT_S, **asked: str) -> dict[str, Any]:
        """Tell.

        Raises:
            click.ClickException: there is no answer, or a refusal.
        """
        return self._ask(_told(self.url, path, asked), timeout_s)

    def lines(self, path: str, **asked: str) -> Iterator[dict[str, Any]]:
        """Tell, and yield each line of the answer.

        Raises:
            click.ClickException: there is no answer, or a refusal.
        """
        with self._open(_told(self.url, path, asked), PULL_TIMEOUT_S) as reply:
            for line in reply:
                yield json.loads(line)

    def slot(self, name: str) -> dict[str, Any]:
        """Return one slot.

        Raises:
            click.ClickException: there is none of that name.
        """
        for slot in self.get("status")["slots"]:
            if slot["slot"] == name:
                return dict(slot)
        raise click.ClickException(f"the slot {name} is gone")

    def _ask(self, request: urllib.request.Request, timeout_s: float) -> dict[str, Any]:
        with self._open(request, timeout_s) as reply:
            return dict(json.loads(reply.read()))

    @contextlib.contextmanager
    def _open(self, request: urllib.request.Request, timeout_s: float) -> Iterator[Any]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=timeout_s) as reply:
                yield reply
        except urllib.error.HTTPError as error:
            with error:  # it holds the connection
                raise click.ClickException(_reason(error)) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            msg = f"no node with the plugin ai answers at {self.url}: {error}"
            raise click.ClickException(msg) from None


def _told(url: str, path: str, asked: dict[str, str]) -> urllib.request.Request:
    headers = {"Content-Type": "application/json"}
    return urllib.request.Request(f"{url}/ai/{path}", json.dumps(asked).encode(), headers)


def _reason(error: urllib.error.HTTPError) -> str:
    if error.code == 404 and "json" not in error.headers.get("content-type", ""):
        return "the node runs without the plugin ai"
    try:
        return str(json.loads(error.read())["error"])
    except (ValueError, KeyError, TypeError):
        return f"the node answers {error.code}"


def _node(admin: str | None, config_path: Path | None) -> Node:
    if admin is not None:
        return Node(admin.rstrip("/") if "://" in admin else f"http://{admin}".rstrip("/"))
    find: Callable[[Path | None], str] | None = click.get_current_context().obj
    if find is None:
        raise click.UsageError("say where the node's admin port is: --admin URL")
    return Node(find(config_path))


def _node_options(command: Any) -> Any:
    command = click.option(
        "--admin", metavar="URL", help="Admin port of the node [default: by the configuration]."
    )(command)
    path = click.Path(path_type=Path, dir_okay=False)
    return click.option(
        "-c", "--config", "config_path", type=path, help="Configuration of the node."
    )(command)


def _console() -> Console:
    from rich.console import Console

    found = Console(highlight=False, markup=False)
    return found if found.is_terminal else Console(highlight=False, markup=False, width=PIPE_WIDTH)


@click.group()
def ai() -> None:
    """Show what runs where, and load or drop models."""


@ai.command()
@_node_options
@click.option("--json", "as_json", is_flag=True, help="As the node says it.")
def status(admin: str | None, config_path: Path | None, as_json: bool) -> None:
    """Show models and the places where they run."""
    told = _node(admin, config_path).get("status")
    if as_json:
        click.echo(json.dumps(told))
        return
    out = _console()
    out.print(_slots(told["slots"]))
    held = {(slot["pipeline"], slot["model"]) for slot in told["slots"]}
    for model in told["models"]:
        if (model["pipeline"], model["model"]) not in held:
            out.print(f"{model['pipeline']}  {model['model']}: {model['executor']}, on demand")
    for slot in told["slots"]:
        if slot["reason"]:
            out.print(f"{slot['slot']}: {slot['reason']}")
        if slot["log_tail"]:
            out.print(slot["log_tail"].rstrip())


def _slots(slots: list[dict[str, Any]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for head in ("slot", "executor", "device", "pipeline", "model", "state", "warm"):
        table.add_column(head)
    table.add_column("in flight", justify="right")
    table.add_column("failures", justify="right")
    for slot in slots:
        state = slot["state"] + _percent(slot)
        table.add_row(
            slot["slot"],
            slot["executor"],
            slot["device"],
            slot["pipeline"],
            slot["model"],
            Text(state, style=COLOURS.get(slot["state"], "yellow")),
            "warm" if slot["warm"] else "",
            str(slot["jobs"]),
            str(slot["failures"]),
        )
    return table


def _percent(slot: dict[str, Any]) -> str:
    pulled = slot.get("progress") or {}
    total = pulled.get("bytes_total")
    return f" {100 * pulled['bytes_done'] // total} %" if total else ""


@ai.command()
@click.argument("pipeline")
@click.argument("model")
@_node_options
def pull(pipeline: str, model: str, admin: str | None, config_path: Path | None) -> None:
    """Fetch what the runner of MODEL is made of, if it is not here yet."""
    from rich.progress import Progress

    out = _console()
    with Progress(console=out, disable=not out.is_terminal) as progress:
        bar = progress.add_task("", total=100)
        for told in _node(admin, config_path).lines("pull", pipeline=pipeline, model=model):
            if "error" in told:
                raise click.ClickException(told["error"])
            if "done" in told:
                progress.update(bar, completed=100)
                out.print(f"{told['done'] or 'nothing to fetch'}: here")
            else:
                progress.update(bar, completed=told["percent"], description=told["image"])
                if not out.is_terminal and told["percent"] % 10 == 0:
                    out.print(f"{told['image']}: {told['percent']} %")


@ai.command()
@click.argument("pipeline")
@click.argument("model")
@click.option("--wait/--no-wait", default=True, help="Wait until it answers.")
@_node_options
def warm(
    pipeline: str, model: str, wait: bool, admin: str | None, config_path: Path | None
) -> None:
    """Load MODEL where it suits best."""
    node = _node(admin, config_path)
    name = node.post("warm", pipeline=pipeline, model=model)["slot"]
    if not wait:
        click.echo(f"{model} is being loaded in {name}")
        return
    said, began_s = "", time.monotonic()
    while True:
        slot = node.slot(name)
        mine = (slot["pipeline"], slot["model"]) == (pipeline, model)
        if mine and slot["state"] in READY:
            click.echo(f"{model} answers in {name} after {time.monotonic() - began_s:.1f} s")
            return
        if slot["state"] in FAILED:
            raise click.ClickException(f"{name}: {slot['reason'] or slot['state']}")
        line = f"{name}: {slot['state']}{_percent(slot)}"
        if line != said:
            click.echo(line)
            said = line
        time.sleep(LOOK_S)


@ai.command()
@click.argument("slot")
@_node_options
def evict(slot: str, admin: str | None, config_path: Path | None) -> None:
    """End the runner in SLOT; a warm model's is started again."""
    _node(admin, config_path).post("evict", slot=slot)
    click.echo(f"{slot}: emptied")
