"""``events-file``: the node's events, one JSON line each, in a file that is rotated by size."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen, validators
from podium_hookspecs import Event, Pipeline, hookimpl

from podium_observers.pump import Pump, PumpSettings, doc, start_pump
from podium_observers.sink import SinkError
from podium_observers.webhook import known_events

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from podium_hookspecs import PluginContext

    from podium_observers.record import Record

FILE = "events.jsonl"


def _path(text: Path | None) -> Path | None:
    return None if text is None else text.expanduser()


@frozen(kw_only=True)
class FileConfig(PumpSettings):
    """``[plugins.events-file]``: what happens, kept in a file."""

    path: Path | None = field(
        default=None,
        converter=_path,
        metadata=doc("The file. Without one: events.jsonl in the plugin's own folder."),
    )
    max_mb: int = field(
        default=100,
        validator=validators.ge(1),
        metadata=doc("MiB at which a new file is begun; the old one gets .1 at its end."),
    )
    keep: int = field(
        default=5, validator=validators.ge(0), metadata=doc("Old files that are kept.")
    )
    events: tuple[str, ...] = field(
        default=(), validator=known_events, metadata=doc("Names of the events; empty: all.")
    )


@frozen
class Rotating:
    """A file that lines are added to; every call blocks.

    It is opened for each batch: whoever moves it away needs to tell nobody.

    Attributes:
        path: The file.
        max_bytes: Size at which a new one is begun.
        keep: Old ones kept, as ``path.1``, the newest, and so on.
    """

    path: Path
    max_bytes: int
    keep: int

    def add(self, lines: Sequence[bytes]) -> None:
        """Add lines; a line is never split over two files.

        Raises:
            OSError: the file cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rest = [line + b"\n" for line in lines]
        while rest:
            room = self.max_bytes - self._size()
            fitting = _fitting(rest, room)
            if not fitting and room < self.max_bytes:
                self._rotate()
                continue
            count = fitting or 1  # a line longer than a file gets one of its own
            self._write(b"".join(rest[:count]))
            del rest[:count]

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def _write(self, data: bytes) -> None:
        """Add all of it or nothing: half a line would spoil the next one."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            before = os.fstat(descriptor).st_size
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
            except OSError:
                os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)

    def _rotate(self) -> None:
        names = [self.path]
        names += [self.path.with_name(f"{self.path.name}.{n}") for n in range(1, self.keep + 1)]
        for newer, older in reversed(list(pairwise(names))):
            if newer.exists():
                newer.replace(older)
        self.path.unlink(missing_ok=True)


def _fitting(lines: Sequence[bytes], room: int) -> int:
    """Return how many of the lines have room together."""
    for count, line in enumerate(lines):
        room -= len(line)
        if room < 0:
            return count
    return len(lines)


@define(eq=False)
class FileSink:
    """Writes each batch in a thread of the plugin's own."""

    file: Rotating
    run_blocking: Callable[..., Awaitable[None]]

    async def send(self, records: Sequence[Record]) -> None:
        """Write a batch.

        Raises:
            SinkError: the disk is full, or the file cannot be written.
        """
        try:
            await self.run_blocking(self.file.add, [record.line() for record in records])
        except OSError as error:
            raise SinkError(f"{self.file.path}: {error.strerror}") from error

    async def close(self) -> None:
        """Nothing is held open."""


@hookimpl
def podium_config_class() -> type:
    """Name the class of the section."""
    return FileConfig


@hookimpl
def podium_pipelines(config: FileConfig, context: PluginContext) -> list[Pipeline]:
    """Start the pump."""
    path = config.path or context.state_dir / FILE
    sink = FileSink(Rotating(path, config.max_mb * 2**20, config.keep), context.run_blocking)
    context.state = start_pump(context, sink, config)
    return []


@hookimpl
def podium_on_event(event: Event, config: FileConfig, context: PluginContext) -> None:
    """Queue what is wanted."""
    pump: Pump | None = context.state
    if pump is not None and (not config.events or type(event).__name__ in config.events):
        pump.put(event)
