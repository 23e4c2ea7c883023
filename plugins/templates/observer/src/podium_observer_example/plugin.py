"""A line of JSON for each finished job, in a file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import podium_hookspecs as hooks
from attrs import define, field, frozen, validators


@frozen
class Config:
    """``[plugins.observer-example]``: a file of finished jobs."""

    file: str = field(
        default="jobs.jsonl",
        validator=validators.matches_re(r"[A-Za-z0-9._-]+"),
        metadata={"help": "Name of the file, in the plugin's state folder."},
    )
    backlog: int = field(
        default=1000,
        validator=validators.ge(1),
        metadata={"help": "Lines that may wait to be written; further ones are dropped."},
    )


@define
class Writer:
    """Writes beside the event loop; events never wait for the disk."""

    path: Path
    waiting: asyncio.Queue[str]
    dropped: int = 0

    def note(self, event: hooks.JobFinished) -> None:
        """Queue a line."""
        facts = {"job": event.job_id, "pipeline": event.pipeline, "outcome": event.outcome}
        money = {"units": event.units, "unit": event.unit, "fee_wei": str(event.fee_wei)}
        try:
            self.waiting.put_nowait(json.dumps(facts | money))
        except asyncio.QueueFull:
            self.dropped += 1

    async def write(self, context: hooks.PluginContext) -> None:
        """Write what is queued, until the node ends."""
        while True:
            line = await self.waiting.get()
            await context.run_blocking(self._append, line)
            self.waiting.task_done()

    def _append(self, line: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


@hooks.hookimpl
def podium_config_class() -> type:
    """Name the class of this plugin's section."""
    return Config


@hooks.hookimpl
def podium_on_event(event: hooks.Event, config: Config, context: hooks.PluginContext) -> None:
    """Hear of finished jobs; the first of them starts the writer."""
    if not isinstance(event, hooks.JobFinished):
        return
    if context.state is None:
        queue: asyncio.Queue[str] = asyncio.Queue(config.backlog)
        context.state = Writer(context.state_dir / config.file, queue)
        context.spawn(context.state.write(context), name="writer")
    context.state.note(event)
