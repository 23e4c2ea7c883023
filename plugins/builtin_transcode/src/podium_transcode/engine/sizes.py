"""The size a rendition gets. Source: wire-video 12.2, lpms ``ffmpeg/ffmpeg.go``."""

from __future__ import annotations

from attrs import frozen
from podium_hookspecs import Codec

from podium_transcode.engine.refusals import INVALID_RESOLUTION, refusal


@frozen
class Limits:
    """The smallest and the largest picture of an encoder, in pixels."""

    min_width: int
    min_height: int
    max_side: int


LIMITS = {
    Codec.H264: Limits(146, 50, 4096),
    Codec.HEVC: Limits(132, 40, 8192),
    # The reference has no entry for VP9 and so clamps it to nothing; ours is H.264's.
    Codec.VP9: Limits(146, 50, 4096),
}

MAX_FOLLOWING_SIDE = 8192
"""Bound for the side that follows: a source of 8192x2 would else ask for 204 800 pixels."""


def clamped(codec: Codec, requested: tuple[int, int]) -> tuple[int, int]:
    """Return a requested width and height, each within the codec's limits, pixels."""
    limits = LIMITS[codec]
    width, height = requested
    return (
        min(max(width, limits.min_width), limits.max_side),
        min(max(height, limits.min_height), limits.max_side),
    )


def output_size(
    codec: Codec, requested: tuple[int, int], source: tuple[int, int]
) -> tuple[int, int]:
    """Return the picture size of a rendition.

    Only the larger requested side counts: the source's longer side becomes that, and the other
    side follows the source's aspect ratio, however the request is oriented.

    Args:
        codec: The rendition's codec, which sets the limits.
        requested: Width and height as requested, pixels; anything, also 0 and less.
        source: Width and height of the decoded picture, pixels; at least 1.

    Returns:
        Even width and height, pixels.

    Raises:
        BadInput: the source is so long and thin that no sane size results.
    """
    limits = LIMITS[codec]
    longer = max(clamped(codec, requested))
    source_w, source_h = source
    if source_w >= source_h:
        if longer * source_h >= limits.min_height * source_w:
            result = _even(longer), _follow(_even(longer), source_h, source_w)
        else:
            result = _follow(limits.min_height, source_w, source_h), limits.min_height
    elif longer * source_w >= limits.min_width * source_h:
        result = _follow(_even(longer), source_w, source_h), _even(longer)
    else:
        result = limits.min_width, _follow(limits.min_width, source_h, source_w)
    if max(result) > MAX_FOLLOWING_SIDE:
        raise refusal(INVALID_RESOLUTION, f"{source_w}x{source_h} gives {result[0]}x{result[1]}")
    return result


def _even(side: int) -> int:
    return side - side % 2


def _follow(side: int, numerator: int, denominator: int) -> int:
    """Return 2 x round(side * ratio / 2), halves up, at least 2."""
    return max(2, 2 * ((side * numerator + denominator) // (2 * denominator)))
