"""The child process: a video on its input, a line of JSON for each thumbnail on its output."""

import base64
import json
import resource
import sys
from fractions import Fraction

import av

MEMORY_BYTES = 2 * 2**30
OPTIONS = {"format_whitelist": "mpegts,mov,mp4,matroska,webm", "protocol_whitelist": "none"}


def main(count: int, width: int) -> None:
    """Decode once, and write evenly spread frames as they come."""
    with av.open(sys.stdin.buffer, "r", container_options=OPTIONS) as source:
        step, made, start = (source.duration or 0) / av.time_base / count, 0, None
        for frame in source.decode(source.streams.video[0]):
            start = frame.time if start is None else start
            if made < count and frame.time - start >= made * step:
                made += 1
                jpeg = base64.b64encode(_jpeg(frame, width)).decode()
                time_s = round(frame.time - start, 3)
                event = {"number": made, "of": count, "time_s": time_s, "jpeg": jpeg}
                print(json.dumps(event), flush=True)


def _jpeg(frame: av.VideoFrame, width: int) -> bytes:
    height = max(2, frame.height * width // frame.width)
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    picture = frame.reformat(width, height, "yuvj420p")
    return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)])


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        main(int(sys.argv[1]), int(sys.argv[2]))
    except (av.FFmpegError, IndexError):
        sys.exit(3)
