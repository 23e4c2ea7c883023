"""A node from its start to its end: signals, draining, and a look at itself from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from attrs import define, field

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

    SIGHUP has it read its configuration again.

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
        reloads = _Reloads(node, signals)
        loop.add_signal_handler(signal.SIGHUP, reloads.ask)
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
        for task in (draining, again, failed, check, *reloads.tasks):
            await stop_task(task)


def leave_within(seconds: float) -> None:
    """End the process after a while, whatever a plugin's tasks and threads still do."""

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()


@define(eq=False)
class _Reloads:
    """Reads the configuration again on SIGHUP; a terminal that goes away ends the node instead."""

    node: Node
    signals: asyncio.Queue[signal.Signals]
    tasks: set[asyncio.Task[Any]] = field(factory=set)
    _on_terminal: bool = field(factory=sys.stdin.isatty)

    def ask(self) -> None:
        if self._on_terminal and _terminal_is_gone():
            self.signals.put_nowait(signal.SIGHUP)
            return
        task = asyncio.create_task(self.node.reloader.reload())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


def _terminal_is_gone() -> bool:
    try:
        os.tcgetpgrp(sys.stdin.fileno())
    except OSError:
        return True
    return False


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
