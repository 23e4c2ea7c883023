"""A worker that runs a program for each job: the body on its input, the answer on its output."""

from __future__ import annotations

import asyncio
import contextlib
import os
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator

import podium_hookspecs as hooks
from attrs import define, field, frozen, validators


@frozen
class Config:
    """``[plugins.worker-example]``: a program that does jobs."""

    pipeline: str = field(metadata={"help": "Name of the pipeline whose jobs it does."})
    capability: int = field(metadata={"help": "The network's number of what it does."})
    command: tuple[str, ...] = field(
        validator=validators.min_len(1),
        metadata={"help": "The program and its arguments; no shell is involved."},
    )
    model: str = field(default="", metadata={"help": "The model that it serves, if any."})
    content_type: str = field(
        default="application/octet-stream", metadata={"help": "Of what it answers."}
    )
    slots: int = field(default=1, validator=validators.ge(1), metadata={"help": "Jobs at a time."})


@define(eq=False)
class ProgramWorker(hooks.Worker):
    """Starts the program for each job and yields what it writes."""

    name: str
    config: Config
    resources: hooks.Resources = field(init=False)
    _running: dict[str, Process] = field(factory=dict)
    _closed: asyncio.Event = field(factory=asyncio.Event)

    def __attrs_post_init__(self) -> None:
        config = self.config
        models = {config.model} if config.model else set()
        self.resources = hooks.Resources(
            {config.pipeline}, {config.capability}, models, config.slots
        )

    async def start(self) -> None:
        """Take nothing: the program starts with its job."""

    async def health(self) -> AsyncIterator[hooks.Health]:
        """Be well until closed."""
        yield hooks.Health(hooks.WorkerState.OK)
        await self._closed.wait()

    async def run(self, job: hooks.Job) -> AsyncIterator[hooks.Output]:
        """Run the program; its exit status 2 says that the input is bad."""
        if self._closed.is_set() or job.body is None:
            raise hooks.WorkerLost("closed")
        os.lseek(job.body.fileno(), 0, os.SEEK_SET)
        program = await asyncio.create_subprocess_exec(  # it gets nothing of the node's
            *self.config.command, stdin=job.body.fileno(), stdout=PIPE, stderr=DEVNULL, env={}
        )
        self._running[job.id] = program
        try:
            assert program.stdout is not None
            while piece := await program.stdout.read(2**16):
                yield hooks.Chunk(piece, content_type=self.config.content_type)
            if await program.wait() == 2:
                raise hooks.BadInput("the program refused the input")
            if program.returncode:
                raise hooks.JobFailed(f"the program's exit status is {program.returncode}")
            yield hooks.Result(0)
        finally:
            del self._running[job.id]
            await _end(program)

    async def cancel(self, job_id: str) -> None:
        """Kill the job's program; its ``run`` raises."""
        if job_id in self._running:
            await _end(self._running[job_id])

    async def close(self) -> None:
        """Kill every program."""
        self._closed.set()
        for job_id in list(self._running):
            await self.cancel(job_id)


@hooks.hookimpl
def podium_config_class() -> type:
    """Name the class of this plugin's section."""
    return Config


@hooks.hookimpl
def podium_workers(config: Config, context: hooks.PluginContext) -> list[hooks.Worker]:
    """Give the worker."""
    return [ProgramWorker(context.plugin, config)]


async def _end(program: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        program.kill()
    await program.wait()
