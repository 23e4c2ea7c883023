"""A file for a muxer to write and seek in, in memory where the system has such files."""

from __future__ import annotations

import os
import tempfile

from attrs import define, field


def _anonymous() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("rendition", os.MFD_CLOEXEC)
    descriptor, path = tempfile.mkstemp()
    os.unlink(path)  # noqa: PTH108  a descriptor's own name, gone at once
    return descriptor


@define
class OutputFile:
    """An anonymous file, reached by FFmpeg under its descriptor's name."""

    descriptor: int = field(factory=_anonymous)

    @property
    def path(self) -> str:
        """A name that opens the file again, for as long as it is not closed."""
        return f"/proc/self/fd/{self.descriptor}"

    def read(self) -> bytes:
        """Return everything written."""
        return os.pread(self.descriptor, os.fstat(self.descriptor).st_size, 0)

    def close(self) -> None:
        """Free it; safe to call twice."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
