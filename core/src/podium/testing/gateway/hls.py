"""Writes an adaptive HLS stream as segments arrive: one folder and playlist per rendition.

Playlists are replaced whole, by renaming, so a player never reads half a file. Segments may come
in any order; a playlist names one only when all before it are there or are known to be missing.

Source: RFC 8216 (sections 4.3 and 6.2).
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from attrs import define, field

from podium.wire.pb import lp_rpc_pb2 as net

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from podium.testing.gateway.client import Rendition

MASTER = "master.m3u8"
MEDIA = "index.m3u8"


def folder_name(profile: net.VideoProfile) -> str:
    """Return a folder name for a rendition: a profile's name may hold anything."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", profile.name).strip(".") or "rendition"


def write_whole(path: Path, text: str) -> None:
    """Replace a file at once."""
    fresh = path.with_name(path.name + ".tmp")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


@define(eq=False)
class Track:
    """One rendition's folder.

    Attributes:
        profile: What was asked for.
        folder: Where its segments lie.
        lines: The media playlist's entries so far.
        size_bytes: Of all its segments.
        duration_s: Of all its segments.
        peak_bps: Of its busiest segment.
        pixels: Decoded in all its segments.
        width, height, fps, codecs: As decoded from its latest segment.
    """

    profile: net.VideoProfile
    folder: Path
    lines: list[str] = field(factory=list)
    size_bytes: int = 0
    duration_s: float = 0.0
    peak_bps: float = 0.0
    longest_s: float = 0.0
    pixels: int = 0
    width: int = 0
    height: int = 0
    fps: float = 0.0
    codecs: tuple[str, ...] = ()

    @property
    def average_bps(self) -> float:
        """Mean bit rate of the whole rendition."""
        return self.size_bytes * 8 / self.duration_s if self.duration_s else 0.0

    @property
    def playable(self) -> bool:
        """HLS plays MPEG-TS; a plain MP4 file per segment is kept, but in no playlist."""
        return self.profile.format == net.VideoProfile.MPEGTS

    def file_of(self, seq: int) -> Path:
        """Return where a segment lies."""
        return self.folder / f"{seq}.{'ts' if self.playable else 'mp4'}"

    def list_segment(self, seq: int, rendition: Rendition, *, after_gap: bool) -> None:
        """Take a segment into the playlist and the figures."""
        facts = rendition.facts
        if after_gap and self.lines:
            self.lines.append("#EXT-X-DISCONTINUITY")
        self.lines += [f"#EXTINF:{facts.duration_s:.6f},", self.file_of(seq).name]
        self.size_bytes += facts.size_bytes
        self.duration_s += facts.duration_s
        self.longest_s = max(self.longest_s, facts.duration_s)
        self.peak_bps = max(self.peak_bps, facts.bits_per_s)
        self.pixels += facts.pixels
        self.width, self.height, self.fps = facts.width, facts.height, facts.fps
        self.codecs = facts.codecs

    def playlist(self, target_s: float, *, ended: bool) -> str:
        """Return the media playlist."""
        longest = math.ceil(round(max(target_s, self.longest_s), 3))
        head = [
            "#EXTM3U",
            "#EXT-X-VERSION:3",
            f"#EXT-X-TARGETDURATION:{longest}",
            "#EXT-X-MEDIA-SEQUENCE:0",
            f"#EXT-X-PLAYLIST-TYPE:{'VOD' if ended else 'EVENT'}",
            "#EXT-X-INDEPENDENT-SEGMENTS",
        ]
        return "\n".join(head + self.lines + (["#EXT-X-ENDLIST"] if ended else [])) + "\n"

    def master_entry(self) -> list[str]:
        """Return this rendition's two lines of the master playlist, as measured."""
        attributes = [
            f"BANDWIDTH={math.ceil(self.peak_bps)}",
            f"AVERAGE-BANDWIDTH={math.ceil(self.average_bps)}",
            f"RESOLUTION={self.width}x{self.height}",
            f"FRAME-RATE={self.fps:.3f}",
            f'CODECS="{",".join(self.codecs)}"',
        ]
        return ["#EXT-X-STREAM-INF:" + ",".join(attributes), f"{self.folder.name}/{MEDIA}"]


@define(eq=False)
class HlsWriter:
    """The stream on disk.

    Attributes:
        out: Its folder; made with the first segment.
        profiles: The ladder, in the order of the results.
        target_s: Length that segments are meant to have.
    """

    out: Path
    profiles: Sequence[net.VideoProfile]
    target_s: float = 2.0
    tracks: list[Track] = field(init=False)
    _waiting: dict[int, Sequence[Rendition] | None] = field(factory=dict)
    _next: int = 0
    _gap: bool = False
    _closed: bool = False

    def __attrs_post_init__(self) -> None:
        self.tracks = [Track(p, self.out / folder_name(p)) for p in self.profiles]

    def add(self, seq: int, renditions: Sequence[Rendition]) -> None:
        """Store a segment's renditions, and list it as soon as its turn has come."""
        for track, rendition in zip(self.tracks, renditions, strict=True):
            track.folder.mkdir(parents=True, exist_ok=True)
            track.file_of(seq).write_bytes(rendition.data)
        self._waiting[seq] = renditions
        self._advance()

    def skip(self, seq: int) -> None:
        """A segment will not come."""
        self._waiting[seq] = None
        self._advance()

    def close(self) -> None:
        """End the playlists with what is there; may be called twice."""
        if self._closed:
            return
        self._closed = True
        while self._waiting:  # a stream that was broken off has holes: play over them
            self._waiting.setdefault(self._next, None)
            self._advance()
        self._write(ended=True)

    def _advance(self) -> None:
        listed = False
        while self._next in self._waiting:
            renditions = self._waiting.pop(self._next)
            if renditions is None:
                self._gap = True
            else:
                for track, rendition in zip(self.tracks, renditions, strict=True):
                    track.list_segment(self._next, rendition, after_gap=self._gap)
                self._gap, listed = False, True
            self._next += 1
        if listed:
            self._write(ended=False)

    def _write(self, *, ended: bool) -> None:
        playable = [track for track in self.tracks if track.playable and track.lines]
        for track in playable:
            write_whole(track.folder / MEDIA, track.playlist(self.target_s, ended=ended))
        if playable:
            lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-INDEPENDENT-SEGMENTS"]
            entries = sorted(playable, key=lambda track: track.peak_bps)
            lines += [line for track in entries for line in track.master_entry()]
            write_whole(self.out / MASTER, "\n".join(lines) + "\n")
