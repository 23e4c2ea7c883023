"""Sizes of images, from their headers: what is priced is never decoded here (ai 2.4)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from podium_hookspecs import BadInput

from podium_ai_runner.pipelines.describe import NO_IMAGE

if TYPE_CHECKING:
    from podium_ai_runner.pipelines.form import Data

MAX_SIDE = 65_535
MAX_PIXELS = 2**28
MAX_SEGMENTS = 10_000
PNG = b"\x89PNG\r\n\x1a\n"
GIF = (b"GIF87a", b"GIF89a")
JPEG = b"\xff\xd8"
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
"""Markers of JPEG without a length."""

START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9


def size_of(data: Data, start: int, end: int) -> tuple[int, int]:
    """Return width and height of a PNG, JPEG or GIF.

    Args:
        data: What holds it.
        start: Its first byte.
        end: Behind its last.

    Raises:
        BadInput: it is none of these, or damaged, or larger than anyone should ask for.
    """
    head = data[slice(start, min(end, start + 26))]
    if head.startswith(PNG):
        width, height = _png(head)
    elif head.startswith(GIF):
        width, height = _gif(head)
    elif head.startswith(JPEG):
        width, height = _jpeg(data, start + 2, end)
    else:
        raise BadInput(NO_IMAGE)
    if not width or not height:
        raise BadInput("image: no size")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise BadInput(f"image: {width}x{height} is too large")
    return width, height


def _png(head: bytes) -> tuple[int, int]:
    if len(head) < 24 or head[12:16] != b"IHDR":
        raise BadInput("png: invalid format: no IHDR")
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def _gif(head: bytes) -> tuple[int, int]:
    if len(head) < 10:
        raise BadInput("gif: reading header: unexpected EOF")
    width, height = struct.unpack("<HH", head[6:10])
    return width, height


def _jpeg(data: Data, at: int, end: int) -> tuple[int, int]:
    """Walk from segment to segment up to the one that says the size."""
    for _ in range(MAX_SEGMENTS):
        head = data[slice(at, min(end, at + 9))]
        if len(head) < 2 or head[0] != 0xFF:
            break
        marker = head[1]
        if marker == 0xFF or marker in ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in (START_OF_SCAN, END_OF_IMAGE) or len(head) < 9:
            break
        if marker in START_OF_FRAME:
            height, width = struct.unpack(">HH", head[5:9])
            return width, height
        length = int.from_bytes(head[2:4], "big")
        if length < 2:
            break
        at += 2 + length
    raise BadInput("invalid JPEG format: missing SOF marker")
