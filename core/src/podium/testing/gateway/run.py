"""Runs one stream through a Gateway client: cut, send, collect, write, count."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from attrs import define, field

from podium.testing.gateway import player, report
from podium.testing.gateway.errors import GatewayError, NoOrchestrator
from podium.testing.gateway.hls import HlsWriter, write_whole
from podium.testing.gateway.media import segments
from podium.testing.gateway.report import Tally

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path
    from typing import Any

    from podium.testing.gateway.client import GatewayClient
    from podium.testing.gateway.media import Segment

    Progress = Callable[[Tally], None]


def _quiet(tally: Tally) -> None:
    del tally


@define(eq=False)
class StreamRun:
    """One input through one client into one folder.

    Attributes:
        client: The sender; closed at the end, which also ends its sessions.
        source: A file, a folder of segments or a media playlist.
        out: Where the result goes.
        segment_s: Length to cut to.
        parallel: Segments in flight at a time.
        live: Send at the pace of the video.
        progress: Told after every segment.
    """

    client: GatewayClient
    source: Path
    out: Path
    segment_s: float = 2.0
    parallel: int = 1
    live: bool = False
    progress: Progress = _quiet
    tally: Tally = field(factory=Tally)
    _writer: HlsWriter = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._writer = HlsWriter(self.out, self.client.profiles, self.segment_s)

    async def run(self) -> dict[str, Any]:
        """Do all of it, and write ``summary.json`` and ``index.html``.

        A cancelled run ends its sessions and closes its playlists before it passes the
        cancellation on.

        Raises:
            GatewayError: the input cannot be used, or nobody will transcode it.
        """
        try:
            await self._work()
        except asyncio.CancelledError:
            self.tally.interrupted = True
            raise
        finally:
            self.tally.stop()
            await self.client.close()
            self._writer.close()
            summary = await asyncio.to_thread(self._write_result)
        return summary

    async def _work(self) -> None:
        """Unwrap what the task group wraps: one reason is enough for a person."""
        try:
            async with asyncio.TaskGroup() as group:
                await self._send_all(group)
        except* GatewayError as errors:
            raise errors.exceptions[0] from None

    def _write_result(self) -> dict[str, Any]:
        name = self.source.name
        tracks = self._writer.tracks
        summary = report.summarise(name, self.tally, self.client, tracks)
        summary["preview"] = player.write_preview(self.out, tracks) is not None
        write_summary(self.out, summary)
        return summary

    async def _send_all(self, group: asyncio.TaskGroup) -> None:
        places = asyncio.Semaphore(self.parallel)
        loop = asyncio.get_running_loop()
        begun, offset_s = loop.time(), 0.0
        async for segment in self._cut():
            if self.live:
                await asyncio.sleep(max(0.0, begun + offset_s - loop.time()))
            offset_s += segment.duration_s
            await places.acquire()
            task = group.create_task(self._one(segment))
            task.add_done_callback(lambda _: places.release())

    async def _cut(self) -> AsyncIterator[Segment]:
        """Cut in a thread, one segment ahead of nothing: the next is cut when it is wanted."""
        pieces = segments(self.source, self.segment_s)
        while (segment := await asyncio.to_thread(next, pieces, None)) is not None:
            yield segment

    async def _one(self, segment: Segment) -> None:
        try:
            outcome = await self.client.transcode(segment)
        except NoOrchestrator as error:
            self.tally.failures.append((segment.seq, str(error)))
            raise
        except GatewayError as error:
            self.tally.failures.append((segment.seq, str(error)))
            self._writer.skip(segment.seq)
        else:
            self.tally.outcomes.append(outcome)
            self._writer.add(segment.seq, outcome.renditions)
        self.progress(self.tally)


def write_summary(out: Path, summary: dict[str, Any]) -> None:
    """Write ``summary.json`` and the page that shows it."""
    write_whole(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    player.write_page(out, summary)
