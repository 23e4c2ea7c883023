"""Does NVENC work on a GPU? Asked in a process of its own: drivers crash."""

from __future__ import annotations

import subprocess
import sys

PROBE_TIMEOUT_S = 20.0
WIDTH, HEIGHT, FRAMES = 256, 144, 3


def encodes(device: str) -> bool:
    """Try a few frames of H.264 on a GPU."""
    command = [sys.executable, "-P", "-m", "podium_transcode.gpu", device]
    try:
        done = subprocess.run(command, check=False, timeout=PROBE_TIMEOUT_S, capture_output=True)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def probe(device: str) -> None:
    """Encode a few frames, or raise what PyAV raises."""
    from fractions import Fraction

    import av

    encoder = av.CodecContext.create("h264_nvenc", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.time_base, encoder.options = Fraction(1, 30), {"gpu": device}
    for pts in range(FRAMES):
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        frame.pts = pts
        encoder.encode(frame)
    encoder.encode(None)


if __name__ == "__main__":
    probe(sys.argv[1])
