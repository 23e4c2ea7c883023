"""Sizes that jobs are paid by, read with FFmpeg's libraries: no code of the node's is shared."""

from __future__ import annotations

import io

import av

from podium.testing.gateway.errors import InputError


def image_pixels(data: bytes) -> int:
    """Return width times height of an image file.

    Raises:
        InputError: it is no image.
    """
    try:
        with av.open(io.BytesIO(data), "r") as container:
            video = container.streams.video[0]
            pixels = video.codec_context.width * video.codec_context.height
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise InputError(f"the image cannot be read: {error}") from error
    if pixels <= 0:
        raise InputError("the image has no size")
    return pixels


def whole_seconds(data: bytes) -> int:
    """Return how long an audio file lasts, in whole seconds, cut off.

    Raises:
        InputError: it is no audio, or does not say how long it is.
    """
    try:
        with av.open(io.BytesIO(data), "r") as container:
            if not container.streams.audio:
                raise InputError("the file holds no audio")
            duration_us = container.duration
    except (av.FFmpegError, ValueError) as error:
        raise InputError(f"the audio cannot be read: {error}") from error
    if duration_us is None:
        raise InputError("the audio does not say how long it is")
    return duration_us // av.time_base


def is_image(data: bytes) -> bool:
    """Whether these bytes decode as an image; blocking, for small ones."""
    try:
        with av.open(io.BytesIO(data), "r") as container:
            return next(container.decode(video=0), None) is not None
    except (av.FFmpegError, ValueError, IndexError):
        return False
