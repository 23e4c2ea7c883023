"""Runs one stream through a Gateway client: cut, send, collect, write, count."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from attrs import define, field

from podium.testing.gateway import player, report
from podium.testing.gateway.errors import GatewayError, InputError, NoOrchestrator
from podium.testing.gateway.hls import HlsWriter, write_whole
from podium.testing.gateway.media import segments
from podium.testing.gateway.report import Tally
from podium.testing.gateway.room import check_room, make_room
from podium.testing.gateway.transport import is_stray

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
    _has_room: bool = False

    def __attrs_post_init__(self) -> None:
        self._writer = HlsWriter(self.out, self.client.profiles, self.segment_s)

    async def run(self) -> dict[str, Any]:
        """Do all of it, and write ``summary.json`` and ``index.html``.

        A cancelled run ends its sessions and closes its playlists before it passes the
        cancellation on. A run that must end early tells why in the summary's ``problems``.

        Raises:
            GatewayError: nothing could be done at all: the input or the folder cannot be used,
                or nobody will transcode it. Nothing is written then.
        """
        check_room(self.out)
        try:
            await self._work()
        except asyncio.CancelledError:
            self.tally.interrupted = True
            raise
        except GatewayError as error:
            if not self.client.accounts:
                raise
            told = isinstance(error, NoOrchestrator)  # with the segment that found nobody
            early = "no orchestrator is left" if told else str(error)
            self.tally.problems.append(f"the stream ended early: {early}")
        finally:
            summary = await self._finish()
        return summary

    async def _finish(self) -> dict[str, Any]:
        """End the sessions; when one was ever opened, write what there is."""
        self.tally.stop()
        await self.client.close()
        if not self.client.accounts:
            return {}
        self._make_room()
        self._writer.close()
        return await asyncio.to_thread(self._write_result)

    def _make_room(self) -> None:
        """Take the folder when there is something to write, and not before."""
        if not self._has_room:
            make_room(self.out)
            self._has_room = True

    async def _work(self) -> None:
        """Unwrap what the task group wraps: one reason is enough for a person."""
        try:
            async with asyncio.TaskGroup() as group:
                await self._send_all(group)
        except* (GatewayError, OSError) as errors:
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
        except (NoOrchestrator, InputError) as error:
            self.tally.failures.append((segment.seq, str(error)))
            raise
        except GatewayError as error:
            self._fail(segment, str(error))
        except asyncio.CancelledError:
            if not is_stray():
                raise
            # A task group takes a cancelled task as finished: the segment would vanish.
            self._fail(segment, "its connection was closed from inside the Gateway")
        else:
            self._make_room()
            self.tally.outcomes.append(outcome)
            self._writer.add(segment.seq, outcome.renditions)
        self.progress(self.tally)

    def _fail(self, segment: Segment, reason: str) -> None:
        self.tally.failures.append((segment.seq, reason))
        self._make_room()
        self._writer.skip(segment.seq)


def write_summary(out: Path, summary: dict[str, Any]) -> None:
    """Write ``summary.json`` and the page that shows it."""
    write_whole(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    player.write_page(out, summary)
