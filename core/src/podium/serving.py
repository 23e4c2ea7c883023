"""A node from its start to its end: signals, draining, and a look at itself from outside."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from podium.app import running
from podium.errors import StartupError
from podium.node import reachable, stop_task

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium.assembly import Overrides
    from podium.config.settings import Settings
    from podium.node import Node


async def serve(
    settings: Settings,
    overrides: Overrides | None = None,
    *,
    started: Callable[[Node], None] | None = None,
) -> None:
    """Run a node until SIGTERM or SIGINT; a second signal stops it at once.

    Args:
        settings: Checked.
        overrides: What takes the place of the real thing.
        started: Told once the node serves.
    """
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    async with running(settings, overrides) as node:
        if started is not None:
            started(node)
        check = asyncio.create_task(_check_service_uri(node))
        asked = asyncio.create_task(signals.get())
        failed = asyncio.create_task(node.failed())
        await asyncio.wait({asked, failed}, return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            asked.cancel()
            raise StartupError("the public port stopped by itself")
        draining = asyncio.create_task(node.drain(asked.result().name))
        again = asyncio.create_task(signals.get())
        await asyncio.wait({draining, again}, return_when=asyncio.FIRST_COMPLETED)
        for task in (draining, again, failed, check):
            await stop_task(task)


async def _check_service_uri(node: Node) -> None:
    """Warn when the node cannot reach itself the way gateways will."""
    if not node.settings.node.startup_check:
        return
    problem = await reachable(node.service_uri)
    if problem:
        node.log.warning(
            "service URI does not answer: gateways will not find this node; check"
            " node.service_uri, name resolution and port forwarding",
            service_uri=node.service_uri,
            problem=problem,
        )
