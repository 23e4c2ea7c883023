"""Says text with the program espeak-ng, a child process for each text."""

from __future__ import annotations

import re
import shutil
import subprocess

from attrs import define, field, frozen

from podium_runner_cpu.errors import ModelUnavailable

LIMIT_S = 60.0
HEADER_BYTES = 44
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
            self.say("ready", Voice())
        except SpeakingFailed as error:
            raise ModelUnavailable(f"espeak-ng cannot speak {self._language}: {error}") from error

    def say(self, text: str, voice: Voice) -> tuple[bytes, int]:
        """Say a text.

        Returns:
            Signed 16-bit mono samples, and their rate in Hz.

        Raises:
            SpeakingFailed: the program failed, or took longer than a minute.
        """
        command = [self._program, "--stdin", "--stdout", "-b", "1"]
        command += ["-v", f"{self._language}+{voice.variant}"]
        command += ["-s", str(voice.words_per_minute), "-p", str(voice.pitch)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as child:
            self._child = child
            try:
                out, err = child.communicate(text.encode(), timeout=LIMIT_S)
            except subprocess.TimeoutExpired as error:
                raise SpeakingFailed(f"no end after {LIMIT_S:g} s") from error
            finally:
                child.kill()
                self._child = None
        if child.returncode != 0 or len(out) <= HEADER_BYTES:
            raise SpeakingFailed(
                f"status {child.returncode}: {err[-200:].decode(errors='replace')}"
            )
        return out[HEADER_BYTES:], int.from_bytes(out[RATE_AT], "little")

    def close(self) -> None:
        """End the program if it runs."""
        if (child := self._child) is not None:
            child.kill()
