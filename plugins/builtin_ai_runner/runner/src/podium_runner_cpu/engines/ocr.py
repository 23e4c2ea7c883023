"""Reads text in pictures with RapidOCR: detection and recognition networks on ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import define, frozen
from PIL import Image, ImageDraw

from podium_runner_cpu.errors import ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

Point = tuple[float, float]

MAX_SIDE = 2000
"""Larger pictures are scaled down first. The package's own rule scales the shorter side up to 736
pixels, which makes a wide strip enormous."""


@frozen
class Fragment:
    """Text found in one place, in pixels.

    Attributes:
        left: the leftmost corner's x.
        middle: the y of its middle.
        height: from the highest to the lowest corner.
        text: what it says.
    """

    left: float
    middle: float
    height: float
    text: str

    @classmethod
    def from_box(cls, box: Iterable[Point], text: str) -> Fragment:
        """Read a quadrilateral and its text."""
        corners = list(box)
        top, bottom = min(y for _, y in corners), max(y for _, y in corners)
        return cls(min(x for x, _ in corners), (top + bottom) / 2, bottom - top, text)


@define
class TextReader:
    """The networks, once loaded."""

    _engine: Any = None

    def load(self) -> None:
        """Load the networks that the package carries, and run them once.

        Raises:
            ModelUnavailable: the package is not installed.
        """
        try:
            from rapidocr_onnxruntime import RapidOCR
        except ImportError as error:
            raise ModelUnavailable(f"rapidocr-onnxruntime: {error}") from error
        self._engine = RapidOCR(
            max_side_len=MAX_SIDE, det_limit_type="max", det_limit_side_len=MAX_SIDE
        )
        sample = Image.new("RGB", (160, 48), "white")
        ImageDraw.Draw(sample).text((8, 8), "ready", fill="black")
        self.read(sample)

    def read(self, picture: Image.Image) -> str:
        """Return the text in an RGB picture: lines from top to bottom, each left to right."""
        if min(picture.size) * MAX_SIDE < max(picture.size):
            return ""  # scaled down, nothing of it is left
        found, _ = self._engine(np.asarray(picture)[:, :, ::-1])
        fragments = [Fragment.from_box(box, text) for box, text, _ in found or []]
        return "\n".join(join_lines(fragments))


def join_lines(fragments: Iterable[Fragment]) -> list[str]:
    """Join the fragments that stand beside each other."""
    lines: list[list[Fragment]] = []
    for one in sorted(fragments, key=lambda fragment: fragment.middle):
        last = lines[-1][0] if lines else None
        if last is not None and abs(one.middle - last.middle) < min(one.height, last.height) / 2:
            lines[-1].append(one)
        else:
            lines.append([one])
    return [" ".join(f.text for f in sorted(line, key=lambda f: f.left)) for line in lines]
