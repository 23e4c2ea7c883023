"""Sound: any container and codec that FFmpeg knows, to 16 kHz mono."""

from __future__ import annotations

import base64
import io
import wave

import av
from av.error import FFmpegError

from podium_runner_cpu.errors import AudioConversionError, InferenceError

RATE_HZ = 16_000
SAMPLE_BYTES = 2
CONTAINERS = (
    "aac,ac3,aiff,amr,asf,au,avi,caf,eac3,flac,flv,matroska,webm,mov,mp3,mp4,mpegts,ogg,wav,w64"
)
"""Containers that hold their own data. A playlist would have us open files and addresses."""
OPTIONS = {"format_whitelist": CONTAINERS, "protocol_whitelist": "none"}


def decode_audio(data: bytes, max_s: float) -> bytes:
    """Decode the first audio stream.

    Args:
        data: a file in any format that carries its own data.
        max_s: seconds, past which it is refused.

    Returns:
        Signed 16-bit little-endian samples, mono, at `RATE_HZ`.

    Raises:
        AudioConversionError: the file has no sound, or it is damaged.
        InferenceError: the sound is longer than `max_s`.
    """
    try:
        return _decode(data, int(max_s * RATE_HZ) * SAMPLE_BYTES)
    except (FFmpegError, ValueError, IndexError, EOFError) as error:
        raise AudioConversionError("Unsupported audio format or malformed file.") from error


def _decode(data: bytes, max_bytes: int) -> bytes:
    samples = bytearray()
    with av.open(io.BytesIO(data), "r", options=OPTIONS) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
        for frame in container.decode(stream):
            for part in resampler.resample(frame):
                samples += memoryview(part.planes[0])[: part.samples * SAMPLE_BYTES]
            if len(samples) > max_bytes:
                limit_s = max_bytes / SAMPLE_BYTES / RATE_HZ
                raise InferenceError(f"The audio is longer than {limit_s:g} seconds")
        for part in resampler.resample(None):
            samples += memoryview(part.planes[0])[: part.samples * SAMPLE_BYTES]
    if not samples:
        raise AudioConversionError("Unsupported audio format or malformed file.")
    return bytes(samples)


def probe_duration_s(data: bytes) -> float | None:
    """Return the seconds that a file says it lasts, or None when it does not say."""
    try:
        with av.open(io.BytesIO(data), "r", options=OPTIONS) as container:
            stream = container.streams.audio[0]
            if stream.duration is not None and stream.time_base is not None:
                return float(stream.duration * stream.time_base)
            return None if container.duration is None else container.duration / av.time_base
    except (FFmpegError, ValueError, IndexError, EOFError):
        return None


def wav_url(samples: bytes, rate_hz: int) -> str:
    """Return signed 16-bit mono samples as a data URL of a WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(SAMPLE_BYTES)
        out.setframerate(rate_hz)
        out.writeframes(samples)
    return f"data:audio/wav;base64,{base64.b64encode(buffer.getvalue()).decode()}"
