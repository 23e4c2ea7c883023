"""Capture the end of ``podium demo`` as docs/_static/demo.svg; run it on an idle machine."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).parent / "_static/demo.svg"
COLUMNS = 76
FONTS = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas"
SHOW_CURSOR = "\x1b[?25h"
CLEAR_LINE = "\x1b[2K"


def run_demo() -> str:
    """Run the demo on a terminal of its own; return what it wrote."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 60, COLUMNS + 8, 0, 0))
    podium = Path(sys.executable).with_name("podium")
    with tempfile.TemporaryDirectory() as folder:
        demo = subprocess.Popen([podium, "demo"], cwd=folder, stdout=theirs, stderr=theirs)
        os.close(theirs)
        written = b""
        try:
            while piece := os.read(ours, 65536):
                written += piece
        except OSError:  # how Linux says that the other side was closed
            os.close(ours)
        if demo.wait():
            sys.exit(written.decode())
    return written.decode().replace("\r\n", "\n")


def draw(written: str) -> str:
    """Draw the last line of progress and the tables; no font is fetched from anywhere."""
    progress, _, tables = written.partition(SHOW_CURSOR)
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text("$ make demo"))
        console.print(Text.from_ansi(progress.split("\r")[-1].replace(CLEAR_LINE, "").rstrip("\n")))
        console.print(Text.from_ansi(tables.partition(CLEAR_LINE)[2].rstrip("\n")))
        picture = console.export_svg(title="make demo")
    picture = re.sub(r"@font-face \{.*?\}\n", "", picture, flags=re.S)
    return picture.replace("Fira Code", FONTS)


if __name__ == "__main__":
    PICTURE.write_text(draw(run_demo()))
