"""``podium serve``."""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from podium.cli.options import config_option
from podium.config.load import find_config, load_settings

if TYPE_CHECKING:
    from podium.node import Node


LEAVE_S = 10.0
"""What is left of a stopped node may take this long to end: a plugin's thread may never do so."""


@click.command()
@config_option
def serve(config_path: Path | None) -> None:
    """Run the orchestrator until SIGTERM or Ctrl-C; a second one stops it at once."""
    settings = load_settings(find_config(config_path))

    from podium import assembly, serving
    from podium.node import loop_factory
    from podium.telemetry.logs import capture_standard_logs

    capture_standard_logs(assembly.log(settings), "warning")
    overrides = assembly.Overrides(ask_password=_ask if sys.stdin.isatty() else None)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(
            serving.serve(settings, overrides, started=lambda node: click.echo(banner(node)))
        )
        serving.leave_within(LEAVE_S)


def _ask(prompt: str) -> str:
    """Ask for a password, which is not shown."""
    return str(click.prompt(prompt, hide_input=True))


def banner(node: Node) -> str:
    """Say what runs where, in a few lines for people."""
    settings = node.settings
    public, admin = settings.node.public_address, settings.node.admin_address
    how = "TLS, HTTP/1.1 and HTTP/2" if public.tls else "plain text, HTTP/1.1 and h2c"
    price = settings.payments
    rows = {
        "service URI": node.service_uri,
        "public port": f"{public.host}:{node.public.port} ({how})",
        "admin port": f"http://{admin.reachable_host}:{node.admin.port}/metrics",
        "pipelines": ", ".join(node.host.pipelines) or "none",
        "paid to": node.host.facts.orchestrator_id,
        "price": f"{price.price_per_unit} {price.currency} for {price.pixels_per_unit} pixel(s)",
    }
    if node.onchain is not None:
        views = node.onchain.views
        standing = "active" if views.orchestrator.active_in(views.current_round) else "NOT ACTIVE"
        rows["chain"] = f"{settings.chain.network}, round {views.current_round}, {standing}"
    lines = [f"podium {version('podium')} serves {node.service_uri}"]
    lines += [f"  {name:<12} {text}" for name, text in rows.items()]
    return "\n".join(lines)
