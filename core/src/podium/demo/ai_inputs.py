"""The AI demo's inputs, made on the spot: a sentence to speak, a text drawn as a picture."""

from __future__ import annotations

import io
import textwrap

SPEECH = "The market is open for business."
VOICE = "A woman with a low voice."
"""The voice that our own recogniser understands best."""

TEXT = "Podium turns work\ninto tickets"
LINE_CHARS = 40
MAX_LINES = 20
FONT_PX = 48
MARGIN_PX = 32


def draw(text: str) -> bytes:
    """Return a PNG with a text in black on white, wrapped to a few words a line."""
    from PIL import Image, ImageDraw, ImageFont

    lines = [piece for line in text.splitlines() for piece in textwrap.wrap(line, LINE_CHARS)]
    written = "\n".join(lines[:MAX_LINES])
    font = ImageFont.load_default(FONT_PX)
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    left, top, right, bottom = pen.multiline_textbbox((0, 0), written, font=font, spacing=16)
    size = (int(right - left) + 2 * MARGIN_PX, int(bottom - top) + 2 * MARGIN_PX)
    image = Image.new("RGB", size, "white")
    place = (MARGIN_PX - left, MARGIN_PX - top)
    ImageDraw.Draw(image).multiline_text(place, written, "black", font=font, spacing=16)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
