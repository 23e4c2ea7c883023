"""``podium reload``, and what other commands ask the running node of its plugins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import httpx

from podium.cli.lazy import Failed
from podium.cli.options import config_option
from podium.config.load import find_config, node_section
from podium.web.reload import PLUGINS_PATH, RELOAD_PATH

if TYPE_CHECKING:
    from podium.config.settings import NodeSettings

ASK_TIMEOUT_S = 3.0
RELOAD_TIMEOUT_S = 300.0
"""What is new is imported and started first: models are loaded, programs are looked for."""
MARKS = {"added": "+", "tried again": "+", "removed": "-"}


@click.command()
@config_option
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
def reload(config_path: Path | None, dry_run: bool) -> None:
    """Have the running node read its configuration again, and change its plugins.

    All of it, or nothing: where one plugin does not start, or a setting needs a restart, the node
    goes on as it was, and says why.
    """
    path = find_config(config_path)
    outcome = _ask_reload(node_section(path), dry_run)
    read = Path(outcome["path"])
    if outcome["path"] and read.resolve() != path.resolve():
        click.echo(f"the node read {read}, not {path}")
    for change in outcome["changes"]:
        click.echo(f"{MARKS.get(change['kind'], '~')} {change['text']}")
    reasons = [f"{key}: needs a restart" for key in outcome["restart"]] + outcome["problems"]
    if reasons:
        raise Failed("\n".join(["nothing was changed:", *reasons]))
    if not outcome["changes"]:
        click.echo("nothing differs")
    elif dry_run:
        click.echo("nothing was changed: this was a dry run")
    else:
        click.echo("done; what leaves finishes its jobs first")


def _ask_reload(node: NodeSettings, dry_run: bool) -> dict[str, Any]:
    uri = admin_uri(node)
    try:
        reply = httpx.post(
            uri + RELOAD_PATH, json={"dry_run": dry_run}, timeout=RELOAD_TIMEOUT_S, trust_env=False
        )
    except httpx.HTTPError as error:
        msg = f"no node answers at {uri}: {error}; a node can also be told by SIGHUP"
        raise Failed(msg) from error
    if reply.status_code not in (httpx.codes.OK, httpx.codes.CONFLICT):
        raise Failed(f"{uri} answers {reply.status_code}: {reply.text.strip()}")
    outcome: dict[str, Any] = reply.json()
    return outcome


def running_plugins(node: NodeSettings, path: Path | None) -> list[dict[str, Any]] | None:
    """Return how the plugins of the node that runs with a file are; None where none does."""
    try:
        reply = httpx.get(admin_uri(node) + PLUGINS_PATH, timeout=ASK_TIMEOUT_S, trust_env=False)
        told = reply.raise_for_status().json()
        same = path is not None and Path(told["config"]).resolve() == path.resolve()
        return list(told["plugins"]) if same else None
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None


def admin_uri(node: NodeSettings) -> str:
    """Return where the admin port answers; by address, as a change is taken."""
    address = node.admin_address
    host = "127.0.0.1" if address.reachable_host == "localhost" else address.reachable_host
    return f"http://{host}:{address.port}"
