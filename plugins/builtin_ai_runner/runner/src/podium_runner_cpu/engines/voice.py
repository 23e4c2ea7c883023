"""Says text with the program espeak-ng, a child process for each text."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import threading
from typing import IO

from attrs import define, field, frozen

from podium_runner_cpu.errors import InferenceError, ModelUnavailable

LIMIT_S = 60.0
HEADER_BYTES = 44
RATE_HZ = 22_050
"""What its voices have; the header says so too."""
SAMPLE_BYTES = 2
RATE_AT = slice(24, 28)
LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{1,8}){0,3}")
WORDS_PER_MINUTE = {"slow": 120, "slowly": 120, "fast": 230, "quickly": 230}
PITCH = {"low": 25, "deep": 25, "high": 75}


class SpeakingFailed(Exception):
    """The program failed, or took too long.

    Attributes:
        code: stable, for logs.
    """

    code = "speaking"


@frozen
class Voice:
    """How a text is said.

    Attributes:
        variant: of the language's voice, as the program names it.
        words_per_minute: the speed.
        pitch: 0 to 99.
    """

    variant: str = "m3"
    words_per_minute: int = 165
    pitch: int = 50


def voice_of(description: str) -> Voice:
    """Choose a voice by the words of a description that mean something here."""
    words = re.findall(r"[a-z]+", description.lower())
    female = any(word in {"female", "woman", "girl", "her", "she"} for word in words)
    speeds = [WORDS_PER_MINUTE[word] for word in words if word in WORDS_PER_MINUTE]
    pitches = [PITCH[word] for word in words if word in PITCH]
    default = Voice()
    return Voice(
        variant="f2" if female else default.variant,
        words_per_minute=speeds[0] if speeds else default.words_per_minute,
        pitch=pitches[0] if pitches else default.pitch,
    )


@define
class Speaker:
    """The program, once found."""

    _program: str = ""
    _language: str = "en-us"
    _child: subprocess.Popen[bytes] | None = field(default=None)

    def load(self, model_id: str) -> None:
        """Find the program, and try it.

        Args:
            model_id: ``espeak-ng``, or ``espeak-ng/LANGUAGE``.

        Raises:
            ModelUnavailable: the program is not installed, or does not know the language.
        """
        language = model_id.partition("/")[2] if model_id.startswith("espeak-ng/") else ""
        if language and not LANGUAGE.fullmatch(language):
            raise ModelUnavailable(f"no name of a language: {language!r}")
        self._language = language or self._language
        program = shutil.which("espeak-ng")
        if program is None:
            raise ModelUnavailable("the program espeak-ng is not installed")
        self._program = program
        try:
            self.say("ready", Voice(), LIMIT_S)
        except SpeakingFailed as error:
            raise ModelUnavailable(f"espeak-ng cannot speak {self._language}: {error}") from error

    def say(self, text: str, voice: Voice, max_s: float) -> tuple[bytes, int]:
        """Say a text.

        Args:
            text: what to say.
            voice: how.
            max_s: seconds, past which it is refused: a page of digits takes hours.

        Returns:
            Signed 16-bit mono samples, and their rate in Hz.

        Raises:
            InferenceError: it takes longer than `max_s` to say.
            SpeakingFailed: the program failed, or took longer than a minute.
        """
        max_bytes = HEADER_BYTES + int(max_s * RATE_HZ) * SAMPLE_BYTES
        with tempfile.TemporaryFile() as given:
            given.write(text.encode())
            given.seek(0)
            status, out = self._run(self._command(voice), given, max_bytes + 1)
        if len(out) > max_bytes:
            raise InferenceError(f"Saying this takes longer than {max_s:g} seconds")
        if status != 0 or len(out) <= HEADER_BYTES:
            raise SpeakingFailed(f"espeak-ng: status {status}, {len(out)} bytes")
        return out[HEADER_BYTES:], int.from_bytes(out[RATE_AT], "little")

    def _command(self, voice: Voice) -> list[str]:
        command = [self._program, "--stdin", "--stdout", "-b", "1"]
        command += ["-v", f"{self._language}+{voice.variant}"]
        return [*command, "-s", str(voice.words_per_minute), "-p", str(voice.pitch)]

    def _run(self, command: list[str], given: IO[bytes], max_bytes: int) -> tuple[int, bytes]:
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        with subprocess.Popen(command, stdin=given, stdout=pipe, stderr=nowhere) as child:
            self._child = child
            clock = threading.Timer(LIMIT_S, child.kill)
            clock.start()
            try:
                assert child.stdout is not None
                out = child.stdout.read(max_bytes)
                if len(out) == max_bytes:
                    child.kill()
                return child.wait(), out
            finally:
                clock.cancel()
                child.kill()
                self._child = None

    def close(self) -> None:
        """End the program if it runs."""
        if (child := self._child) is not None:
            child.kill()
