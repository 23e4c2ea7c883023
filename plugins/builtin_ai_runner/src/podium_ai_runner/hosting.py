"""Results that gateways fetch: files on disk for ten minutes, at unguessable paths (ai 1.4)."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from attrs import define, field, frozen
from podium_hookspecs import JobFailed
from starlette.responses import FileResponse, PlainTextResponse

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from pathlib import Path
    from typing import Any

    from starlette.responses import Response

PATH = "/ai/results"
KEPT_S = 600.0
SWEEP_S = 15.0
NAME = re.compile(r"[0-9a-f]{32}\.mp4")
TYPES = {".mp4": "video/mp4"}
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Content-Length, Content-Range",
    "Cache-Control": "max-age=5",
}


class NoRoom(JobFailed):
    """There is no room for another result."""

    code = "no_room"


@frozen
class Kept:
    """One file.

    Attributes:
        path: Where it is.
        size_bytes: Its length.
        until_s: When it goes, on the monotonic clock.
    """

    path: Path
    size_bytes: int
    until_s: float


@define(eq=False)
class Results:
    """Keeps results and serves them.

    Args:
        folder: Where; emptied at the start.
        base: URL of the node, without a trailing slash.
        limit_bytes: What all results together may take.
        monotonic: Returns monotonic seconds.
    """

    folder: Path
    base: str
    limit_bytes: int
    monotonic: Callable[[], float] = time.monotonic
    _kept: OrderedDict[str, Kept] = field(factory=OrderedDict)

    def __attrs_post_init__(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self.folder.iterdir():
            left.unlink(missing_ok=True)

    @property
    def used_bytes(self) -> int:
        """What all results take."""
        return sum(kept.size_bytes for kept in self._kept.values())

    def draft(self, ending: str) -> Path:
        """Return a path to write to, in this folder; ``publish`` it, or remove it."""
        return self.folder / f"{secrets.token_hex(16)}{ending}.part"

    def publish(self, draft: Path) -> str:
        """Serve a finished file from now on, for ten minutes; return its URL.

        Raises:
            NoRoom: the disk's share is used up by results that are not old enough.
        """
        self.sweep()
        size_bytes = draft.stat().st_size
        if self.used_bytes + size_bytes > self.limit_bytes:
            raise NoRoom("no room for more results: raise plugins.ai.max_results_mb")
        path = draft.with_suffix("")
        draft.rename(path)
        self._kept[path.name] = Kept(path, size_bytes, self.monotonic() + KEPT_S)
        return f"{self.base}{PATH}/{path.name}"

    def sweep(self) -> None:
        """Remove what is old."""
        now_s = self.monotonic()
        for name, kept in list(self._kept.items()):
            if kept.until_s > now_s:
                return
            del self._kept[name]
            kept.path.unlink(missing_ok=True)

    async def run(self) -> None:
        """Sweep from time to time, until it is cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Serve a file, or a range of it (ASGI)."""
        if scope["type"] == "http":
            await self._response(scope)(scope, receive, send)

    def _response(self, scope: MutableMapping[str, Any]) -> Response:
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("method not allowed\n", 405, {"Allow": "GET, HEAD"})
        name = scope["path"].rpartition("/")[2]
        kept = self._kept.get(name) if NAME.fullmatch(name) else None
        if kept is None or kept.until_s <= self.monotonic():
            return PlainTextResponse("404 page not found\n", 404, CORS)
        return FileResponse(kept.path, headers=CORS, media_type=TYPES[kept.path.suffix])
