"""MPEG-7 video signatures, made by the ``ffmpeg`` program beside the transcode.

PyAV's wheels lack the ``signature`` filter; the static program in the package
imageio-ffmpeg has it. A signature depends on the scaled and rate-converted
frames alone, so its file is the same whoever makes it (wire-video, appendix B.3).
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from podium_transcode.engine.output import OutputFile
from podium_transcode.engine.sizes import output_size
from podium_transcode.engine.source import DEMUXERS, open_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from podium_hookspecs import Profile

    from podium_transcode.engine.request import EngineJob


@contextlib.contextmanager
def signatures(
    descriptor: int, job: EngineJob, emit: Callable[[int, bytes], None]
) -> Iterator[None]:
    """Make the signatures a job wants, while its renditions are made.

    A signature that cannot be made is left out: the renditions do not depend on it.

    Args:
        descriptor: The whole segment.
        job: Its profiles and options.
        emit: Called with the profile's place and the file's bytes.
    """
    if not (job.want_signature and job.options.program and job.profiles):
        yield
        return
    thread = threading.Thread(target=_run, args=(descriptor, job, emit), name="signatures")
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _run(descriptor: int, job: EngineJob, emit: Callable[[int, bytes], None]) -> None:
    files = [OutputFile() for _ in job.profiles]
    try:
        source = open_source(descriptor, job.options)
        size = (source.video.width, source.video.height)
        source.container.close()
        filters = [
            signature_filter(profile, size, file.path)
            for profile, file in zip(job.profiles, files, strict=True)
        ]
        _call(job, descriptor, filters, [file.descriptor for file in files])
        for index, file in enumerate(files):
            data = file.read()
            if data:
                emit(index, data)
    except Exception:  # noqa: BLE001  a thread's edge: renditions go on without signatures
        return
    finally:
        for file in files:
            file.close()


def signature_filter(profile: Profile, source: tuple[int, int], path: str) -> str:
    """Return the filters that scale and convert the rate as the rendition's do, and sign."""
    width, height = output_size(profile.codec, (profile.width, profile.height), source)
    steps = [f"scale={width}:{height}:flags=bicubic"]
    if profile.fps is not None:
        steps.append(f"fps={profile.fps.numerator}/{profile.fps.denominator}")
    return ",".join([*steps, f"signature=filename={path}"])


def _call(job: EngineJob, descriptor: int, filters: Sequence[str], outputs: Sequence[int]) -> None:
    """Run the program once for all renditions: it decodes once."""
    command = [job.options.program, "-nostdin", "-v", "error", "-threads", "1"]
    command += ["-timelimit", str(max(1, int(job.options.timeout_s)))]
    command += ["-protocol_whitelist", "file", "-format_whitelist", DEMUXERS]
    command += ["-i", f"/proc/self/fd/{descriptor}"]
    for steps in filters:
        command += ["-map", "0:v:0", "-vf", steps, "-f", "null", "-"]
    subprocess.run(
        command,
        check=False,
        pass_fds=(descriptor, *outputs),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=job.options.timeout_s,
    )


def find_program() -> str:
    """Return the path of imageio-ffmpeg's program if it has the signature filter, else empty."""
    try:
        import imageio_ffmpeg

        program = str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return ""
    if not Path(program).is_file():
        return ""
    listed = subprocess.run(
        [program, "-hide_banner", "-filters"], capture_output=True, check=False, timeout=10
    )
    return program if b" signature " in listed.stdout else ""
