"""Pictures: dimensions first, pixels only when those are acceptable."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

from podium_runner_cpu.errors import InferenceError

if TYPE_CHECKING:
    from podium_runner_cpu.settings import Limits

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""Formats whose decoders run nothing and read nothing else: no EPS, no PDF."""


def decode_image(data: bytes, limits: Limits, max_side: int | None = None) -> Image.Image:
    """Decode a picture to RGB, turned upright; of an animation the first frame.

    Args:
        data: the file.
        limits: how many pixels are decoded.
        max_side: pixels of the longer side, where a model's work or answer grows with it.

    Raises:
        InferenceError: it is none of the formats, is damaged, or has too many pixels.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > limits.pixels:
                text = f"The image has {width}x{height} pixels; the limit is {limits.pixels}"
                raise InferenceError(text)
            if max_side is not None and max(width, height) > max_side:
                raise InferenceError(f"The image's sides may have {max_side} pixels at most")
            return ImageOps.exif_transpose(picture).convert("RGB")
    # Pillow documents no base of its decoders' errors; damaged files reach all of these.
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        IndexError,
        TypeError,
        OverflowError,
        Image.DecompressionBombError,
    ) as error:
        raise InferenceError("The image could not be decoded") from error


def png_url(picture: Image.Image) -> str:
    """Return a picture as a data URL of a PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
