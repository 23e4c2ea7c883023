"""How long audio lasts (ai 2.4)."""

from __future__ import annotations

import io
import os
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av

if TYPE_CHECKING:
    from av.container import InputContainer

DEMUXERS = "aac,aiff,amr,flac,matroska,mov,mp3,mpegts,ogg,wav,webm,caf,ac3"
"""What is sound. Playlists and everything else that names further files is refused unread."""

MAX_PACKETS = 2_000_000


class Section(io.RawIOBase):
    """A part of a file, read by position."""

    def __init__(self, descriptor: int, offset: int, size_bytes: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._offset = offset
        self._size_bytes = size_bytes
        self._position = 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` from the current position."""
        wanted = max(0, min(len(buffer), self._size_bytes - self._position))
        data = os.pread(self._descriptor, wanted, self._offset + self._position)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size_bytes}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position


def duration_ms(descriptor: int, offset: int, size_bytes: int) -> dict[str, Any]:
    """Measure audio: what its container says, else what its packets add up to.

    Raises:
        ValueError: there is no audio, or no telling how long it is.
        av.FFmpegError: it cannot be read.
    """
    source = Section(descriptor, offset, size_bytes)
    options = {"format_whitelist": DEMUXERS, "protocol_whitelist": ""}
    with av.open(source, "r", options=options, metadata_errors="ignore") as container:
        if not container.streams.audio:
            raise ValueError("no audio")
        seconds = _declared_s(container) or _counted_s(container)
    if seconds is None or not 0 < seconds < 10**7:
        raise ValueError("no telling how long")
    return {"duration_ms": int(seconds * 1000)}


def _declared_s(container: InputContainer) -> Fraction | None:
    if container.duration:
        return Fraction(container.duration, av.time_base)
    stream = container.streams.audio[0]
    if stream.duration and stream.time_base:
        return stream.duration * stream.time_base
    return None


def _counted_s(container: InputContainer) -> Fraction | None:
    stream = container.streams.audio[0]
    total = 0
    for number, packet in enumerate(container.demux(stream)):
        if number > MAX_PACKETS:
            return None
        total += packet.duration or 0
    return total * stream.time_base if stream.time_base else None
