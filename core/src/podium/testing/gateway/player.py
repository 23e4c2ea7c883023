"""The result's page: plays the stream with no network, from a web server or from the file itself.

A browser lets no script read files beside a page that was opened as ``file://``, so hls.js can
only work over HTTP. For the other case the best rendition is also there as ``preview.mp4``, which
a plain ``<video>`` may load.
"""

from __future__ import annotations

import html
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import av

from podium.testing.gateway.hls import write_whole
from podium.testing.gateway.report import figures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from av.container import OutputContainer

    from podium.testing.gateway.hls import Track

PREVIEW = "preview.mp4"
_ASSETS = ("hls.light.min.js", "LICENSE-hls.js.txt")


def write_page(out: Path, summary: Mapping[str, Any]) -> Path:
    """Write ``index.html`` and the player beside it."""
    source = files("podium.assets") / "player"
    player = out / "player"
    player.mkdir(parents=True, exist_ok=True)
    for name in _ASSETS:
        (player / name).write_bytes((source / name).read_bytes())
    page = (source / "index.html").read_text(encoding="utf-8")
    filled = {
        "TITLE": html.escape(str(summary["source"])),
        "FIGURES": "\n".join(_row(label, text) for label, text in figures(summary)),
        "RENDITIONS": "\n".join(_rendition(row) for row in summary["renditions"]),
    }
    for name, text in filled.items():
        page = page.replace(f"<!--{name}-->", text)
    write_whole(out / "index.html", page)
    return out / "index.html"


def _row(label: str, text: str) -> str:
    return f"<tr><th>{html.escape(label)}</th><td>{html.escape(text)}</td></tr>"


def _rendition(row: Mapping[str, Any]) -> str:
    cells = (
        row["name"],
        f"{row['width']}x{row['height']}",
        f"{row['fps']:.2f}",
        f"{row['bitrate_bps'] / 1000:,.0f} kb/s",
        f"{row['size_bytes'] / 1e6:,.2f} MB",
    )
    return (
        f'<tr title="{html.escape(row["codecs"])}">'
        + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells)
        + "</tr>"
    )


def write_preview(out: Path, tracks: Sequence[Track]) -> Path | None:
    """Join the best rendition's segments into one MP4 file, copying packets. Blocking.

    Returns:
        The file, or None when there is nothing to join or MP4 cannot carry it.
    """
    best = max((t for t in tracks if t.playable and t.lines), key=_size, default=None)
    if best is None:
        return None
    target = out / PREVIEW
    fresh = target.with_name(PREVIEW + ".tmp")
    names = [line for line in best.lines if not line.startswith("#")]
    try:
        with av.open(str(fresh), "w", format="mp4", options={"movflags": "faststart"}) as joined:
            join = _Join(joined)
            for name in names:
                join.add(best.folder / name)
    except (av.FFmpegError, ValueError):
        fresh.unlink(missing_ok=True)
        return None
    fresh.replace(target)
    return target


def _size(track: Track) -> int:
    return track.width * track.height


class _Join:
    """One output file, fed with files whose timestamps go on from one to the next."""

    def __init__(self, out: OutputContainer) -> None:
        self._out = out
        self._start: float | None = None
        self._last: dict[str, int] = {}

    def add(self, path: Path) -> None:
        with av.open(str(path)) as source:
            kept = [s for s in source.streams if s.type in ("video", "audio")]
            if self._start is None:
                for stream in kept:
                    self._out.add_stream_from_template(stream)
            targets = {stream.type: stream for stream in self._out.streams}
            for packet in source.demux(*kept):
                kind = packet.stream.type
                if packet.dts is None or packet.pts is None or kind not in targets:
                    continue
                if self._start is None:
                    self._start = float(packet.dts * packet.time_base)
                shift = round(self._start / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                if packet.dts <= self._last.get(kind, packet.dts - 1):
                    continue
                self._last[kind] = packet.dts
                packet.stream = targets[kind]
                self._out.mux(packet)
