"""image-to-video: a runner's frames become a file that the gateway fetches (ai 1.4)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
from typing import IO, TYPE_CHECKING, Any

from attrs import frozen
from podium_hookspecs import Chunk

from podium_ai_runner.media.child import MediaFailed
from podium_ai_runner.pipelines.describe import Description
from podium_ai_runner.refusals import RunnerRefused, unusable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from podium_hookspecs import Job

    from podium_ai_runner.hosting import Results
    from podium_ai_runner.media.child import Children

WIDTH, HEIGHT, FPS = 1024, 576, 7
ENCODE_TIMEOUT_S = 70.0


@frozen
class VideoMaker:
    """Turns answers of frames into answers with a URL.

    The answer goes to a file as it comes, and a child process makes the video of it: neither
    frames nor video are ever held here.

    Args:
        children: Run the encoder.
        results: Host the videos.
    """

    children: Children
    results: Results

    async def answer(
        self, chunks: AsyncIterator[Chunk], description: Description, job: Job
    ) -> AsyncGenerator[tuple[Chunk, bool], None]:
        """Yield the answer of a job, as its last chunk.

        Raises:
            RunnerRefused: the runner answered something else than one batch of frames.
            JobFailed: no video could be made of it, or there is no room for it.
        """
        draft = self.results.draft(".mp4")
        try:
            with tempfile.TemporaryFile(dir=self.results.folder) as frames:
                async for chunk in chunks:
                    await asyncio.to_thread(frames.write, chunk.data)
                frames.flush()
                said = await self._encode(frames, draft, description, job)
            url = self.results.publish(draft)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
        image = {"nsfw": said["nsfw"], "seed": said["seed"], "url": url}
        data = json.dumps({"images": [image]}, separators=(",", ":")).encode()
        yield Chunk(data, content_type="application/json"), True

    async def _encode(
        self, frames: IO[bytes], draft: Path, description: Description, job: Job
    ) -> dict[str, Any]:
        values = job.request.values
        if not os.fstat(frames.fileno()).st_size:
            raise RunnerRefused("unexpected end of JSON input")
        facts = {
            "source": frames.fileno(),
            "target": str(draft),
            "width": values.get("width", WIDTH),
            "height": values.get("height", HEIGHT),
            "fps": values.get("fps", FPS),
        }
        try:
            said = await self.children.run("video", facts, [frames.fileno()], ENCODE_TIMEOUT_S)
        except MediaFailed as error:
            raise unusable(description, 200, str(error)) from error
        if said["batches"] != 1:
            msg = f"expected=1 actual={said['batches']}"
            raise RunnerRefused(f"unexpected number of image-to-video outputs {msg}")
        return said
